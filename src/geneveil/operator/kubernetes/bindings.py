"""Which Node each chassis is, and which a transaction that is open makes of it. No writing."""

from geneveil.model.names import name_key
from geneveil.operator.kubernetes.ledger import Binding


class Bindings:
    """Chassis -> Node.

    Attributes:
        known: as it is durable.
        staged: what the open transaction changes; replaced whole, never changed in place.
    """

    def __init__(self) -> None:
        self.known: dict[str, Binding] = {}
        self.staged: dict[str, Binding] = {}
        self._of_node: dict[str, set[str]] = {}  # may name too many
        self._spelled: dict[str, set[str]] = {}

    def load(self, chassis: str, binding: Binding) -> None:
        """As an object says."""
        self.known[chassis] = binding
        self._index(chassis, binding)

    def stage(self, chassis: str, binding: Binding) -> bool:
        """Inside a transaction; says whether it is news."""
        if self.find(chassis) == binding:
            return False
        self.staged = {**self.staged, chassis: binding}
        self._index(chassis, binding)
        return True

    def commit(self) -> None:
        """What was staged is durable."""
        self.known.update(self.staged)
        self.staged = {}

    def forget(self, chassis: str) -> None:
        """Its object was deleted."""
        self.known.pop(chassis, None)

    def find(self, chassis: str) -> Binding | None:
        """The Node that a chassis is."""
        return self.staged.get(chassis) or self.known.get(chassis)

    def chassis_of(self, node: str) -> tuple[str, ...]:
        """Every chassis that a Node is or was, ascending."""
        bound = ((name, self.find(name)) for name in sorted(self._of_node.get(node, ())))
        return tuple(name for name, binding in bound if binding and binding.node == node)

    def nodes_spelled(self, chassis: str) -> tuple[str, ...]:
        """Nodes that are a chassis of this name in other letters: for IKE the same name."""
        names = self._spelled.get(name_key(chassis), set()) - {chassis}
        found = (self.find(name) for name in names)
        return tuple(sorted(binding.node for binding in found if binding))

    def _index(self, chassis: str, binding: Binding) -> None:
        self._of_node.setdefault(binding.node, set()).add(chassis)
        self._spelled.setdefault(name_key(chassis), set()).add(chassis)
