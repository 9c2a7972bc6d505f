"""The echo's datagram and its filter."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneveil.especho.wire import (
    ECHO_SPI,
    Echo,
    EchoKind,
    encode_echo,
    encode_filter,
    parse_echo,
    strip_ipv4_header,
)


@given(st.sampled_from(EchoKind), st.binary(min_size=16, max_size=16))
def test_what_is_written_is_read(kind: EchoKind, nonce: bytes) -> None:
    payload = encode_echo(Echo(kind, nonce))
    assert len(payload) == 64
    assert parse_echo(payload) == Echo(kind, nonce)
    header = bytes([0x46]) + bytes(23)
    assert strip_ipv4_header(header + payload) == payload


@given(st.binary(max_size=100))
def test_other_bytes_are_no_echo(data: bytes) -> None:
    assert parse_echo(data) is None
    assert parse_echo(strip_ipv4_header(data)) is None


@pytest.mark.parametrize("place", [0, 8, 16])
def test_a_changed_echo_is_none(place: int) -> None:
    payload = bytearray(encode_echo(Echo(EchoKind.REPLY, bytes(16))))
    payload[place] ^= 0x80
    assert parse_echo(bytes(payload)) is None


def run_filter(program: bytes, packet: bytes) -> int:
    """The few instructions of classic BPF that the filter has."""
    x = a = at = 0
    while True:
        code, true, false, k = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        match code:
            case 0x20:
                a = int.from_bytes(packet[k : k + 4])
            case 0x40:
                a = int.from_bytes(packet[x + k : x + k + 4])
            case 0xB1:
                x = (packet[k] & 15) * 4
            case 0x15:
                at += true if a == k else false
            case 0x06:
                return int(k)


@pytest.mark.parametrize("header", [bytes([0x45]) + bytes(19), bytes([0x46]) + bytes(23), b""])
def test_the_filter_lets_only_the_echo_through(header: bytes) -> None:
    program = encode_filter(ipv6=not header)
    assert run_filter(program, header + encode_echo(Echo(EchoKind.REQUEST, bytes(16)))) > 64
    assert run_filter(program, header + struct.pack("!I", ECHO_SPI + 1) + bytes(60)) == 0
