"""charon ends, or stands still; the kernel's SAs go on."""

from lab.daemons import keep_charon_away, let_charon_back, signal_charon
from lab.fault import Belonging, Fault, Keeps, codes
from lab.stage import Stage

TITLE = "charon is stopped, killed, away for a while, made to stand still"
NODES = 3
_ITS_MEMORY = frozenset({Belonging.CHARON})


async def _terminate(stage: Stage) -> None:
    await signal_charon(stage, "node1", "TERM")


async def _kill(stage: Stage) -> None:
    await signal_charon(stage, "node1", "KILL")


async def _kill_all(stage: Stage) -> None:
    for node in stage.nodes:
        await signal_charon(stage, node.name, "KILL")


async def _keep_away(stage: Stage) -> None:
    await keep_charon_away(stage, "node1", "KILL")


async def _let_back(stage: Stage) -> None:
    await let_charon_back(stage, "node1")


async def _stop(stage: Stage) -> None:
    await signal_charon(stage, "node1", "STOP")


async def _continue(stage: Stage) -> None:
    await signal_charon(stage, "node1", "CONT")


FAULTS = (
    Fault(
        "charon_killed",
        "charon: SIGKILL, restarted at once",
        _kill,
        touches=("node1",),
        hold_seconds=12,
        most_outage_seconds=1.0,
        most_recovery_seconds=None,
        takes=_ITS_MEMORY,
        is_short=True,
    ),
    Fault(
        "charon_killed_and_away",
        "charon: SIGKILL, away for 30 s",
        _keep_away,
        _let_back,
        touches=("node1",),
        hold_seconds=30,
        says=codes(["node1"], "charon-away"),
        most_outage_seconds=1.0,
        takes=_ITS_MEMORY,
    ),
    Fault(
        "charon_killed_everywhere",
        "charon: SIGKILL on every node at once",
        _kill_all,
        touches=("node1", "node2", "node3"),
        hold_seconds=12,
        most_outage_seconds=1.0,
        takes=_ITS_MEMORY,
    ),
    Fault(
        "charon_terminated",
        "charon: SIGTERM, restarted at once",
        _terminate,
        touches=("node1",),
        hold_seconds=5,
        most_outage_seconds=1.0,
        takes=_ITS_MEMORY,
    ),
    Fault(
        "charon_stands_still",
        "charon: SIGSTOP for a minute",
        _stop,
        _continue,
        hold_seconds=60,
        says=codes(["node1"], "charon-away"),
        keeps=Keeps.ALL,
    ),
)
