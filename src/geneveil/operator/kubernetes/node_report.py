"""What a node's agent says in its NodeIPsec: hostile values to facts. Pure."""

from geneveil.enroll.port import WatchState
from geneveil.enroll.watch_wire import parse_watch_request
from geneveil.kube.port import Document


def read_confirmation(node_ipsec: Document) -> WatchState | None:
    """What the node has loaded (status.trust); None if it said nothing that makes sense."""
    trust = (node_ipsec.get("status") or {}).get("trust")
    if not isinstance(trust, dict):
        return None
    return parse_watch_request(
        {
            "generation": trust.get("generation"),
            "trusts": trust.get("trusts") or [],
            "crls": trust.get("crls") or {},
            "certificate": trust.get("serial"),
            "inUse": trust.get("inUse") or [],
        }
    )


def is_ready(node_ipsec: Document) -> bool:
    """The node says that its every pair is encrypted and its guard in place."""
    conditions = (node_ipsec.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
