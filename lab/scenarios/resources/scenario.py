"""The agent has no room on its disk, no right to write, no file descriptors, little memory."""

from lab.daemons import renew_agent, signal_agent
from lab.fault import Fault, Keeps, Part
from lab.stage import Stage

TITLE = "Disk full, state folder read-only, out of file descriptors, a limit of 64 MiB"
NODES = 3
_HOLD_SECONDS = 7.0
_STATE = "/var/lib/geneveil"
_SMALL = "/run/small"
_FEW_FILES = 9
_LIMIT_BYTES = 64 << 20
_STACK_BYTES = 512 << 10
_CLAIMS = frozenset({Part.AGENT, Part.FILES})


async def _fill(stage: Stage) -> None:
    """A file system of its own for the state folder, with the same files, filled to the last."""
    await stage.remote("node1").check(
        f"set -e; mkdir -p {_SMALL}; mount -t tmpfs -o size=256k small {_SMALL}; "
        f"cp -a {_STATE}/. {_SMALL}/; mount --bind {_SMALL} {_STATE}; "
        f"dd if=/dev/zero of={_STATE}/filler bs=4096 2> /dev/null || true; "
        f"! dd if=/dev/zero of={_STATE}/more bs=4096 count=1 2> /dev/null; rm -f {_STATE}/more"
    )


async def _empty(stage: Stage) -> None:
    await stage.remote("node1").check(
        f"set -e; rm {_STATE}/filler; umount {_STATE}; umount {_SMALL}; rmdir {_SMALL}"
    )


async def _make_read_only(stage: Stage) -> None:
    await stage.remote("node1").check(
        f"set -e; mount --bind {_STATE} {_STATE}; mount -o remount,bind,ro {_STATE}; "
        f"! touch {_STATE}/x 2> /dev/null"
    )


async def _make_writable(stage: Stage) -> None:
    await stage.remote("node1").check(f"umount {_STATE}; touch {_STATE}/x; rm {_STATE}/x")


async def _take_files(stage: Stage) -> None:
    await stage.remote("node1").check(
        f"prlimit --pid $(cat /run/geneveil/agent.lock) --nofile={_FEW_FILES}:524288"
    )


async def _give_files(stage: Stage) -> None:
    await stage.remote("node1").check(
        "prlimit --pid $(cat /run/geneveil/agent.lock) --nofile=1024:524288"
    )


async def _limit(stage: Stage) -> None:
    """The kernel of the lab has no memory cgroups: the limit is on private memory (RLIMIT_DATA)."""
    await signal_agent(stage, "node1", "TERM")
    limits = f"--stack={_STACK_BYTES} --data={_LIMIT_BYTES}"
    await renew_agent(stage, "node1", f"prlimit {limits} geneveil agent")


async def _lift(stage: Stage) -> None:
    remote = stage.remote("node1")
    text = await remote.check("cat /proc/$(cat /run/geneveil/agent.lock)/status")
    (peak,) = (line.split()[1] for line in text.splitlines() if line.startswith("VmHWM"))
    stage.note(f"the agent's peak memory: {int(peak) >> 10} MiB")
    assert int(peak) << 10 < _LIMIT_BYTES, f"the agent needed {peak} KiB"
    await signal_agent(stage, "node1", "TERM")
    await renew_agent(stage, "node1")


FAULTS = (
    Fault(
        "disk_full",
        "resources: the state folder's disk is full",
        _fill,
        _empty,
        hold_seconds=_HOLD_SECONDS,
        says={"node1": frozenset({"state-directory"})},
        keeps=Keeps.ALL,
        claims=_CLAIMS,
        is_short=True,
    ),
    Fault(
        "state_read_only",
        "resources: the state folder is read-only",
        _make_read_only,
        _make_writable,
        hold_seconds=_HOLD_SECONDS,
        says={"node1": frozenset({"state-directory"})},
        keeps=Keeps.ALL,
        claims=_CLAIMS,
    ),
    Fault(
        "no_file_descriptors",
        "resources: the agent is out of file descriptors",
        _take_files,
        _give_files,
        # Its log says it, which is open; its status cannot be written, and so is not asked for.
        hold_seconds=4.5,
        says={"node1": frozenset({"guard-unreadable"})},
        keeps=Keeps.ALL,
        claims=_CLAIMS,
        is_short=True,
    ),
    Fault(
        "little_memory",
        "resources: the agent may use 64 MiB of private memory",
        _limit,
        _lift,
        hold_seconds=_HOLD_SECONDS,
        keeps=Keeps.ALL,
        claims=_CLAIMS,
    ),
)
