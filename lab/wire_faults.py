"""Makes a pair's wire bad: frames dropped by what they are, or delayed, lost, doubled at random.

All of it is done in the guests that are at the wire's ends, below IPsec and guard: what arrives is
dropped at the card's ingress (nftables, family netdev), what leaves is handed to netem(8) in the
card's queue. The witness stands between, so it sees also what is dropped on arrival.
"""

import asyncio
from itertools import permutations

from lab.fault import Step
from lab.stage import Stage

_TABLE = "netdev lab_wire"
# Also when somebody flushed nftables meanwhile.
_REMOVE = f"nft 'table {_TABLE}; delete table {_TABLE}'"


def drop_between(one: str, other: str, match: str = "") -> Step:
    """Drop on arrival, at both, what the other sent and what matches (an nftables expression)."""

    async def step(stage: Stage) -> None:
        for here, there in permutations((one, other)):
            source = stage.node(there).underlay.ip
            # The pair goes on knowing each other's addresses: ARP is not IP, and what IPv6 has in
            # its place is ICMPv6.
            family = "ip" if source.version == 4 else "meta l4proto != ipv6-icmp ip6"
            rule = f"{family} saddr {source} {match} counter drop"
            await stage.remote(here).check(
                f"nft -f - <<'N'\ntable {_TABLE} {{\n chain c {{\n"
                f"  type filter hook ingress device eth0 priority 0;\n  {rule}\n }}\n}}\nN"
            )

    return step


def mend(*names: str) -> Step:
    """Take away what `drop_between` made."""

    async def step(stage: Stage) -> None:
        remotes = [stage.remote(name) for name in names]
        await asyncio.gather(*(remote.check(_REMOVE) for remote in remotes))

    return step


def worsen(one: str, other: str, netem: str) -> Step:
    """Between two nodes, both ways: tc-netem(8) options such as `loss 20%`."""

    async def step(stage: Stage) -> None:
        async def at(here: str, there: str) -> None:
            peer = stage.node(there).underlay.ip
            family = "ip" if peer.version == 4 else "ipv6"
            await stage.remote(here).check(
                "set -e; tc qdisc add dev eth0 root handle 1: htb default 1;"
                "tc class add dev eth0 parent 1: classid 1:1 htb rate 10gbit;"
                "tc class add dev eth0 parent 1: classid 1:4 htb rate 10gbit;"
                f"tc qdisc add dev eth0 parent 1:4 handle 40: netem limit 10000 {netem};"
                f"tc filter add dev eth0 parent 1: protocol {family} flower dst_ip {peer}"
                " classid 1:4"
            )

        await asyncio.gather(at(one, other), at(other, one))

    return step


def ease(*names: str) -> Step:
    """Take away what `worsen` made."""

    async def step(stage: Stage) -> None:
        remotes = [stage.remote(name) for name in names]
        await asyncio.gather(*(remote.check("tc qdisc del dev eth0 root") for remote in remotes))

    return step
