"""Daemons of Open vSwitch and OVN end and are started again; IPsec is none of their business."""

from lab.daemons import end_daemon, end_for_good
from lab.fault import Fault, Keeps, Step
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "ovs-vswitchd, ovsdb-server, ovn-controller crash and restart; OVN central is away"
NODES = 3
_AWAY_SECONDS = 20
_RUN = {
    "ovsdb-server": "/run/openvswitch/ovsdb-server.pid",
    "ovs-vswitchd": "/run/openvswitch/ovs-vswitchd.pid",
    "ovn-controller": "/run/ovn/ovn-controller.pid",
}
_CENTRAL = ("/run/ovn/nb.pid", "/run/ovn/sb.pid", "/run/ovn/ovn-northd.pid")


def _crash(daemon: str) -> Step:
    async def step(stage: Stage) -> None:
        await end_daemon(stage, "node1", _RUN[daemon], "SEGV")

    return step


async def _restart_ovsdb(stage: Stage) -> None:
    """As its unit would: ended for good, then started with the same words."""
    remote = stage.running.remote("node1")
    words = (
        await remote.check(f"tr '\\0' ' ' < /proc/$(cat {_RUN['ovsdb-server']})/cmdline")
    ).strip()
    await end_for_good(stage, "node1", _RUN["ovsdb-server"])
    await remote.check(words)


async def _end_central(stage: Stage) -> None:
    for pidfile in _CENTRAL:
        await stage.running.remote(CENTRAL).check(
            f"tr '\\0' ' ' < /proc/$(cat {pidfile})/cmdline > {pidfile}.words"
        )
        await end_for_good(stage, CENTRAL, pidfile)


async def _start_central(stage: Stage) -> None:
    for pidfile in _CENTRAL:
        await stage.running.remote(CENTRAL).check(f"sh {pidfile}.words")


FAULTS = (
    Fault(
        "ovs_vswitchd_crashed",
        "Open vSwitch: ovs-vswitchd crashes (SIGSEGV), restarted by its monitor",
        _crash("ovs-vswitchd"),
        touches=("node1",),
        hold_seconds=5,
        keeps=Keeps.ALL,
        is_short=True,
    ),
    Fault(
        "ovsdb_server_crashed",
        "Open vSwitch: ovsdb-server crashes (SIGSEGV), restarted by its monitor",
        _crash("ovsdb-server"),
        touches=("node1",),
        hold_seconds=5,
        keeps=Keeps.ALL,
    ),
    Fault(
        "ovsdb_server_restarted",
        "Open vSwitch: ovsdb-server killed and started anew",
        _restart_ovsdb,
        touches=("node1",),
        hold_seconds=5,
        keeps=Keeps.ALL,
    ),
    Fault(
        "ovn_controller_crashed",
        "OVN: ovn-controller crashes (SIGSEGV), restarted by its monitor",
        _crash("ovn-controller"),
        touches=("node1",),
        hold_seconds=5,
        keeps=Keeps.ALL,
    ),
    Fault(
        "ovn_central_away",
        f"OVN: central (both databases, northd) away for {_AWAY_SECONDS} s",
        _end_central,
        _start_central,
        hold_seconds=_AWAY_SECONDS,
        keeps=Keeps.ALL,
    ),
)
