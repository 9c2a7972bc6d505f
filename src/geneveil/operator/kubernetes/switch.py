"""The switch of a cluster: its ClusterIPsec, or where there is none OKD's own. Pure.

What was sealed stays, whatever the objects say later: `judge_switch` only says what is wrong.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from geneveil.install.okd import parse_okd_network
from geneveil.kube.csr_wire import parse_time
from geneveil.kube.kinds import CLUSTER_NAME
from geneveil.kube.port import Document
from geneveil.model.errors import ConfigError, RefusedError
from geneveil.operator.config import ClusterIPsec
from geneveil.operator.config_check import parse_config
from geneveil.operator.seal import Seal, check_change, make_seal

INSTALLING = timedelta(hours=1)
"""So long after its CRDs geneveil counts as being installed; see docs/decisions/0014."""

RESTORED = "geneveil.io/restored"
"""On a ClusterIPsec that the operator made again after somebody deleted it."""


@dataclass(frozen=True)
class Problem:
    """Something that is to be told as Degraded.

    Attributes:
        reason: one word, CamelCase.
    """

    reason: str
    message: str


def read_switch(document: Document) -> ClusterIPsec:
    """What a ClusterIPsec says.

    Raises:
        ConfigError: it makes no sense; every error is named.
    """
    plain = {
        "apiVersion": document.get("apiVersion", "geneveil.io/v1alpha1"),
        "kind": document.get("kind", "ClusterIPsec"),
        "metadata": {"name": document["metadata"]["name"]},
        "spec": document.get("spec") or {},
    }
    return parse_config(json.dumps(plain), f"clusteripsec/{CLUSTER_NAME}")


def judge_switch(document: Document | None, sealed: Seal) -> Problem | None:
    """Compare the switch with what was sealed; nothing follows but a report."""
    if document is None:
        return Problem(
            "SwitchDeleted",
            "the ClusterIPsec was deleted; the cluster goes on as it was sealed",
        )
    try:
        check_change(sealed, make_seal(read_switch(document)))
    except RefusedError as error:
        return Problem("SwitchChanged", f"{error.render()}; the cluster goes on as it was sealed")
    except ConfigError as error:
        return Problem(
            "SwitchUnreadable", f"{error.render()}; the cluster goes on as it was sealed"
        )
    since = (document["metadata"].get("annotations") or {}).get(RESTORED)
    if since:
        return Problem(
            "SwitchWasDeleted",
            f"the ClusterIPsec was deleted and made again at {since}; find out who did it, then "
            f"remove the annotation {RESTORED}",
        )
    return None


def restored_document(sealed: Seal, at: str) -> Document:
    """The ClusterIPsec that was sealed, to be made again."""
    spec: dict[str, Any] = json.loads(sealed.canonical)["spec"]
    spec.pop("operator", None)  # of a standalone operator's server
    return {"metadata": {"name": CLUSTER_NAME, "annotations": {RESTORED: at}}, "spec": spec}


def switch_of_openshift(network: Document) -> Document:
    """The ClusterIPsec that OKD's Network.operator.openshift.io asks for, on or off: read by the
    same rules as the installer's manifest.

    Raises:
        ConfigError: it leaves IPsec to somebody else, or is of another network.
    """
    wish = parse_okd_network(network)
    return {"metadata": {"name": CLUSTER_NAME}, "spec": {"mode": wish.mode.value, **wish.spec}}


def is_installing(definition: Document | None, server_now: datetime) -> bool:
    """Whether geneveil is so new here that a ClusterIPsec may still be on its way.

    Args:
        definition: our CustomResourceDefinition; None if there is none.
        server_now: of the clock that stamped it.
    """
    if definition is None:
        return True
    made = parse_time(str(definition["metadata"]["creationTimestamp"]))
    return server_now - made < INSTALLING
