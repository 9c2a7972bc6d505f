"""charon ends, or stands still; the kernel's SAs go on."""

import re

from lab.daemons import keep_charon_away, let_charon_back, signal_charon
from lab.deadline import wait_until
from lab.fault import Belonging, Fault, Keeps, Part, codes
from lab.stage import Stage

TITLE = "charon is stopped, killed, away for a while, made to stand still"
NODES = 3
_OUR_SA = re.compile(r"^src (?:192\.0\.2\.|2001:db8:2:).*\n.*spi 0x([0-9a-f]{8}) ", re.MULTILINE)
_ITS_MEMORY = frozenset({Belonging.CHARON})
# A clock that is set back while charon's SAs are carried over may cost a moment: clock_of_one_node.
_CLAIMS = frozenset({Part.CHARON, Part.CLOCK})
_ALL = ("node1", "node2", "node3")


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
    await await_no_orphans(stage, "node1")


async def await_no_orphans(stage: Stage, node: str) -> None:
    """The kernel's SAs that the dead charon left end, and no other."""
    remote = stage.remote(node)

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
        renews=("node1",),
        hold_seconds=2,
        says=codes(["node1"], "peer-carried-over"),
        takes=_ITS_MEMORY,
        is_short=True,
        claims=_CLAIMS,
    ),
    Fault(
        "charon_killed_and_away",
        "charon: SIGKILL, away for 30 s",
        _keep_away,
        _let_back,
        renews=("node1",),
        hold_seconds=30,
        says=codes(["node1"], "charon-away") | codes(["node2", "node3"], "peer-silent"),
        takes=_ITS_MEMORY,
        claims=_CLAIMS,
    ),
    Fault(
        "charon_killed_everywhere",
        "charon: SIGKILL on every node at once",
        _kill_all,
        renews=_ALL,
        # Too short for the status: the pairs carry over before anybody could look at all of them.
        hold_seconds=4,
        says=codes(_ALL, "peer-carried-over"),
        takes=_ITS_MEMORY,
        claims=_CLAIMS,
    ),
    Fault(
        "charon_terminated",
        "charon: SIGTERM, restarted at once",
        _terminate,
        touches=("node1",),
        # Too short for the status: the pairs are back before anybody could look.
        hold_seconds=4,
        says=codes(["node2", "node3"], "peer-down"),
        # Aim: 1. Its start, the agent's load and a handshake take twice that on a busy machine.
        most_outage_seconds=2.0,
        most_recovery_seconds=3.0,
        takes=_ITS_MEMORY,
        claims=_CLAIMS,
    ),
    Fault(
        "charon_stands_still",
        "charon: SIGSTOP for a minute",
        _stop,
        _continue,
        hold_seconds=60,
        says=codes(["node1"], "charon-away") | codes(["node2", "node3"], "peer-silent"),
        keeps=Keeps.ALL,
        claims=_CLAIMS,
    ),
)
