"""Ends, stops and starts a guest's daemons, as shells of a person would."""

from lab.stage import Stage

AGENT = "kill -{signal} $(cat /run/geneveil/agent.lock)"
START_AGENT = (
    "setsid geneveil agent --config /etc/geneveil/agent.yaml "
    "< /dev/null >> /disk/log/agent.log 2>&1 &"
)


async def signal_agent(stage: Stage, node: str, signal: str) -> None:
    """Send the agent a signal (a name without SIG) and, if it is to end, wait until it has."""
    remote = stage.running.remote(node)
    wait = "" if signal in ("STOP", "CONT") else "; while kill -0 $pid 2> /dev/null; do :; done"
    await remote.check(f"pid=$(cat /run/geneveil/agent.lock); kill -{signal} $pid{wait}")


async def start_agent(stage: Stage, node: str) -> None:
    await stage.running.remote(node).check(START_AGENT)


async def signal_charon(stage: Stage, node: str, signal: str) -> None:
    """Send charon a signal; what keeps it running starts it again when it ends."""
    await stage.running.remote(node).check(f"kill -{signal} $(cat /run/charon-systemd.pid)")


async def keep_charon_away(stage: Stage, node: str, signal: str) -> None:
    """End charon and let nobody start it again."""
    await stage.running.remote(node).check("touch /run/charon-stays-away")
    await signal_charon(stage, node, signal)


async def let_charon_back(stage: Stage, node: str) -> None:
    await stage.running.remote(node).check("rm /run/charon-stays-away")


async def end_daemon(stage: Stage, guest: str, pidfile: str, signal: str) -> None:
    """Send a daemon of Open vSwitch or OVN a signal; its monitor starts it anew if it crashed."""
    await stage.running.remote(guest).check(f"kill -{signal} $(cat {pidfile})")


async def end_for_good(stage: Stage, guest: str, pidfile: str) -> None:
    """End a daemon and the monitor that would start it again; wait until both are gone."""
    await stage.running.remote(guest).check(
        f"pid=$(cat {pidfile}); parent=$(ps -o ppid= -p $pid); kill -KILL $parent $pid; "
        "while kill -0 $pid 2> /dev/null; do :; done"
    )
