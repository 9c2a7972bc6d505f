"""What the API server said last about everything that the operator follows.

Complete or not at all: nothing is asked of it before the first whole list of every kind.
"""

from collections.abc import Iterable

from geneveil.enroll.port import WatchState
from geneveil.kube.csr_wire import SigningRequest, parse_signing_request
from geneveil.kube.kinds import CLUSTER_IPSECS, CLUSTER_NAME, NODE_IPSECS, NODES, SIGNING_REQUESTS
from geneveil.kube.port import Change, Document, Kind
from geneveil.operator.kubernetes.claims import Claims, read_node
from geneveil.operator.kubernetes.node_report import read_confirmation

FOLLOWED = (NODES, NODE_IPSECS, SIGNING_REQUESTS, CLUSTER_IPSECS)


class ClusterCache:
    """Nodes, NodeIPsecs, requests and the switch, by name.

    Attributes:
        claims: which Node is which chassis, kept up.
        said: what each node's agent confirmed last, by Node; only what makes sense.
        reported: Nodes whose NodeIPsec changed since they were taken.
    """

    def __init__(self) -> None:
        self.claims = Claims()
        self.nodes: dict[str, Document] = {}
        self.node_ipsecs: dict[str, Document] = {}
        self.requests: dict[str, SigningRequest] = {}
        self.switch: Document | None = None
        self.said: dict[str, WatchState] = {}
        self.reported: set[str] = set()
        self._listed: set[Kind] = set()

    @property
    def is_whole(self) -> bool:
        """Every kind was listed."""
        return self._listed.issuperset(FOLLOWED)

    def replace(self, kind: Kind, items: Iterable[Document]) -> None:
        """A whole list: what is not in it is gone."""
        named = {str(item["metadata"]["name"]): item for item in items}
        for name in [name for name in self._names(kind) if name not in named]:
            self._drop(kind, name)
        for name, item in named.items():
            self._put(kind, name, item)
        self._listed.add(kind)

    def change(self, kind: Kind, change: Change, document: Document) -> None:
        """One object changed."""
        name = str(document["metadata"]["name"])
        if change is Change.DELETED:
            self._drop(kind, name)
        else:
            self._put(kind, name, document)

    def take_reported(self) -> list[str]:
        """Nodes whose NodeIPsec changed since the last call."""
        names, self.reported = self.reported, set()
        return sorted(names)

    def _names(self, kind: Kind) -> list[str]:
        if kind == CLUSTER_IPSECS:
            return [CLUSTER_NAME] if self.switch is not None else []
        return list(self._table(kind))

    def _table(self, kind: Kind) -> dict[str, Document] | dict[str, SigningRequest]:
        if kind == SIGNING_REQUESTS:
            return self.requests
        return self.nodes if kind == NODES else self.node_ipsecs

    def _put(self, kind: Kind, name: str, document: Document) -> None:
        # the larger half of an object, and nothing of ours; left out of a write it stays as it is
        document["metadata"].pop("managedFields", None)
        if kind == CLUSTER_IPSECS:
            self.switch = document if name == CLUSTER_NAME else self.switch
        elif kind == SIGNING_REQUESTS:
            self.requests[name] = parse_signing_request(document)
        elif kind == NODES:
            self.nodes[name] = document
            self._claim(name)
        else:
            self.node_ipsecs[name] = document
            self._hear(name, read_confirmation(document))
            self._claim(name)

    def _drop(self, kind: Kind, name: str) -> None:
        if kind == CLUSTER_IPSECS:
            self.switch = None if name == CLUSTER_NAME else self.switch
            return
        self._table(kind).pop(name, None)
        if kind == NODE_IPSECS:
            self._hear(name, None)
        if kind != SIGNING_REQUESTS:
            self._claim(name)

    def _hear(self, name: str, state: WatchState | None) -> None:
        self.reported.add(name)
        if state is None:
            self.said.pop(name, None)
        else:
            self.said[name] = state

    def _claim(self, name: str) -> None:
        node = self.nodes.get(name)
        if node is None:
            self.claims.drop(name)
            return
        facts = read_node(node, self.node_ipsecs.get(name))
        if self.claims.find(name) != facts:
            self.claims.put(facts)
