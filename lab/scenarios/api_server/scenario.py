"""The API server is killed, stands still, is slow, busy, without its keys, of an older time."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from lab.clocks import set_clocks
from lab.daemons import renew_agent, signal_agent
from lab.deadline import wait_until
from lab.fault import Fault, Keeps, Step, codes
from lab.kube import disturb
from lab.kube.in_lab import API_SERVER, KUBELETS
from lab.passing_time import add_months, now, pass_time
from lab.stage import Stage
from lab.topology import API_SERVER_PORT

TITLE = "The API server is killed, slow, busy, without its keys, away, or of an older time"
NODES = 3
NOT_STANDALONE = "there is no API server"
_ALL = ("node1", "node2", "node3")
_HEARD_SECONDS = 180.0
"""A question is held for up to a minute, and what failed is asked again ever more seldom."""

_RENEWED_SECONDS = 180.0
_DUE_MONTHS = 55
_FROZEN_SECONDS, _SLOW_SECONDS, _REFUSED_SECONDS = 45.0, 30.0, 20.0
_AWAY_SECONDS = 300.0


async def _issued(stage: Stage) -> dict[str, list[str]]:
    """Chassis -> serials of its certificates in the ledger."""
    found: dict[str, list[str]] = {}
    for one in (await stage.operator("list"))["certificates"]:
        found.setdefault(one["chassis"], []).append(one["serial"])
    return found


async def _in_use(stage: Stage) -> dict[str, str]:
    """Chassis -> serial of the certificate that its node uses."""
    found = [(await stage.status(node.name))["certificate"] for node in stage.nodes]
    return {one["chassis"]: one["serial"] for one in found}


async def _await_heard(stage: Stage) -> None:
    """Each node hears of its cluster later than now."""
    before = {n.name: (await stage.status(n.name))["trust"]["heardAt"] for n in stage.nodes}
    after: dict[str, str] = {}

    async def heard() -> bool:
        for name in before:
            after[name] = (await stage.status(name))["trust"]["heardAt"]
        return all(after[name] > before[name] for name in before)

    await wait_until(
        heard,
        "every node to hear of its cluster again",
        _HEARD_SECONDS,
        explain=lambda: f"before {before}, then {after}",
        poll_seconds=0.5,
    )


@dataclass
class _Ledger:
    """What was issued before a fault, and is to be found after it.

    Attributes:
        renewals: how many certificates each node asks for in between.
    """

    renewals: int = 0
    before: dict[str, list[str]] = field(default_factory=dict)

    async def remember(self, stage: Stage) -> None:
        self.before = await _issued(stage)

    async def check(self, stage: Stage) -> None:
        """Every certificate is there, once, and each node uses one of them."""
        after, used = await _issued(stage), await _in_use(stage)
        counted = Counter(serial for serials in after.values() for serial in serials)
        twice = [serial for serial, times in counted.items() if times > 1]
        assert not twice, f"issued twice: {twice}"
        assert used.keys() == after.keys(), f"nodes {sorted(used)}, in the ledger {sorted(after)}"
        for chassis, serials in after.items():
            known = self.before.get(chassis, [])
            assert serials[: len(known)] == known, f"{chassis}: lost {known}, there are {serials}"
            new = len(serials) - len(known)
            assert new == self.renewals, f"{chassis}: {new} new, not {self.renewals}: {serials}"
            assert serials[-1] == used[chassis], f"{chassis} uses {used[chassis]}, not the newest"


def _fault(
    name: str,
    title: str,
    inject: Step,
    heal: Step | None = None,
    *,
    hold_seconds: float = 0.0,
    says: str = "",
    renewals: int = 0,
    is_short: bool = False,
) -> Fault:
    """With the ledger looked at before and after, and every node heard."""
    ledger = _Ledger(renewals)

    async def begin(stage: Stage) -> None:
        await ledger.remember(stage)
        await inject(stage)

    async def end(stage: Stage) -> None:
        if heal:
            await heal(stage)
        await _await_heard(stage)
        await ledger.check(stage)

    return Fault(
        name,
        f"API server: {title}",
        begin,
        end,
        hold_seconds=hold_seconds,
        well_seconds=180.0,
        says=codes(_ALL, says) if says else {},
        keeps=Keeps.NONE if renewals else Keeps.ALL,
        is_short=is_short,
        is_long=True,
    )


async def _kill(stage: Stage) -> None:
    lab = stage.running.lab
    await lab.order("kill-service", API_SERVER)
    await lab.order("start-service", API_SERVER)


async def _leave(stage: Stage) -> None:
    await stage.control_plane.leave()


async def _come_back(stage: Stage) -> None:
    await stage.control_plane.come_back()


async def _freeze(stage: Stage) -> None:
    disturb.freeze(stage.running.layout.kube.layout)


async def _thaw(stage: Stage) -> None:
    disturb.thaw(stage.running.layout.kube.layout)


async def _delay(stage: Stage) -> None:
    """What guests send to the API server waits; a person's shell does not."""
    address = stage.running.layout.kube.layout.address
    await _everywhere(
        stage,
        "set -e; tc qdisc add dev mgmt0 root handle 1: htb default 1;"
        "tc class add dev mgmt0 parent 1: classid 1:1 htb rate 10gbit;"
        "tc class add dev mgmt0 parent 1: classid 1:4 htb rate 10gbit;"
        "tc qdisc add dev mgmt0 parent 1:4 handle 40: netem limit 10000 delay 2s;"
        "tc filter add dev mgmt0 parent 1: protocol ip flower ip_proto tcp"
        f" dst_ip {address} dst_port {API_SERVER_PORT} classid 1:4",
    )


async def _hurry(stage: Stage) -> None:
    await _everywhere(stage, "tc qdisc del dev mgmt0 root")


async def _everywhere(stage: Stage, command: str) -> None:
    guests = stage.running.layout.topology.guests
    await asyncio.gather(*(stage.running.remote(guest).check(command) for guest in guests))


async def _refuse(stage: Stage) -> None:
    await asyncio.to_thread(disturb.refuse_as_busy, stage.running.layout.kube)


async def _refuse_no_more(stage: Stage) -> None:
    await asyncio.to_thread(disturb.refuse_no_more, stage.running.layout.kube)


async def _forget_tokens(stage: Stage) -> None:
    await _leave(stage)
    disturb.forget_tokens(stage.running.layout.kube.layout)
    await _come_back(stage)


async def _new_tokens(stage: Stage) -> None:
    """What begins anew asks for every token at once."""
    lab = stage.running.lab
    await lab.order("kill-service", KUBELETS)
    await lab.order("start-service", KUBELETS)


async def _leave_when_due(stage: Stage) -> None:
    await _leave(stage)
    await set_clocks(stage.running, add_months(await now(stage), _DUE_MONTHS))


async def _come_back_and_renew(stage: Stage) -> None:
    await _come_back(stage)
    await stage.await_together([n.name for n in stage.nodes], seconds=_RENEWED_SECONDS)
    await stage.await_well(seconds=_RENEWED_SECONDS)


async def _leave_an_agent_alone(stage: Stage) -> None:
    """It has to go on with what is on its disk."""
    await _leave(stage)
    await signal_agent(stage, "node1", "KILL")
    await renew_agent(stage, "node1")


class _Restoration:
    """Which certificates the time that is lost made."""

    def __init__(self) -> None:
        self.lost: dict[str, str] = {}

    async def restore(self, stage: Stage) -> None:
        layout = stage.running.layout.kube.layout
        await _leave(stage)
        await asyncio.to_thread(disturb.copy_memory, layout)
        await _come_back(stage)
        await _await_heard(stage)
        known = await _in_use(stage)
        await pass_time(stage, [add_months(await now(stage), _DUE_MONTHS)])
        self.lost = await _in_use(stage)
        assert not set(self.lost.values()) & set(known.values()), f"not renewed: {self.lost}"
        await _leave(stage)
        await asyncio.to_thread(disturb.put_memory_back, layout)
        await _come_back(stage)

    async def await_replaced(self, stage: Stage) -> None:
        """Every node has asked for another certificate by itself."""
        used: dict[str, str] = {}

        async def replaced() -> bool:
            used.update(await _in_use(stage))
            return not set(used.values()) & set(self.lost.values())

        await wait_until(
            replaced,
            "every node to use a certificate that the ledger knows",
            _RENEWED_SECONDS,
            explain=lambda: f"lost {self.lost}, in use {used}",
            poll_seconds=0.5,
        )
        await stage.await_well(seconds=_RENEWED_SECONDS)


_restoration = _Restoration()

FAULTS = (
    _fault("api_killed", "SIGKILL, started at once", _kill, is_short=True),
    _fault(
        "api_frozen",
        f"stands still for {_FROZEN_SECONDS:.0f} s",
        _freeze,
        _thaw,
        hold_seconds=_FROZEN_SECONDS,
    ),
    _fault(
        "api_slow",
        f"2 s late for {_SLOW_SECONDS:.0f} s",
        _delay,
        _hurry,
        hold_seconds=_SLOW_SECONDS,
    ),
    _fault(
        "api_busy",
        f"answers 429 for {_REFUSED_SECONDS:.0f} s",
        _refuse,
        _refuse_no_more,
        hold_seconds=_REFUSED_SECONDS,
    ),
    _fault(
        "api_forgets_tokens",
        f"believes no token for {_FROZEN_SECONDS:.0f} s",
        _forget_tokens,
        _new_tokens,
        hold_seconds=_FROZEN_SECONDS,
        says="watch-refused",
    ),
    _fault(
        "api_away_when_renewal_is_due",
        "away while every node has to renew",
        _leave_when_due,
        _come_back_and_renew,
        hold_seconds=_REFUSED_SECONDS,
        says="operator-silent",
        renewals=1,
    ),
    _fault(
        "api_away_for_minutes",
        f"away for {_AWAY_SECONDS / 60:.0f} minutes, an agent killed and started meanwhile",
        _leave_an_agent_alone,
        _come_back,
        hold_seconds=_AWAY_SECONDS,
    ),
    _fault(
        "etcd_restored",
        "etcd put back as it was before every node renewed",
        _restoration.restore,
        _restoration.await_replaced,
        renewals=1,
        is_short=True,
    ),
)
