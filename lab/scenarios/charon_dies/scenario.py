"""charon ends, or stands still; the kernel's SAs go on."""

import re

from lab.daemons import keep_charon_away, let_charon_back, signal_charon
from lab.deadline import wait_until
from lab.fault import Belonging, Fault, Keeps, codes
from lab.stage import Stage

TITLE = "charon is stopped, killed, away for a while, made to stand still"
NODES = 3
_OUR_SA = re.compile(r"^src (?:192\.0\.2\.|2001:db8:2:).*\n.*spi 0x([0-9a-f]{8}) ", re.MULTILINE)
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


async def _orphans_go(stage: Stage) -> None:
    """The kernel's SAs that the dead charon left end, and no other."""
    remote = stage.running.remote("node1")

    async def gone() -> bool:
        listed = await remote.check("swanctl --list-sas --uri unix:///run/charon.vici")
        known = set(re.findall(r"^ +(?:in|out) +([0-9a-f]{8})", listed, re.MULTILINE))
        text = await remote.check("ip xfrm state")
        ours = set(_OUR_SA.findall(text))
        return len(ours) >= 8 and ours == known

    await wait_until(gone, "orphaned SAs to be deleted", 40, poll_seconds=1)


FAULTS = (
    Fault(
        "charon_killed",
        "charon: SIGKILL, restarted at once",
        _kill,
        _orphans_go,
        touches=("node1",),
        hold_seconds=2,
        says=codes(["node1"], "peer-carried-over"),
        most_outage_seconds=1.0,
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
        says=codes(["node1"], "charon-away") | codes(["node2", "node3"], "peer-silent"),
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
        # Aim: 1. Its start, the agent's load and a handshake take twice that on a busy machine.
        most_outage_seconds=2.0,
        takes=_ITS_MEMORY,
    ),
    Fault(
        "charon_stands_still",
        "charon: SIGSTOP for a minute",
        _stop,
        _continue,
        hold_seconds=60,
        says=codes(["node1"], "charon-away") | codes(["node2", "node3"], "peer-silent"),
        keeps=Keeps.ALL,
    ),
)
