"""One line for each kind of flow: what a person reads first, in the terminal and in the report."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from geneveil.verify.flows import Fate, FlowKind
from geneveil.verify.verdict import FlowRow, Observed


@dataclass(frozen=True)
class KindRow:
    """All pairs of one kind of flow in one phase.

    `observed` is what all agree on, or DIFFERING. `right` and `total` count observations.
    """

    kind: FlowKind
    expected: Fate
    observed: Observed
    pairs: int
    right: int
    total: int
    frames_clear: int
    frames_esp: int
    decrypted: bool
    ciphers: tuple[str, ...]
    modes: tuple[str, ...]
    failing: tuple[FlowRow, ...]

    @property
    def passed(self) -> bool:
        return not self.failing


def roll_up(flows: Iterable[FlowRow]) -> Iterator[KindRow]:
    """A row for each kind that is there, in the order of the matrix."""
    by_kind: dict[FlowKind, list[FlowRow]] = {kind: [] for kind in FlowKind}
    for row in flows:
        by_kind[row.kind].append(row)
    for kind, rows in by_kind.items():
        if not rows:
            continue
        observations = [o for row in rows for o in row.observations]
        seen = {o.observed for o in observations}
        yield KindRow(
            kind=kind,
            expected=rows[0].expected,
            observed=seen.pop() if len(seen) == 1 else Observed.DIFFERING,
            pairs=len(rows),
            right=sum(o.passed for o in observations),
            total=len(observations),
            frames_clear=sum(row.frames_clear for row in rows),
            frames_esp=sum(row.frames_esp for row in rows),
            decrypted=all(row.decrypted for row in rows),
            ciphers=tuple(sorted({c for row in rows for c in row.ciphers})),
            modes=tuple(sorted({m for row in rows for m in row.modes})),
            failing=tuple(row for row in rows if not row.passed),
        )
