"""Ends, stops and starts a guest's daemons, as shells of a person would. Nodes go by part."""

import shlex
from datetime import UTC, datetime

from lab.deadline import wait_until
from lab.errors import LabError
from lab.stage import Stage

AGENT_SECONDS = 30.0
_AGENT_PID = "cat /run/geneveil/agent.lock"
_CONFIG = "/etc/geneveil/agent.yaml"


async def agent_pid(stage: Stage, node: str) -> int:
    """The process that holds, or held last, the agent's lock."""
    return int(await stage.remote(node).check(_AGENT_PID))


async def signal_agent(stage: Stage, node: str, signal: str, pid: int | None = None) -> None:
    """Send the agent a signal (a name without SIG) and, if it is to end, wait until it has.

    Args:
        pid: of an agent that may not have come to its lock yet.
    Raises:
        LabError: it does not live.
    """
    wait = "" if signal in ("STOP", "CONT") else " && while kill -0 $pid 2> /dev/null; do :; done"
    which = pid or f"$({_AGENT_PID})"
    await stage.remote(node).check(f"pid={which}; kill -{signal} $pid{wait}")


async def start_agent(stage: Stage, node: str, command: str = "geneveil agent") -> int:
    """Start an agent; return its process, which has done nothing yet.

    Args:
        command: words of a shell that become the agent without another process between.
    """
    text = await stage.remote(node).check(
        f"setsid {command} --config {_CONFIG} < /dev/null >> /disk/log/agent.log 2>&1 & echo $!"
    )
    return int(text)


async def await_agent(stage: Stage, node: str, pid: int) -> None:
    """Wait until this very process is the agent and has said how the node is, in its own name."""
    clock = int(await stage.remote(node).check("date +%s"))
    begun = datetime.fromtimestamp(clock, UTC)
    last = ""

    async def speaks() -> bool:
        nonlocal last
        alive = await stage.remote(node).run(f"kill -0 {pid} && test $({_AGENT_PID}) = {pid}")
        try:
            found = await stage.status(stage.at(node))
        except LabError as error:
            last = error.render()
            return False
        written = datetime.fromisoformat(found["writtenAt"])
        last = f"alive: {not alive.status}; status of {found['pid']}, written at {written}"
        return not alive.status and found["pid"] == pid and written >= begun

    await wait_until(
        speaks,
        f"{stage.at(node)}'s agent, process {pid}",
        AGENT_SECONDS,
        explain=lambda: last,
        poll_seconds=0.2,
    )


async def renew_agent(stage: Stage, node: str, command: str = "geneveil agent") -> int:
    """Start an agent where none is, and wait until it is one."""
    pid = await start_agent(stage, node, command)
    await await_agent(stage, node, pid)
    return pid


async def signal_charon(stage: Stage, node: str, signal: str) -> None:
    """Send charon a signal; what keeps it running starts it again when it ends."""
    await stage.remote(node).check(f"kill -{signal} $(cat /run/charon-systemd.pid)")


async def keep_charon_away(stage: Stage, node: str, signal: str) -> None:
    """End charon and let nobody start it again."""
    await stage.remote(node).check("touch /run/charon-stays-away")
    await signal_charon(stage, node, signal)


async def let_charon_back(stage: Stage, node: str) -> None:
    await stage.remote(node).check("rm /run/charon-stays-away")


async def end_daemon(stage: Stage, guest: str, pidfile: str, signal: str) -> None:
    """Send a daemon of Open vSwitch or OVN a signal; its monitor starts it anew if it crashed."""
    await stage.remote(guest).check(f"kill -{signal} $(cat {pidfile})")


async def daemon_words(stage: Stage, guest: str, pidfile: str) -> str:
    """The command line that a daemon was started with, for a shell."""
    text = await stage.remote(guest).check(f"cat /proc/$(cat {pidfile})/cmdline")
    return shlex.join(text.rstrip("\0").split("\0"))


async def end_for_good(stage: Stage, guest: str, pidfile: str) -> None:
    """End a daemon and the monitor that would start it again; wait until both are gone."""
    await stage.remote(guest).check(
        # One that crashed a moment ago has a successor in the file a moment later.
        f"until pid=$(cat {pidfile}) && parent=$(ps -o ppid= -p $pid); do :; done; "
        "kill -KILL $parent $pid; while kill -0 $pid 2> /dev/null; do :; done"
    )


async def end_in_order(stage: Stage, guest: str, pidfile: str, command: str) -> None:
    """Let a command end a daemon, whose monitor then ends too; wait until it is gone."""
    await stage.remote(guest).check(
        f"pid=$(cat {pidfile}); {command} && while kill -0 $pid 2> /dev/null; do :; done"
    )
