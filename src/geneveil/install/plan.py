"""What an installation would do, object by object, and whether it may. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from geneveil.model.cluster import Mode
from geneveil.model.errors import RefusedError

_NOT_OURS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")
_MOST_FIELDS = 5


class Action(Enum):
    """What happens to an object."""

    CREATE = "create"
    CHANGE = "change"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Step:
    """One object of the plan.

    Attributes:
        namespace: empty for what has none.
        fields: what changes, as paths; at most a few.
    """

    kind: str
    namespace: str
    name: str
    action: Action
    fields: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "action": self.action.value,
            "fields": list(self.fields),
        }


def judge_object(
    wanted: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> Step:
    """Compare an object as it is with what the API server would make of it.

    Args:
        before: as it is; None if it is not there.
        after: what a dry run answered; None if it could not be tried.
    """
    metadata = wanted["metadata"]
    name = (wanted["kind"], metadata.get("namespace", ""), metadata["name"])
    if before is None or after is None:
        return Step(*name, Action.CREATE)
    fields = tuple(_differing(_without_books(before), _without_books(after), ""))
    return Step(*name, Action.CHANGE if fields else Action.UNCHANGED, fields[:_MOST_FIELDS])


def settle_mode(asked: Mode | None, there: Mapping[str, Any] | None) -> Mode:
    """The mode to install.

    Args:
        asked: by the person; None if nothing was said, which is Disabled on a new cluster and
            whatever it is on one that has geneveil.
        there: the cluster's ClusterIPsec, if it has one.
    Raises:
        RefusedError: `mode-sealed`, another one than the cluster was installed with.
    """
    if there is None:
        return asked or Mode.DISABLED
    mode = Mode(there["spec"]["mode"])
    if asked in (None, mode):
        return mode
    raise RefusedError(
        "mode-sealed",
        f"this cluster was installed with mode: {mode.value}, and that never changes",
        why="IPsec was switched on when the cluster was installed and is never off again"
        if mode is Mode.FULL
        else "IPsec can be switched on only while the cluster is installed",
        remedy=f"nothing was changed; --mode {mode.value} brings the rest up to date",
    )


def _without_books(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the API server keeps for itself, and without what others report."""
    metadata = {k: v for k, v in document["metadata"].items() if k not in _NOT_OURS}
    return {**{k: v for k, v in document.items() if k != "status"}, "metadata": metadata}


def _differing(before: Any, after: Any, path: str) -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for key in sorted(before.keys() | after.keys()):
            inner = f"{path}.{key}" if path else key
            found += _differing(before.get(key), after.get(key), inner)
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        found = []
        for index, pair in enumerate(zip(before, after, strict=True)):
            found += _differing(*pair, f"{path}[{index}]")
        return found
    return [] if before == after else [path]
