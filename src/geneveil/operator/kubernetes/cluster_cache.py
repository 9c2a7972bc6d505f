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
from geneveil.operator.kubernetes.orders import read_orders

FOLLOWED = (NODES, NODE_IPSECS, SIGNING_REQUESTS, CLUSTER_IPSECS)


class ClusterCache:
    """Nodes, NodeIPsecs, requests and the switch, by name.

    Attributes:
        claims: which Node is which chassis, kept up.
        said: what each node's agent confirmed last, by Node; only what makes sense.
        reported: Nodes whose NodeIPsec changed since they were taken.
        unanswered: those of `requests` that are to be decided about.
        lacking: Nodes without a NodeIPsec.
        leftover: NodeIPsecs without a Node.
        ordered: NodeIPsecs that carry a person's word, see `orders`.
        is_urgent: somebody waits for what follows from a change: a Node that is gone, a person's
            word, the switch. Whoever did what follows sets it back.

    The last six are kept up at each change, so that a look costs what changed, however many nodes
    there are.
    """

    def __init__(self) -> None:
        self.claims = Claims()
        self.nodes: dict[str, Document] = {}
        self.node_ipsecs: dict[str, Document] = {}
        self.requests: dict[str, SigningRequest] = {}
        self.switch: Document | None = None
        self.said: dict[str, WatchState] = {}
        self.reported: set[str] = set()
        self.unanswered: dict[str, SigningRequest] = {}
        self.lacking: set[str] = set()
        self.leftover: set[str] = set()
        self.ordered: set[str] = set()
        self.is_urgent = True
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
            self.is_urgent = True
        elif kind == SIGNING_REQUESTS:
            self._ask(name, parse_signing_request(document))
        elif kind == NODES:
            before = self.nodes.get(name)
            if before is not None and before["metadata"]["uid"] != document["metadata"]["uid"]:
                self.is_urgent = True  # it was deleted, and made again before that was heard
            self.nodes[name] = document
            self._claim(name)
        else:
            self._obey(name, self.node_ipsecs.get(name), document)
            self.node_ipsecs[name] = document
            self._hear(name, read_confirmation(document))
            self._claim(name)

    def _drop(self, kind: Kind, name: str) -> None:
        if kind == CLUSTER_IPSECS:
            self.switch = None if name == CLUSTER_NAME else self.switch
            self.is_urgent = True
            return
        self._table(kind).pop(name, None)
        if kind == SIGNING_REQUESTS:
            self.unanswered.pop(name, None)
            return
        if kind == NODE_IPSECS:
            self._hear(name, None)
            self.ordered.discard(name)
        else:
            self.is_urgent = True
        self._claim(name)

    def _ask(self, name: str, request: SigningRequest) -> None:
        self.requests[name] = request
        if request.is_answered:
            self.unanswered.pop(name, None)
        else:
            self.unanswered[name] = request

    def _obey(self, name: str, before: Document | None, document: Document) -> None:
        orders = read_orders(document)
        if not orders:
            self.ordered.discard(name)
            return
        self.ordered.add(name)
        if before is None or read_orders(before) != orders:
            self.is_urgent = True

    def _hear(self, name: str, state: WatchState | None) -> None:
        self.reported.add(name)
        if state is None:
            self.said.pop(name, None)
        else:
            self.said[name] = state

    def _claim(self, name: str) -> None:
        has_node, has_node_ipsec = name in self.nodes, name in self.node_ipsecs
        for table, belongs in (
            (self.lacking, has_node and not has_node_ipsec),
            (self.leftover, has_node_ipsec and not has_node),
        ):
            (table.add if belongs else table.discard)(name)
        node = self.nodes.get(name)
        if node is None:
            self.claims.drop(name)
            return
        facts = read_node(node, self.node_ipsecs.get(name))
        if self.claims.find(name) != facts:
            self.claims.put(facts)
