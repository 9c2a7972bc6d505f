"""XFRM dumps of a real kernel, read back; the golden file says which kernel and which commands."""

import json
from pathlib import Path

import pytest

from geneveil.model.errors import KernelError
from geneveil.model.xfrm import (
    XfrmAlgorithm,
    XfrmDirection,
    XfrmEncapsulation,
    XfrmMode,
    XfrmPolicy,
    XfrmState,
)
from geneveil.xfrm import wire

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/xfrm/dump.json").read_text())
SEQUENCE = 7

KEY_BYTES = (b"\x11" * 16, b"\x22" * 16, b"\x33" * 16, b"\x44" * 16, b"\xaa" * 4, b"\xbb" * 4)


def payloads(kind: str, wanted: int) -> list[bytes]:
    found: list[bytes] = []
    for text in GOLDEN[kind]:
        found += wire.parse_reply(bytes.fromhex(text), wanted, SEQUENCE).payloads
    return found


def states() -> dict[int, XfrmState]:
    parsed = [wire.parse_state(p) for p in payloads("states", wire.XFRM_MSG_NEWSA)]
    return {state.spi: state for state in parsed}


def policies() -> dict[int, XfrmPolicy]:
    parsed = [wire.parse_policy(p) for p in payloads("policies", wire.XFRM_MSG_NEWPOLICY)]
    return {policy.priority: policy for policy in parsed}


def test_gcm_transport_state_with_esn_is_read() -> None:
    state = states()[0x1001]
    assert (state.source, state.destination, state.protocol) == ("192.0.2.1", "192.0.2.2", 50)
    assert state.reqid == 11
    assert state.mode is XfrmMode.TRANSPORT
    assert state.aead == XfrmAlgorithm("rfc4106(gcm(aes))", 288, 128)
    assert (state.encryption, state.authentication, state.encapsulation) == (None, None, None)
    assert state.esn
    assert state.replay_window_packets == 128
    assert (state.selector.protocol, state.selector.destination_port) == (17, 6081)
    assert (state.selector.destination_port_mask, state.selector.source_port_mask) == (0xFFFF, 0)


def test_encapsulated_state_without_esn_is_read() -> None:
    state = states()[0x1002]
    assert state.aead == XfrmAlgorithm("rfc4106(gcm(aes))", 160, 64)
    assert state.encapsulation == XfrmEncapsulation(2, 4500, 4501)
    assert not state.esn
    assert state.replay_window_packets == 32
    assert (state.lifetime.soft_add_seconds, state.lifetime.hard_add_seconds) == (3000, 3600)


def test_ipv6_tunnel_state_with_separate_algorithms_is_read() -> None:
    state = states()[0x1003]
    assert (state.source, state.destination) == ("2001:db8::1", "2001:db8::2")
    assert state.mode is XfrmMode.TUNNEL
    assert state.aead is None
    assert state.encryption == XfrmAlgorithm("cbc(aes)", 256, 0)
    assert state.authentication == XfrmAlgorithm("hmac(sha256)", 256, 128)


def test_policies_are_read() -> None:
    found = policies()
    out, tunnel, block = found[2000], found[3000], found[4000]
    assert out.direction is XfrmDirection.OUT
    assert out.allows
    assert out.selector.destination_port == 6081
    assert [(t.protocol, t.reqid, t.mode) for t in out.templates] == [(50, 11, XfrmMode.TRANSPORT)]
    assert tunnel.direction is XfrmDirection.IN
    assert tunnel.selector.source_prefix_bits == 64
    assert [(t.destination, t.optional) for t in tunnel.templates] == [("2001:db8::2", True)]
    assert block.direction is XfrmDirection.FORWARD
    assert not block.allows
    assert block.templates == ()


def test_the_golden_dump_holds_keys_and_no_value_does() -> None:
    raw = b"".join(payloads("states", wire.XFRM_MSG_NEWSA))
    shown = repr(states())
    for key in KEY_BYTES:
        assert key in raw
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown


def test_the_end_of_a_dump_is_seen() -> None:
    replies = [
        wire.parse_reply(bytes.fromhex(text), wire.XFRM_MSG_NEWSA, SEQUENCE)
        for text in GOLDEN["states"]
    ]
    assert [reply.is_done for reply in replies] == [False] * (len(replies) - 1) + [True]


def test_a_reply_to_an_earlier_request_is_passed_over() -> None:
    datagram = bytes.fromhex(GOLDEN["states"][0])
    reply = wire.parse_reply(datagram, wire.XFRM_MSG_NEWSA, SEQUENCE + 1)
    assert reply.payloads == ()
    assert not reply.is_done


def test_an_error_of_the_kernel_is_an_error_and_no_empty_answer() -> None:
    refused = wire._HEADER.pack(20, wire.NLMSG_ERROR, 0, SEQUENCE, 0) + (-1).to_bytes(
        4, "little", signed=True
    )
    with pytest.raises(KernelError, match="error 1"):
        wire.parse_reply(refused, wire.XFRM_MSG_NEWSA, SEQUENCE)


def test_an_interrupted_dump_is_told_from_a_whole_one() -> None:
    datagram = bytearray.fromhex(GOLDEN["states"][0])
    datagram[6] |= wire.NLM_F_DUMP_INTERRUPTED
    assert wire.parse_reply(bytes(datagram), wire.XFRM_MSG_NEWSA, SEQUENCE).is_interrupted


@pytest.mark.parametrize("cut", [10, 40, 100, 230, 300])
def test_a_cut_message_is_an_error(cut: int) -> None:
    datagram = bytes.fromhex(GOLDEN["states"][0])
    with pytest.raises(KernelError):
        for payload in wire.parse_reply(datagram[:cut], wire.XFRM_MSG_NEWSA, SEQUENCE).payloads or [
            b""
        ]:
            wire.parse_state(payload)
    payload = payloads("states", wire.XFRM_MSG_NEWSA)[0]
    if cut < wire._STATE_SIZE:
        with pytest.raises(KernelError):
            wire.parse_state(payload[:cut])


@pytest.mark.parametrize("wanted", [wire.XFRM_MSG_GETSA, wire.XFRM_MSG_GETPOLICY])
def test_requests_are_dumps_of_everything(wanted: int) -> None:
    request = wire.encode_dump_request(wanted, 3)
    length, kind, flags, sequence, _ = wire._HEADER.unpack_from(request)
    assert length == len(request) == wire._HEADER.size
    assert kind == wanted
    assert flags == wire.NLM_F_REQUEST | wire.NLM_F_DUMP
    assert sequence == 3
