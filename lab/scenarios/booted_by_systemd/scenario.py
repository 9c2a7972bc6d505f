"""Guard, agent and the rest under a real systemd, in good order and in bad; see README.md."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from lab.bringup import await_wired
from lab.deadline import wait_until
from lab.errors import LabError
from lab.health import LINGERING, is_well
from lab.stage import Stage
from lab.systemd_units import Unit, read_units
from lab.traffic import Mark, PairLoss

TITLE = "Nodes booted by systemd: the guard is there before anything can send, or nothing sends"
NODES = 2
BY_SYSTEMD = True
NOT_ON_KUBERNETES = "there the agent is a Pod's container, not a unit of systemd"

_BEFORE_GUARD = ("nftables",)
_AFTER_GUARD = ("systemd-networkd", "ovsdb-server", "ovs-vswitchd", "ovn-controller", "strongswan")
_BEFORE_AGENT = ("ovsdb-server", "ovs-vswitchd", "strongswan")
_UNITS = (*_BEFORE_GUARD, "geneveil-guard", *_AFTER_GUARD, "geneveil-agent")
_SLOW_SECONDS = 3
_WAIT_SECONDS = 120.0
# capabilities(7): CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_NET_RAW.
_CAPABILITIES = 1 << 1 | 1 << 12 | 1 << 13
_WRITE_TABLES = (
    "[Service]\nExecStartPre=+/bin/sh -c 'nft list tables > /disk/boot/tables-before-%p'\n"
)
_SLOW = {
    "geneveil-guard": f"[Service]\nExecStartPre=/bin/sleep {_SLOW_SECONDS}\n",
    "ovs-vswitchd": _WRITE_TABLES,
    "systemd-networkd": _WRITE_TABLES,
}
_NO_NFT = {"geneveil-guard": "[Service]\nInaccessiblePaths=/usr/sbin/nft\n"}
_UNINSTALL = (
    "systemctl disable --now geneveil-agent; systemctl disable geneveil-guard; "
    "rm /etc/systemd/system/geneveil-*.service /usr/bin/geneveil; "
    "rm -r /etc/systemd/system/strongswan.service.d; systemctl daemon-reload"
)
_END_OPEN_VSWITCH = (
    "systemctl stop geneveil-agent ovn-host ovn-controller && "
    "ovs-appctl exit --cleanup && systemctl stop ovs-vswitchd ovsdb-server"
)


async def play(stage: Stage) -> None:
    stage.touched.update(node.name for node in stage.nodes)
    for node in stage.nodes:
        await _check_order(stage, node.name)
    await _agent_goes_unnoticed(stage)
    await _boots_with_a_slow_guard(stage)
    await _boots_without_a_guard(stage)
    await _leaves(stage)


async def _check_order(stage: Stage, node: str) -> Unit:
    """Everything is up, and came up in order; the guard's unit."""
    units = await read_units(stage, node, *_UNITS)
    for unit in units.values():
        assert unit.state == "active", f"{node}: {unit}"
        assert unit.result == "success", f"{node}: {unit}"
        assert unit.restarts == 0, f"{node}: {unit}"
    guard, agent = units["geneveil-guard"], units["geneveil-agent"]
    for name in _BEFORE_GUARD:
        assert 0 < units[name].active_us <= guard.began_us, f"{node}: {units[name]} {guard}"
    for name in _AFTER_GUARD:
        assert 0 < guard.active_us <= units[name].began_us, f"{node}: {guard} {units[name]}"
    for name in _BEFORE_AGENT:
        assert 0 < units[name].active_us <= agent.began_us, f"{node}: {units[name]} {agent}"
    await _assert_guard_stands(stage, node)
    stage.note(
        f"{node}: the guard began at {guard.began_us / 1e6:.2f} s, stood at "
        f"{guard.active_us / 1e6:.2f} s, ovs-vswitchd began at "
        f"{units['ovs-vswitchd'].began_us / 1e6:.2f} s, networkd at "
        f"{units['systemd-networkd'].began_us / 1e6:.2f} s, the agent at "
        f"{agent.began_us / 1e6:.2f} s"
    )
    return guard


async def _agent_goes_unnoticed(stage: Stage) -> None:
    """What happens to the agent of node1 is noticed by nobody."""
    assert stage.traffic is not None
    begin = await stage.traffic.mark()
    before = await _read_spis(stage)
    await _agent_is_confined(stage, "node1")
    await _agent_comes_and_goes(stage, "node1")
    after = await _read_spis(stage)
    assert after == before, f"SPIs were {before}, are {after}"
    await _assert_no_loss_since(stage, begin)


async def _agent_is_confined(stage: Stage, node: str) -> None:
    """It works in its unit's restrictions, and they are in force."""
    remote = stage.running.remote(node)
    agent = (await read_units(stage, node, "geneveil-agent"))["geneveil-agent"]
    text = await remote.check(f"cat /proc/{agent.main_pid}/status")
    status = dict(line.partition(":\t")[::2] for line in text.splitlines())
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == _CAPABILITIES, text
    assert status["NoNewPrivs"] == "1", text
    assert status["Seccomp"] == "2", text
    await remote.check("nft delete table inet geneveil")
    await _await_guard(stage, node)


async def _agent_comes_and_goes(stage: Stage, node: str) -> None:
    remote = stage.running.remote(node)
    pids = {(await _await_agent(stage, node)).main_pid}
    for command in (
        "systemctl restart geneveil-agent",
        "systemctl kill --signal=KILL geneveil-agent",
        "systemctl stop geneveil-agent && sleep 2 && geneveil guard show && "
        "systemctl start geneveil-agent",
    ):
        await remote.check(command, seconds=_WAIT_SECONDS)
        pids.add((await _await_agent(stage, node, pids)).main_pid)
    assert len(pids) == 4, pids
    # charon's unit reads /etc/swanctl again, and unloads what is not in it: ours.
    await remote.check("systemctl reload strongswan", seconds=_WAIT_SECONDS)
    await _await_connections(stage, node)
    done = await remote.run("systemctl stop geneveil-guard")
    assert done.status != 0, "the guard could be stopped"
    await _assert_guard_stands(stage, node)


async def _boots_with_a_slow_guard(stage: Stage) -> None:
    await _shut_down(stage, "node1")
    _put_drop_ins(stage, "node1", _SLOW)
    await stage.power_on("node1")
    await _await_back(stage)
    guard = await _check_order(stage, "node1")
    assert guard.active_us - guard.began_us >= _SLOW_SECONDS * 1_000_000, guard
    for unit in ("ovs-vswitchd", "systemd-networkd"):
        text = await stage.running.remote("node1").check(f"cat /disk/boot/tables-before-{unit}")
        assert "table inet geneveil\n" in text, f"before {unit}: {text}"


async def _boots_without_a_guard(stage: Stage) -> None:
    """Open vSwitch waits for a guard that cannot come; then it can."""
    await stage.power_off("node1")
    _put_drop_ins(stage, "node1", _NO_NFT)
    await stage.power_on("node1", until="network")
    remote = stage.running.remote("node1")

    async def booted() -> bool:
        return "degraded" in (await remote.run("systemctl is-system-running")).stdout

    await wait_until(booted, "node1 to have started what it can", _WAIT_SECONDS, poll_seconds=0.5)
    await _assert_closed(stage)
    done = await remote.run("systemctl start openvswitch-switch", seconds=_WAIT_SECONDS)
    assert done.status != 0, "Open vSwitch could be started by hand"
    await _assert_closed(stage)
    said = (await remote.run("systemctl status geneveil-guard")).stdout
    assert "nft" in said, said
    stage.note(f"its status says: {[line for line in said.splitlines() if 'nft' in line][-1]}")
    await remote.check(
        "rm /etc/systemd/system/geneveil-guard.service.d/*.conf && systemctl daemon-reload && "
        "systemctl start geneveil-guard openvswitch-switch ovn-host lab-wiring",
        seconds=_WAIT_SECONDS,
    )
    await _await_back(stage)


async def _assert_closed(stage: Stage) -> None:
    units = await read_units(stage, "node1", "geneveil-guard", "ovs-vswitchd", "openvswitch-switch")
    assert units["geneveil-guard"].state == "failed", units
    assert units["ovs-vswitchd"].began_us == 0, units
    assert units["openvswitch-switch"].state == "inactive", units
    done = await stage.running.remote("node1").run("pidof ovs-vswitchd")
    assert done.status != 0, done


async def _leaves(stage: Stage) -> None:
    await stage.running.remote("node1").check(_UNINSTALL, seconds=_WAIT_SECONDS)
    await stage.running.remote("node1").check("nft list table inet geneveil")
    await _await_traffic(stage)
    remote = stage.running.remote("node2")
    await remote.check(_END_OPEN_VSWITCH, seconds=_WAIT_SECONDS)
    await remote.check("geneveil node decommission --yes")
    tables = await remote.check("nft list tables")
    assert "geneveil" not in tables, tables
    for unit in ("geneveil-guard", "geneveil-agent"):
        said = (await remote.run(f"systemctl is-enabled {unit}")).stdout.strip()
        assert said == "disabled", f"{unit}: {said}"


async def _shut_down(stage: Stage, node: str) -> None:
    """As a person would; the witness looks on."""
    with contextlib.suppress(LabError):  # it may be off before the answer is there
        await stage.running.remote(node).run("systemctl poweroff")

    async def is_off() -> bool:
        return not (await stage.running.lab.order("status"))["guests"][node]["running"]

    await wait_until(is_off, f"{node} to power itself off", _WAIT_SECONDS, poll_seconds=0.2)
    await stage.power_off(node)


def _put_drop_ins(stage: Stage, node: str, texts: Mapping[str, str]) -> None:
    """What the next boot finds beside the units; nothing else is there."""
    folder = stage.running.layout.disk(node) / "units"
    shutil.rmtree(folder, ignore_errors=True)
    for unit, text in texts.items():
        place = folder / f"{unit}.service.d"
        place.mkdir(parents=True)
        (place / "90-lab.conf").write_text(text)


async def _await_back(stage: Stage) -> None:
    """Traffic is back, if need be in UDP: a node without Open vSwitch looks like an ESP filter."""
    assert stage.traffic is not None
    node = stage.running.layout.topology.node("node1")
    await await_wired(stage.running, node, _WAIT_SECONDS)
    await stage.traffic.rejoin("node1")
    await stage.await_well(seconds=_WAIT_SECONDS, apart_from=LINGERING | {"esp-blocked"})
    await _await_traffic(stage)


async def _await_agent(stage: Stage, node: str, others: AbstractSet[int] = frozenset()) -> Unit:
    """An agent that is none of these processes runs and says that all is well."""
    last = ""

    async def runs() -> bool:
        nonlocal last
        last = (await stage.running.remote(node).run("geneveil status -o json")).stdout
        status = json.loads(last or "{}")
        lives = bool(status.get("agentRuns")) and not status["stale"]
        unit = (await read_units(stage, node, "geneveil-agent"))["geneveil-agent"]
        return lives and is_well(status, LINGERING) and unit.main_pid not in {0, *others}

    await wait_until(
        runs, f"{node}'s agent", _WAIT_SECONDS, explain=lambda: last[-900:], poll_seconds=0.3
    )
    return (await read_units(stage, node, "geneveil-agent"))["geneveil-agent"]


async def _await_connections(stage: Stage, node: str) -> None:
    command = "swanctl --list-conns --uri unix:///run/charon.vici 2> /dev/null | grep -q ^geneveil"

    async def loaded() -> bool:
        return (await stage.running.remote(node).run(command)).status == 0

    await wait_until(loaded, f"{node}'s connections in charon", _WAIT_SECONDS, poll_seconds=0.2)


async def _await_guard(stage: Stage, node: str) -> None:
    async def stands() -> bool:
        return (await stage.running.remote(node).run("geneveil guard show")).status == 0

    await wait_until(stands, f"{node}'s guard", _WAIT_SECONDS, poll_seconds=0.2)


async def _assert_guard_stands(stage: Stage, node: str) -> None:
    done = await stage.running.remote(node).run("geneveil guard show")
    assert done.status == 0, f"{node}: {done.stdout}{done.stderr}"


async def _read_spis(stage: Stage) -> dict[str, list[str]]:
    command = "ip xfrm state list | grep -o 'spi 0x[0-9a-f]*' | sort"
    return {
        node.name: (await stage.running.remote(node.name).check(command)).splitlines()
        for node in stage.nodes
    }


async def _assert_no_loss_since(stage: Stage, begin: Mark) -> None:
    """Every packet that was sent from then to now arrived."""
    losses = await _losses_since(stage, begin)
    assert losses, "no traffic"
    for loss in losses:
        assert loss.sent_packets > 0, str(loss)
        assert loss.is_whole, str(loss)


async def _await_traffic(stage: Stage) -> None:
    """A second in which every packet of every pair arrives.

    After a boot, TCP takes its time to come back, and peers may still move from SAs that they had.
    """
    losses: tuple[PairLoss, ...] = ()

    async def flows() -> bool:
        nonlocal losses
        assert stage.traffic is not None
        begin = await stage.traffic.mark()
        await asyncio.sleep(1)
        losses = await _losses_since(stage, begin)
        return len(losses) == NODES and all(
            loss.sent_packets and not loss.lost_packets for loss in losses
        )

    await wait_until(
        flows, "traffic on every pair", _WAIT_SECONDS, explain=lambda: "; ".join(map(str, losses))
    )


async def _losses_since(stage: Stage, begin: Mark) -> tuple[PairLoss, ...]:
    assert stage.traffic is not None
    end = await stage.traffic.mark()
    await asyncio.sleep(0.5)
    return await stage.traffic.losses_between(begin, end)
