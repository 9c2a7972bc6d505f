"""What a person writes on a NodeIPsec for the operator to do. Pure."""

from geneveil.kube.port import Document

REVOKE, READMIT = "geneveil.io/revoke", "geneveil.io/readmit"
"""Annotations: a reason of RFC 5280, and the time from which it is taken back."""


def read_orders(node_ipsec: Document) -> dict[str, str]:
    """Those of the annotations that are there; empty for most."""
    annotations = node_ipsec["metadata"].get("annotations") or {}
    return {name: str(annotations[name]) for name in (REVOKE, READMIT) if name in annotations}
