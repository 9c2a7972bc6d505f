"""What a person wants to be installed. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from geneveil.model.cluster import Mode
from geneveil.model.errors import ConfigError

DEFAULT_NAMESPACE = "geneveil-system"
DEFAULT_SIGNER = "geneveil.io/node"

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SIGNER = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.[a-z]+/[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*(?:@sha256:[0-9a-f]{64})?")


@dataclass(frozen=True)
class InstallWish:
    """What is wanted.

    Attributes:
        spec: fields of ClusterIPsec's spec besides mode, in JSON; what is absent gets its default
            from the API server.
        image: reference of the one image; empty: the manifests' own.
        openshift: whether to apply what OpenShift and OKD ask for besides.
        makes_switch: False where the operator makes the ClusterIPsec from what was sealed.
    """

    mode: Mode
    spec: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = DEFAULT_NAMESPACE
    signer_name: str = DEFAULT_SIGNER
    image: str = ""
    openshift: bool = False
    makes_switch: bool = True


def check_wish(wish: InstallWish) -> None:
    """Refuse what could not be installed, before anything is done.

    Raises:
        ConfigError: names the option.
    """
    if not _LABEL.fullmatch(wish.namespace):
        raise ConfigError(
            f"--namespace: {wish.namespace!r} cannot be a namespace",
            why="it must be 1 to 63 of a-z, 0-9 and hyphens",
        )
    if not _SIGNER.fullmatch(wish.signer_name):
        raise ConfigError(
            f"--signer-name: {wish.signer_name!r} cannot be a signer's name",
            why="it must be a domain, a slash and a name, such as geneveil.io/node",
        )
    if wish.image and not _IMAGE.fullmatch(wish.image):
        raise ConfigError(f"--image: {wish.image!r} is no reference of an image")
