"""Daemons of Open vSwitch and OVN end and are started again; IPsec is none of their business."""

from lab.daemons import daemon_words, end_daemon, end_for_good, end_in_order
from lab.fault import Fault, Keeps, Part, Step
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "ovs-vswitchd, ovsdb-server, ovn-controller crash and restart; OVN central is away"
NODES = 3
_AWAY_SECONDS = 20
_CLAIMS = frozenset({Part.SWITCH})
_RUN = {
    "ovsdb-server": "/run/openvswitch/ovsdb-server.pid",
    "ovs-vswitchd": "/run/openvswitch/ovs-vswitchd.pid",
    "ovn-controller": "/run/ovn/ovn-controller.pid",
}
_EXIT = {
    "ovs-vswitchd": "ovs-appctl exit",
    "ovn-controller": "ovn-appctl -t ovn-controller exit --restart",
}
_CENTRAL = ("/run/ovn/nb.pid", "/run/ovn/sb.pid", "/run/ovn/ovn-northd.pid")


def _crash(daemon: str) -> Step:
    async def step(stage: Stage) -> None:
        await end_daemon(stage, "node1", _RUN[daemon], "SEGV")

    return step


async def _restart_ovsdb(stage: Stage) -> None:
    """As its unit would: ended for good, then started with the same words."""
    words = await daemon_words(stage, "node1", _RUN["ovsdb-server"])
    await end_for_good(stage, "node1", _RUN["ovsdb-server"])
    await stage.remote("node1").check(words)


def _restart_in_order(daemon: str) -> Step:
    """As an upgrade of its package does."""

    async def step(stage: Stage) -> None:
        words = await daemon_words(stage, "node1", _RUN[daemon])
        await end_in_order(stage, "node1", _RUN[daemon], _EXIT[daemon])
        await stage.remote("node1").check(words)

    return step


async def _end_central(stage: Stage) -> None:
    for pidfile in _CENTRAL:
        await stage.running.remote(CENTRAL).check(
            f"tr '\\0' ' ' < /proc/$(cat {pidfile})/cmdline > {pidfile}.words"
        )
        await end_for_good(stage, CENTRAL, pidfile)


async def _start_central(stage: Stage) -> None:
    for pidfile in _CENTRAL:
        await stage.running.remote(CENTRAL).check(f"sh {pidfile}.words")


def _vswitchd(name: str, title: str, step: Step, *, is_short: bool = False) -> Fault:
    return Fault(
        name,
        f"Open vSwitch: ovs-vswitchd {title}",
        step,
        touches=("node1",),
        hold_seconds=5,
        keeps=Keeps.ALL,
        # Its own gap, until it and ovn-controller have made its flows anew: no SA has part in it.
        most_outage_seconds=5.0,
        most_recovery_seconds=8.0,
        is_short=is_short,
        claims=_CLAIMS,
    )


def _loses_nothing(name: str, title: str, step: Step) -> Fault:
    return Fault(name, title, step, hold_seconds=5, keeps=Keeps.ALL, claims=_CLAIMS)


def _controller(name: str, title: str, step: Step) -> Fault:
    return Fault(
        name,
        f"OVN: ovn-controller {title}",
        step,
        touches=("node1",),
        hold_seconds=5,
        keeps=Keeps.ALL,
        # Seen: none. It may make flows anew, which is OVN's.
        most_outage_seconds=1.0,
        most_recovery_seconds=5.0,
        claims=_CLAIMS,
    )


FAULTS = (
    _vswitchd(
        "ovs_vswitchd_crashed",
        "crashes (SIGSEGV), restarted by its monitor",
        _crash("ovs-vswitchd"),
        is_short=True,
    ),
    _vswitchd(
        "ovs_vswitchd_restarted",
        "restarted in good order",
        _restart_in_order("ovs-vswitchd"),
    ),
    _loses_nothing(
        "ovsdb_server_crashed",
        "Open vSwitch: ovsdb-server crashes (SIGSEGV), restarted by its monitor",
        _crash("ovsdb-server"),
    ),
    _loses_nothing(
        "ovsdb_server_restarted",
        "Open vSwitch: ovsdb-server killed and started anew",
        _restart_ovsdb,
    ),
    _controller(
        "ovn_controller_crashed",
        "crashes (SIGSEGV), restarted by its monitor",
        _crash("ovn-controller"),
    ),
    _controller(
        "ovn_controller_restarted",
        "restarted in good order",
        _restart_in_order("ovn-controller"),
    ),
    Fault(
        "ovn_central_away",
        f"OVN: central (both databases, northd) away for {_AWAY_SECONDS} s",
        _end_central,
        _start_central,
        hold_seconds=_AWAY_SECONDS,
        keeps=Keeps.ALL,
        claims=_CLAIMS,
    ),
)
