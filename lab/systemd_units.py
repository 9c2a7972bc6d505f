"""Units of a guest that systemd booted: in what state, and when they began and were done."""

from dataclasses import dataclass

from lab.errors import LabError
from lab.stage import Stage

_PROPERTIES = (
    "Id",
    "ActiveState",
    "Result",
    "MainPID",
    "NRestarts",
    "InactiveExitTimestampMonotonic",
    "ActiveEnterTimestampMonotonic",
)


@dataclass(frozen=True)
class Unit:
    """A unit, by systemd's own record; times in microseconds since the kernel's start, 0: never.

    Attributes:
        began_us: its first process was about to be started.
        active_us: it was up; of a oneshot, its program had ended well.
        main_pid: 0 if none runs.
    """

    name: str
    state: str
    result: str
    main_pid: int
    restarts: int
    began_us: int
    active_us: int


def parse_units(text: str) -> dict[str, Unit]:
    """The answer of `systemctl show --property=… UNIT …`, by the units' names.

    Raises:
        LabError: a property is missing.
    """
    found = {}
    for stanza in text.strip().split("\n\n"):
        values = dict(line.partition("=")[::2] for line in stanza.splitlines())
        try:
            name, state, result, pid, restarts, began, active = (values[p] for p in _PROPERTIES)
        except KeyError as error:
            raise LabError(f"systemctl show did not tell {error}", why=stanza[:300]) from None
        numbers = (int(word) for word in (pid, restarts, began, active))
        found[name] = Unit(name, state, result, *numbers)
    return found


async def read_units(stage: Stage, node: str, *names: str) -> dict[str, Unit]:
    """These services of a node; names without `.service`, in the answer too."""
    properties = ",".join(_PROPERTIES)
    words = [f"{name}.service" for name in names]
    text = await stage.running.remote(node).check(
        ["systemctl", "show", f"--property={properties}", *words]
    )
    units = parse_units(text)
    return {name: units[f"{name}.service"] for name in names}
