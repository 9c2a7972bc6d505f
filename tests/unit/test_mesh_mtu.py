"""Pod MTU against packets that are put together byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneveil.model.cluster import Encapsulation
from geneveil.model.errors import ConfigError
from geneveil.model.mtu import (
    Overlay,
    longest_pod_packet_bytes,
    outer_packet_bytes,
    pod_mtu_bytes,
)


def build_packet(overlay: Overlay, pod_packet: bytes, nat_t: bool) -> bytes:
    """The packet on the underlay, headers as zeros of their real length (RFC 4303 figure 1)."""
    ethernet = bytes(6) + bytes(6) + bytes(2)
    geneve = bytes(8) + bytes(4) + bytes(4)  # base header, OVN's option: header and data
    udp = bytes(8)
    payload = udp + geneve + ethernet + pod_packet
    ip = bytes(40) if overlay.ipv6 else bytes(20)
    if not overlay.ipsec:
        return ip + payload
    padding = b""
    while (len(payload) + len(padding) + 2) % 4:
        padding += b"\x01"
    trailer = padding + bytes([len(padding)]) + b"\x11"
    spi, sequence, iv, icv = bytes(4), bytes(4), bytes(8), bytes(16)
    esp = spi + sequence + iv + payload + trailer + icv
    return ip + (bytes(8) if nat_t else b"") + esp


OVERLAYS = st.builds(
    Overlay, st.integers(700, 9216), st.booleans(), st.booleans(), st.sampled_from(Encapsulation)
)


@given(OVERLAYS, st.integers(0, 2000), st.booleans())
def test_the_length_on_the_wire_is_that_of_the_packet(
    overlay: Overlay, length: int, nat_t: bool
) -> None:
    built = build_packet(overlay, bytes(length), nat_t)
    assert outer_packet_bytes(overlay, length, nat_t=nat_t) == len(built)


@given(OVERLAYS, st.booleans())
def test_the_longest_packet_fits_and_one_byte_more_does_not(overlay: Overlay, nat_t: bool) -> None:
    longest = longest_pod_packet_bytes(overlay, nat_t=nat_t)
    assert len(build_packet(overlay, bytes(longest), nat_t)) <= overlay.underlay_mtu_bytes
    assert len(build_packet(overlay, bytes(longest + 1), nat_t)) > overlay.underlay_mtu_bytes


@pytest.mark.parametrize(
    ("ipv6", "ipsec", "nat_t", "expected"),
    [
        (False, False, False, 1442),
        (False, True, False, 1408),
        (False, True, True, 1400),
        (True, False, False, 1422),
        (True, True, False, 1388),
        (True, True, True, 1380),
    ],
)
def test_the_figures_for_1500_bytes(ipv6: bool, ipsec: bool, nat_t: bool, expected: int) -> None:
    assert longest_pod_packet_bytes(Overlay(1500, ipv6, ipsec), nat_t=nat_t) == expected


@pytest.mark.parametrize("encapsulation", list(Encapsulation))
def test_pods_are_always_left_room_for_nat_t(encapsulation: Encapsulation) -> None:
    assert pod_mtu_bytes(Overlay(1500, encapsulation=encapsulation)) == 1400


def test_an_underlay_that_is_too_narrow_is_refused() -> None:
    with pytest.raises(ConfigError, match="576"):
        pod_mtu_bytes(Overlay(600))
