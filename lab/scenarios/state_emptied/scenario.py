"""Others empty or alter what is ours: in the kernel, in charon, in Open vSwitch, in OVN."""

import asyncio

from lab.daemons import renew_agent, signal_agent
from lab.deadline import patience
from lab.fault import Belonging, Fault, Keeps, Part, Step, codes
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = (
    "XFRM, nftables and charon emptied, the guard altered, Geneve's port and OVN's IPsec changed"
)
NODES = 3
_ALL = ("node1", "node2", "node3")
_PORT = 7000
_GUARD = "inet geneveil"
_GUARD_BACK_SECONDS = 1.0
# The agent must be there to put the guard back; until then it holds the bolt.
_WITHOUT_GUARD = frozenset({Part.GUARD, Part.AGENT})
# Without an agent nobody misses guard and bolt only while SAs and policies stand.
_WITHOUT_EITHER = frozenset(Part) - {Part.WIRE, Part.CLOCK, Part.FILES, Part.OPERATOR}
_DELETE_RULE = "nft delete rule inet geneveil output handle $last_rule"
_ACCEPT_FIRST = (
    "nft 'insert rule inet geneveil output accept; insert rule inet geneveil postrouting accept'"
)
_DELETE_TABLE = "nft delete table inet geneveil"
# Tells how long the guard was not as before; by the guest's own clock, which counts hundredths.
_ALTER = """
now() {{ cut -d' ' -f1 /proc/uptime; }}
last_rule=$(nft -a list chain {guard} output | sed -n 's/.* # handle //p' | tail -1)
before=$(nft -s list table {guard}) && begun=$(now) && {alter} || exit 1
until [ "$(nft -s list table {guard} 2> /dev/null)" = "$before" ]; do sleep 0.02; done
echo $begun $(now)
"""
_CLEAR = """
import socket, vici
link = socket.socket(socket.AF_UNIX)
link.connect("/run/charon.vici")
session = vici.Session(link)
for connection in list(session.list_conns()):
    for name in connection:
        if name.startswith("geneveil-"):
            session.unload_conn({"name": name})
session.clear_creds()
"""


async def _flush_xfrm(stage: Stage) -> None:
    await stage.remote("node1").check("ip xfrm state flush; ip xfrm policy flush")


async def flush_nftables(stage: Stage, first: str = "") -> None:
    """Also the lab's own masquerade, which is put back at once.

    Args:
        first: what goes before it in the same breath.
    """
    await stage.remote("node1").check(
        "for f in ip ip6; do nft list table $f lab-egress 2> /dev/null; done > /tmp/egress.nft; "
        f"{first}nft flush ruleset"
    )
    await stage.remote("node1").check("nft -f /tmp/egress.nft")


async def _flush_without_agent(stage: Stage) -> None:
    await signal_agent(stage, "node1", "KILL")
    await flush_nftables(stage)


async def _start_agent(stage: Stage) -> None:
    await renew_agent(stage, "node1")
    done = await stage.remote("node1").run("geneveil guard show")
    assert done.status == 0, f"the new agent put no guard in place: {done.stdout}{done.stderr}"


def _alter_guard(alter: str) -> Step:
    async def step(stage: Stage) -> None:
        command = _ALTER.format(guard=_GUARD, alter=alter)
        text = await stage.remote("node1").check(command, seconds=30)
        begun, back = (float(word) for word in text.split())
        took = back - begun
        stage.note(f"the guard stood again {took:.2f} s after `{alter}` had begun")
        most = _GUARD_BACK_SECONDS * patience()
        assert took <= most, f"the guard was away for {took:.2f} s, not at most {most:g} s"

    return step


async def _clear_charon(stage: Stage) -> None:
    await stage.remote("node1").check(f"PYTHONPATH=/opt/site python3 -P - <<'P'{_CLEAR}P")


async def _terminate_all(stage: Stage) -> None:
    await stage.remote("node1").check(
        "for c in $(swanctl --list-sas --raw --uri unix:///run/charon.vici"
        " | grep -o '{geneveil-[^ ]*' | tr -d '{' | sort -u);"
        " do swanctl --terminate --force --ike $c --uri unix:///run/charon.vici; done"
    )


async def _set_port(stage: Stage, port: int) -> None:
    ends = {"node1": "node2", "node2": "node1"}

    async def at(here: str, there: str) -> None:
        address = stage.node(there).underlay.ip
        await stage.remote(here).check(
            "i=$(ovs-vsctl --bare --columns=name find interface type=geneve"
            f" options:remote_ip={address});"
            f" ovs-vsctl set interface $i options:dst_port={port}"
        )

    await asyncio.gather(*(at(here, there) for here, there in ends.items()))


async def _change_port(stage: Stage) -> None:
    """With ovn-controller stopped, which would set it back."""
    for name in ("node1", "node2"):
        await stage.remote(name).check("kill -STOP $(cat /run/ovn/ovn-controller.pid)")
    await _set_port(stage, _PORT)


async def _restore_port(stage: Stage) -> None:
    await _set_port(stage, 6081)
    for name in ("node1", "node2"):
        await stage.remote(name).check("kill -CONT $(cat /run/ovn/ovn-controller.pid)")


async def _ipsec_off(stage: Stage) -> None:
    await stage.running.remote(CENTRAL).check("ovn-nbctl set NB_Global . ipsec=false")


async def _ipsec_on(stage: Stage) -> None:
    await stage.running.remote(CENTRAL).check("ovn-nbctl set NB_Global . ipsec=true")


FAULTS = (
    Fault(
        "xfrm_flushed",
        "state: XFRM states and policies flushed by another program",
        _flush_xfrm,
        touches=("node1",),
        hold_seconds=2,
        says=codes(["node1"], "peer-unproven"),
        most_outage_seconds=3.0,
        most_recovery_seconds=4.0,
        takes=frozenset({Belonging.XFRM}),
        is_short=True,
        claims=frozenset({Part.XFRM}),
    ),
    Fault(
        "nftables_flushed",
        "state: nftables flushed by another program",
        flush_nftables,
        hold_seconds=5,
        says=codes(["node1"], "guard-missing"),
        keeps=Keeps.ALL,
        takes=frozenset({Belonging.NFTABLES}),
        is_short=True,
        claims=_WITHOUT_GUARD,
    ),
    Fault(
        "nftables_flushed_without_agent",
        "state: nftables flushed while the agent is dead, started after 4 s",
        _flush_without_agent,
        _start_agent,
        hold_seconds=4,
        keeps=Keeps.ALL,
        takes=frozenset({Belonging.NFTABLES}),
        claims=_WITHOUT_EITHER,
    ),
    *(
        Fault(
            name,
            f"state: the guard altered: {title}",
            _alter_guard(alter),
            hold_seconds=5,
            says=codes(["node1"], code),
            keeps=Keeps.ALL,
            is_short=is_short,
            claims=_WITHOUT_GUARD,
        )
        for name, title, alter, code, is_short in (
            ("guard_rule_deleted", "a rule deleted", _DELETE_RULE, "guard-altered", True),
            ("guard_bypassed", "accept put first", _ACCEPT_FIRST, "guard-altered", False),
            ("guard_deleted", "its table deleted", _DELETE_TABLE, "guard-missing", False),
        )
    ),
    Fault(
        "charon_cleared",
        "state: charon's connections and credentials cleared over VICI",
        _clear_charon,
        hold_seconds=3,
        keeps=Keeps.ALL,
        is_short=True,
        claims=frozenset({Part.CREDENTIALS}),
    ),
    Fault(
        "charon_sas_terminated",
        "state: charon's IKE_SAs terminated over VICI",
        _terminate_all,
        touches=("node1",),
        hold_seconds=2,
        says=codes(["node1"], "peer-down"),
        most_outage_seconds=1.0,
        most_recovery_seconds=3.0,
        claims=frozenset({Part.CREDENTIALS}),
    ),
    Fault(
        "geneve_port_changed",
        "state: Geneve's port of a pair changed in Open vSwitch, and back",
        _change_port,
        _restore_port,
        touches=("node1-node2",),
        hold_seconds=8,
        says=codes(["node1", "node2"], "port-not-configured"),
        # The two databases change one after the other: the first attempt may meet the old port.
        most_recovery_seconds=6.0,
        claims=frozenset({Part.SWITCH}),
    ),
    Fault(
        "ipsec_off_in_ovn",
        "state: IPsec turned off in OVN's NB_Global for 5 s",
        _ipsec_off,
        _ipsec_on,
        # No SA changes; but ovn-controller makes each tunnel anew, twice, and Open vSwitch has a
        # gap of up to a second or two in that.
        touches=_ALL,
        hold_seconds=5,
        says=codes(_ALL, "ipsec-off-in-ovn"),
        keeps=Keeps.ALL,
        most_outage_seconds=3.0,
        most_recovery_seconds=5.0,
        claims=frozenset({Part.SWITCH}),
    ),
)
