"""The cluster's settings as the node keeps them between starts. Pure: bytes in, value out.

The document is the one that the operator sends; see `geneveil.enroll.settings`.
"""

import json

from geneveil.enroll.settings import parse_settings, settings_document
from geneveil.model.cluster import ClusterSettings
from geneveil.model.errors import TrustError


def encode_stored_settings(settings: ClusterSettings) -> bytes:
    """The settings as a file for the state directory."""
    return (json.dumps(settings_document(settings), indent=2) + "\n").encode()


def parse_stored_settings(data: bytes, file: str) -> ClusterSettings:
    """What `encode_stored_settings` wrote.

    Raises:
        TrustError: it is something else.
    """
    try:
        return parse_settings(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise TrustError(
            f"{file} is damaged",
            why=str(error),
            remedy="the operator sends them again as soon as it is reached; without it, copy the "
            "file from another node of the cluster: it is the same on each",
        ) from None
