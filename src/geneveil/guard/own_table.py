"""An nftables table that is ours whole: counters, base chains, rules; written and compared. Pure.

What guard and sentinel have in common. What is in their chains, and why, is theirs.

Source: libnftables-json(5).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias, TypeVar

from geneveil.model.errors import KernelError
from geneveil.model.guard import Tally

Json: TypeAlias = dict[str, Any]

DPORT: Json = {"payload": {"protocol": "udp", "field": "dport"}}
L4PROTO: Json = {"meta": {"key": "l4proto"}}

UDP = 17
_ICMP, _ICMPV6 = 1, 58


def _bits(offset: int, length: int) -> Json:
    """So many bits behind the beginning of the transport header."""
    return {"payload": {"base": "th", "offset": offset, "len": length}}


_RESERVED_AND_TYPE = _bits(74, 22)
_LAST_RESERVED = _bits(120, 8)
_ETHERNET_INSIDE = 0x6558

_QUOTED = ((_ICMP, 136, 224), (_ICMPV6, 112, 384))
"""Where an error has the quoted packet's protocol, and its UDP header, in bits: behind 8 bytes of
its own (RFC 792, RFC 4443 3.1) an IPv4 header without options, or an IPv6 header without
extensions; kernels give Geneve neither."""

_Counter = TypeVar("_Counter", bound=Enum)


@dataclass(frozen=True)
class OwnTable:
    """Which table it is; `flag` as nft names it, or empty."""

    family: str
    name: str
    comment: str
    flag: str = ""

    @property
    def place(self) -> Json:
        """What each object in it says of where it is."""
        return {"family": self.family, "table": self.name}

    def encode_replace(
        self,
        tallies: Mapping[_Counter, Tally],
        counters: Iterable[_Counter],
        chains: Iterable[Json],
        rules: Iterable[Json],
    ) -> Json:
        """One transaction that puts this in place of whatever the table holds.

        The kernel commits it at once, so there is no moment without it. Counters go on from
        `tallies`, the last readings.
        """
        table = {"family": self.family, "name": self.name}
        commands: list[Json] = [
            {"add": {"table": {**table, **self._flags}}},  # so that the deletion finds one
            {"delete": {"table": table}},
            {"add": {"table": {**table, "comment": self.comment, **self._flags}}},
        ]
        commands += [{"add": {"counter": self._counter(c, tallies)}} for c in counters]
        commands += [{"add": {"chain": chain}} for chain in chains]
        commands += [{"add": {"rule": rule}} for rule in rules]
        return {"nftables": commands}

    def encode_removal(self) -> Json:
        """The transaction that takes the table away, whether or not it is there."""
        table = {"family": self.family, "name": self.name}
        return {
            "nftables": [
                {"add": {"table": {**table, **self._flags}}},
                {"delete": {"table": table}},
            ]
        }

    @property
    def _flags(self) -> Json:
        return {"flags": self.flag} if self.flag else {}

    def _counter(self, counter: _Counter, tallies: Mapping[_Counter, Tally]) -> Json:
        tally = tallies.get(counter, Tally())
        return {**self.place, "name": counter.value, "packets": tally.packets, "bytes": tally.bytes}


def by_kind(listing: Mapping[str, Any], what: str) -> dict[str, list[Json]]:
    """The objects that `nft -j list table` printed, by their kind.

    Args:
        what: the table, for people.
    Raises:
        KernelError: it is not such a listing; never taken for an empty one.
    """
    objects = listing.get("nftables")
    if not isinstance(objects, list):
        raise KernelError(f"cannot read the {what}", why="nft printed something unexpected")
    found: dict[str, list[Json]] = {}
    for item in objects:
        for kind, body in item.items():
            found.setdefault(kind, []).append(body)
    return found


def read_tallies(
    found: Mapping[str, list[Json]], counters: type[_Counter]
) -> dict[_Counter, Tally]:
    """Our counters among those that are there."""
    known = {counter.value for counter in counters}
    return {
        counters(body["name"]): Tally(int(body["packets"]), int(body["bytes"]))
        for body in found.get("counter", ())
        if body.get("name") in known
    }


def is_whole(found: Mapping[str, list[Json]]) -> bool:
    """Every kind of object that we write is there, no other is, and the table is not dormant."""
    if set(found) - {"metainfo"} != {"table", "counter", "chain", "rule"}:
        return False
    return "flags" not in found["table"][0]


def geneve_shape() -> list[Json]:
    """Geneve whatever its port is: data of UDP that begins as RFC 8926 §3.4 says.

        0                   1                   2                   3
        |Ver|  Opt Len  |O|C|    Rsvd.  |          Protocol Type        |
        |        Virtual Network Identifier (VNI)       |    Reserved   |

    The six reserved bits before an EtherType of 0x6558 (Ethernet, the only one that Open vSwitch
    tunnels), and the eight at the end, which are zero: 30 bits. Of other traffic with data like
    dice, one packet in 10^9 looks like this. That it is UDP has to be asked before.
    """
    return [match(_RESERVED_AND_TYPE, _ETHERNET_INSIDE), match(_LAST_RESERVED, 0)]


def is_by_shape(expressions: Sequence[Json]) -> bool:
    """Whether a rule looks at the shape, and so says nothing of ports or protocols."""
    return any(expression == match(_LAST_RESERVED, 0) for expression in expressions)


def quoted_geneve(ports: Sequence[int]) -> list[list[Json]]:
    """An ICMP error that quotes Geneve; each is one way to be one, and no two hold at once.

    Of the shape 24 bits are looked at. What is quoted comes first: whoever reads ports or IP
    protocols off rules finds none in these, an older version too.
    """
    kinds = []
    for protocol, is_udp, udp in _QUOTED:
        about_udp = [match(_bits(is_udp, 8), UDP), match(L4PROTO, protocol)]
        to_port = match(_bits(udp + 16, 16), any_of(ports))
        shape = [match(_bits(udp + 80, 16), _ETHERNET_INSIDE), match(_bits(udp + 120, 8), 0)]
        kinds += [[*about_udp, to_port], [*about_udp, unlike(to_port), *shape]]
    return kinds


def match(left: Json, right: object) -> Json:
    """The expression `left == right`."""
    return {"match": {"op": "==", "left": left, "right": right}}


def unlike(expression: Json) -> Json:
    """The opposite of what `match` wrote."""
    return {"match": {**expression["match"], "op": "!="}}


def any_of(numbers: Sequence[int]) -> object:
    """One of these numbers."""
    # nft prints a set of one as the plain value; written the same way it compares equal.
    return numbers[0] if len(numbers) == 1 else {"set": list(numbers)}


def numbers_of(right: object) -> set[int]:
    """The numbers of what `any_of` wrote; none of anything else."""
    values = right.get("set") if isinstance(right, dict) else [right]
    return {v for v in values if type(v) is int} if isinstance(values, list) else set()


def comparable(bodies: Iterable[Json]) -> list[str]:
    """Comparable texts of objects, in whatever order, without the handles that the kernel gives."""
    return sorted(repr(_canonical({k: v for k, v in b.items() if k != "handle"})) for b in bodies)


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        value = _untrimmed(value)
        if set(value) == {"set"}:
            return ("set", sorted(value["set"], key=repr))
        return sorted((key, _canonical(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return value


def _untrimmed(value: Json) -> Json:
    """Bits of a header that are no whole bytes, as they were asked for.

    nft before 1.1 lists the bytes that they are in, and a mask: of 22 bits, 24 and 0x3fffff.
    """
    match value:
        case {"&": [{"payload": {"base": base, "offset": int(at), "len": int(size)}}, int(mask)]}:
            length = mask.bit_length()
            if mask == (1 << length) - 1 and 0 < length < size:
                return {"payload": {"base": base, "offset": at + size - length, "len": length}}
    return value
