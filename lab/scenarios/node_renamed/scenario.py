"""A node gets another chassis name; two nodes claim one name."""

from lab.bringup import put_token
from lab.deadline import wait_until
from lab.fault import Fault, Keeps, Part, Step, codes
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "A node's chassis name changes; two nodes claim one name"
NODES = 3
NOT_ON_KUBERNETES = (
    "which chassis a Node is says an annotation that OVN-Kubernetes writes, and here nobody does"
)
_HOLD_SECONDS = 15.0
_BACK_SECONDS = 40.0


def _name(node: str, chassis: str, before: str = "") -> Step:
    """Change the name; `before` is taken out of OVN southbound, as a person has to do: its record
    holds the node's address, and ovn-controller can make no other while it is there."""

    async def step(stage: Stage) -> None:
        await stage.remote(node).check(
            f"ovs-vsctl set Open_vSwitch . external_ids:system-id={stage.at(chassis)}"
        )
        if before:
            await stage.remote(CENTRAL).check(
                f"ovn-sbctl --if-exists chassis-del {stage.at(before)}"
            )

    return step


def _name_with_token(chassis: str, before: str) -> Step:
    async def step(stage: Stage) -> None:
        await _name("node2", chassis, before)(stage)

        async def is_refused() -> bool:
            found = await stage.status(stage.at("node2"))
            return any(
                value["code"] == "trust-unusable" and "token" in value["remedy"]
                for value in found["health"]
            )

        await wait_until(is_refused, "node2 to say that its name has another certificate", 20)
        made = await stage.operator("token", stage.at(chassis))
        node = stage.node("node2")
        put_token(stage.running.layout, node, made["token"])
        await _await_chassis(stage, stage.at(chassis))

    return step


async def _await_chassis(stage: Stage, chassis: str) -> None:
    async def condition() -> bool:
        for name in ("node1", "node3"):
            peers = (await stage.status(stage.at(name)))["peers"]
            if chassis not in {peer["chassis"] for peer in peers if peer["state"] == "up"}:
                return False
        return True

    await wait_until(condition, f"node2 to be reached as {chassis}", _BACK_SECONDS)


FAULTS = (
    Fault(
        "name_changes",
        "node: its chassis name changes in Open vSwitch alone, and changes back",
        _name("node2", "node9"),
        _name("node2", "node2"),
        hold_seconds=_HOLD_SECONDS,
        says=codes(["node2"], "trust-unusable"),
        keeps=Keeps.ALL,
        claims=frozenset({Part.SWITCH, Part.FILES, Part.OPERATOR}),
    ),
    Fault(
        "name_changes_for_good",
        "node: its chassis name changes, a token for the new one is given",
        _name_with_token("node9", "node2"),
        touches=("node2",),
        says=codes(["node2"], "trust-unusable") | codes(["node1", "node3"], "peer-down"),
        keeps=Keeps.UNTOUCHED,
        most_outage_seconds=10.0,
        most_recovery_seconds=20.0,
        walks=False,
    ),
    Fault(
        "name_changes_again",
        "node: its chassis name changes back, a token is given",
        _name_with_token("node2", "node9"),
        touches=("node2",),
        says=codes(["node2"], "trust-unusable") | codes(["node1", "node3"], "peer-down"),
        keeps=Keeps.UNTOUCHED,
        most_outage_seconds=10.0,
        most_recovery_seconds=20.0,
        walks=False,
    ),
    Fault(
        "name_claimed_twice",
        "node: another one claims its chassis name",
        _name("node3", "node2", "node3"),
        _name("node3", "node3", "node2"),
        touches=("node2", "node3"),
        hold_seconds=_HOLD_SECONDS,
        says=codes(["node3"], "trust-unusable"),
        keeps=Keeps.UNTOUCHED,
        is_long=True,
        most_recovery_seconds=_BACK_SECONDS,
    ),
)
