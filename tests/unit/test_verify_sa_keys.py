"""`ip xfrm state` is read whole or not at all."""

import pytest

from geneveil.verify.errors import EvidenceError
from geneveil.verify.sa_keys import parse_ip_xfrm_state

KEY = "00" * 32 + "a0a1a2a3"


def block(*lines: str) -> str:
    """An SA as `ip xfrm state` prints it: further lines are indented by a tab."""
    return "\n\t".join(lines) + "\n"


SA = block(
    "src 192.0.2.12 dst 192.0.2.11",
    "proto esp spi 0xc0000002 reqid 1 mode transport",
    "replay-window 0 flag esn",
    f"aead rfc4106(gcm(aes)) 0x{KEY} 128",
    "encap type espinudp sport 4500 dport 4501 addr 0.0.0.0",
    "anti-replay esn context:",
    " seq-hi 0x8, seq 0x4, oseq-hi 0x7, oseq 0xfffffffe",
    " replay_window 64, bitmap-length 2",
    " c0000000 0000000f ",
    "sel src 0.0.0.0/0 dst 0.0.0.0/0 ",
)
STATISTICS = "\tlifetime config:\n\t  limit: soft (INF)(bytes), hard (INF)(bytes)\n\tstats:\n"
LARVAL = block(
    "src 192.0.2.11 dst 192.0.2.12",
    "proto esp spi 0xcaf00001 reqid 1 mode transport",
    "replay-window 0 ",
)
AH = block(
    "src 192.0.2.11 dst 192.0.2.12",
    "proto ah spi 0x00000001 reqid 1 mode transport",
    "auth-trunc hmac(sha256) 0x00 128",
)


def test_one_sa() -> None:
    (sa,) = parse_ip_xfrm_state(SA + STATISTICS, "node1")
    assert (sa.source, sa.destination, sa.spi) == ("192.0.2.12", "192.0.2.11", 0xC0000002)
    assert (sa.algorithm, sa.icv_bits, sa.mode) == ("rfc4106(gcm(aes))", 128, "transport")
    assert (sa.key, sa.salt.hex()) == (bytes(32), "a0a1a2a3")
    assert sa.esn
    assert sa.encapsulation_ports == (4500, 4501)
    assert (sa.node, sa.sequence_high) == ("node1", 8)


def test_with_statistics_the_key_is_followed_by_its_length() -> None:
    text = SA.replace(f"0x{KEY} 128", f"0x{KEY} (288 bits) 128")
    assert parse_ip_xfrm_state(text, "node1") == parse_ip_xfrm_state(SA, "node1")


def test_what_has_no_esp_key_is_left_out() -> None:
    assert len(parse_ip_xfrm_state(LARVAL + AH + SA, "node1")) == 1


def test_no_sa_at_all() -> None:
    assert parse_ip_xfrm_state("", "node1") == ()


def test_a_key_does_not_show_in_a_repr() -> None:
    (sa,) = parse_ip_xfrm_state(SA, "node1")
    assert "key" not in repr(sa)
    assert "salt" not in repr(sa)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Cannot open netlink socket: denied", "does not begin an SA"),
        ("\tproto esp spi 0x1 mode transport", "the text begins with"),
        ("src here dst 192.0.2.1\n", "does not appear to be an IPv4 or IPv6 address"),
        ("src 192.0.2.2 dst 192.0.2.1\n\treplay-window 0\n", "no line with protocol, SPI"),
        (SA.replace(f"0x{KEY} 128", ""), "its cipher can't be read"),
        (SA.replace(KEY, "a0a1"), "shorter than a salt"),
        (SA.replace("128", "odd"), "its cipher can't be read"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_the_node(text: str, complaint: str) -> None:
    with pytest.raises(EvidenceError, match="node1") as caught:
        parse_ip_xfrm_state(text, "node1")
    assert complaint in caught.value.render()
