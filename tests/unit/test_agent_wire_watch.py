"""The leak sentinel: where it stands, and what its counters mean."""

import struct

import pytest

from geneveil.agent.wire_watch import (
    Leak,
    choose_devices,
    judge_leak,
    judge_place,
    plan_sentinel,
)
from geneveil.guard.sentinel.wire import encode_replace, parse_table
from geneveil.mesh.actions import ApplySentinel
from geneveil.model.errors import GeneveilError, KernelError
from geneveil.model.guard import GuardSpec, Tally
from geneveil.model.health import Severity
from geneveil.model.sentinel import ObservedSentinel, SentinelCounter, SentinelSpec
from geneveil.model.tunnel import OvsSnapshot, Tunnel
from geneveil.netlink.wire import NetlinkMessage
from geneveil.underlay.wire import parse_addresses

ADDRESSES = {"192.0.2.1": "br-ex", "2001:db8::1": "eth1", "127.0.0.1": "lo"}
GUARD = GuardSpec((6081,), (47,))
SPEC = SentinelSpec(("br-ex",), (6081,), (47,))
BROKEN = KernelError("the kernel refused the leak sentinel", why="Operation not supported")


def snapshot(*encap_ips: str, local_ip: str = "") -> OvsSnapshot:
    return OvsSnapshot("node1", encap_ips, (Tunnel("t", "192.0.2.2", local_ip, "node2"),))


PLACES = {
    "one end": (ADDRESSES, snapshot("192.0.2.1"), ("br-ex",)),
    "two ends, one long-winded": (
        ADDRESSES,
        snapshot("192.0.2.1", local_ip="2001:db8:0::1"),
        ("br-ex", "eth1"),
    ),
    "an address that is not here": (ADDRESSES, snapshot("192.0.2.9"), ()),
    "where frames do not leave": ({"192.0.2.1": "lo"}, snapshot("192.0.2.1"), ()),
    "no address": (ADDRESSES, snapshot("flow"), ()),
    "no tunnels known": (ADDRESSES, None, ()),
    "addresses unreadable": (BROKEN, snapshot("192.0.2.1"), ()),
}


@pytest.mark.parametrize(("addresses", "seen", "devices"), PLACES.values(), ids=PLACES.keys())
def test_it_stands_where_the_tunnels_end(
    addresses: dict[str, str] | GeneveilError, seen: OvsSnapshot | None, devices: tuple[str, ...]
) -> None:
    assert choose_devices(addresses, seen, None) == devices


def test_an_end_that_it_cannot_watch_is_named() -> None:
    hidden = {"192.0.2.1": "lo", "2001:db8::1": "eth1"}
    (finding,) = judge_place(hidden, snapshot("192.0.2.1", "2001:db8::1"), None)
    assert (finding.code, finding.severity) == ("sentinel-unavailable", Severity.INFO)
    assert finding.what.startswith("192.0.2.1 is on lo,")
    assert judge_place(ADDRESSES, snapshot("192.0.2.1", "2001:db8::1"), None) == []
    assert judge_place(BROKEN, snapshot("192.0.2.1"), None) == []


def test_it_is_put_in_place_once_and_stays_while_nobody_knows_where() -> None:
    put = [ApplySentinel(SPEC)]
    assert plan_sentinel(ObservedSentinel(None, {}), ("br-ex",), GUARD) == put
    assert plan_sentinel(BROKEN, ("br-ex",), GUARD) == put
    assert plan_sentinel(ObservedSentinel(SPEC, {}), ("br-ex",), GUARD) == []
    assert plan_sentinel(ObservedSentinel(SPEC, {}), (), GUARD) == []


def reading(packets: int) -> ObservedSentinel:
    return ObservedSentinel(SPEC, {SentinelCounter.WIRE_OUT: Tally(packets, 100 * packets)})


def test_a_leak_is_an_error_for_ten_minutes_after_the_last() -> None:
    leak, findings = judge_leak(reading(0), Leak(), 100.0)
    assert findings == []
    leak, findings = judge_leak(reading(2), leak, 200.0)
    assert [(f.code, f.severity) for f in findings] == [("cleartext-on-wire", Severity.ERROR)]
    leak, findings = judge_leak(reading(2), leak, 799.0)
    assert findings
    leak, findings = judge_leak(reading(2), leak, 800.0)
    assert findings == []
    assert judge_leak(reading(3), leak, 801.0)[1]


def test_what_leaked_before_the_agent_started_is_said() -> None:
    assert judge_leak(reading(7), Leak(), 1.0)[1]


def test_a_kernel_without_the_hook_is_worth_knowing_and_no_more() -> None:
    leak, (finding,) = judge_leak(BROKEN, Leak(3, 5.0), 6.0)
    assert leak == Leak(3, 5.0)
    assert (finding.code, finding.severity) == ("sentinel-unavailable", Severity.INFO)


def test_what_is_written_reads_back_and_anything_else_is_altered() -> None:
    def listing(spec: SentinelSpec) -> dict[str, list[dict[str, object]]]:
        commands = encode_replace(spec, {SentinelCounter.WIRE_IN: Tally(4, 400)})["nftables"][2:]
        return {"nftables": [command["add"] for command in commands]}

    both = SentinelSpec(("br-ex", "eth1"), (4789, 6081))
    for spec in (SPEC, both):
        observed = parse_table(listing(spec))
        assert observed.spec == spec
        assert observed.counters[SentinelCounter.WIRE_IN] == Tally(4, 400)
    for gone in range(len(listing(both)["nftables"])):
        altered = listing(both)
        del altered["nftables"][gone]
        if gone not in (1, 2):  # a counter that rules name cannot be missing
            assert parse_table(altered).spec is None
    with pytest.raises(KernelError, match="unexpected"):
        parse_table({})


def test_addresses_of_the_kernel() -> None:
    def attribute(kind: int, data: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(data), kind) + data

    def message(index: int, *attributes: bytes, kind: int = 20) -> NetlinkMessage:
        payload = struct.pack("=BBBBI", 2, 24, 0, 0, index) + b"".join(attributes)
        return NetlinkMessage(kind, 0, 1, 0, payload)

    local, other = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 9])
    v6 = bytes.fromhex("20010db8") + bytes(11) + b"\1"
    messages = [
        message(3, attribute(1, other), attribute(2, local)),  # point to point
        message(4, attribute(1, v6)),
        message(5),
        message(6, attribute(2, bytes([10, 0, 0, 1])), kind=21),
    ]
    assert parse_addresses(messages) == {"192.0.2.1": 3, "2001:db8::1": 4}
