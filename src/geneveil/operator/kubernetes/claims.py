"""Which Node is which chassis: what Nodes, NodeIPsecs and the ledger say. Pure.

OVN-Kubernetes writes a Node's chassis on the Node itself; elsewhere the node's agent says it in
NodeIPsec.status, which only that node's agent may write. Where both are, the annotation counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from geneveil.kube.port import Document
from geneveil.model.names import MAX_CHASSIS_NAME_CHARS, name_key

CHASSIS_ANNOTATION = "k8s.ovn.org/node-chassis-id"

_MOST_CHARS = 2 * MAX_CHASSIS_NAME_CHARS  # no chassis name, and no load for log and ledger


@dataclass(frozen=True)
class NodeFacts:
    """What is known of one Node.

    Attributes:
        uid: of the Node object.
        annotated: the chassis that OVN-Kubernetes says; empty if it does not.
        reported: the chassis that its agent says; empty if it did not yet.
    """

    name: str
    uid: str
    annotated: str = ""
    reported: str = ""

    @property
    def chassis(self) -> str:
        """The chassis that the Node is; empty while nobody said."""
        return self.annotated or self.reported


def read_node(node: Document, node_ipsec: Document | None) -> NodeFacts:
    """What is known of a Node, from its metadata and its NodeIPsec."""
    metadata = node["metadata"]
    annotations = metadata.get("annotations") or {}
    status = (node_ipsec or {}).get("status") or {}
    return NodeFacts(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        annotated=str(annotations.get(CHASSIS_ANNOTATION, ""))[:_MOST_CHARS],
        reported=str(status.get("chassis", ""))[:_MOST_CHARS],
    )


class Claims:
    """Every Node's claim, kept up as Nodes change; a question costs nothing, however many."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeFacts] = {}
        self._claimants: dict[str, set[str]] = {}

    def put(self, facts: NodeFacts) -> None:
        """A Node is new or changed."""
        self.drop(facts.name)
        self._nodes[facts.name] = facts
        if facts.chassis:
            self._claimants.setdefault(name_key(facts.chassis), set()).add(facts.name)

    def drop(self, name: str) -> None:
        """A Node is gone."""
        facts = self._nodes.pop(name, None)
        if facts is not None and facts.chassis:
            key = name_key(facts.chassis)
            self._claimants[key].discard(name)
            if not self._claimants[key]:
                del self._claimants[key]

    def find(self, name: str) -> NodeFacts | None:
        """A Node by its name."""
        return self._nodes.get(name)

    def others(self, chassis: str, than: str) -> tuple[str, ...]:
        """Further Nodes that claim a chassis, ascending; in other letters too.

        IKE takes NODE-1 and node-1 for one name (RFC 4343): a certificate for the one would open
        the other's pairs.
        """
        return tuple(sorted(self._claimants.get(name_key(chassis), set()) - {than}))

    @property
    def nodes(self) -> Mapping[str, NodeFacts]:
        """Every Node, by name."""
        return self._nodes
