"""What a real kernel put on a wire is read as what it was; scapy agrees about what we seal.

tests/golden/esp, made by record.sh there: Linux 6.12.117 (User-Mode Linux), iproute2 6.15.0,
tcpdump 4.99.5 on a bridge between two network namespaces. Geneve from kernel to kernel, `ping -p`
with one mark: 2 over IPv4, 1 over IPv6 inside. SAs were set with `ip xfrm state add`; *.xfrm is
what `ip xfrm state` printed afterwards. esn-high: upper sequence halves begin at 3 and 7, the
latter rolls over to 8.
"""

from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.layers.ipsec import ESP, SecurityAssociation

from geneveil.capture.io import open_capture
from geneveil.verify.esp import Sealed, cipher_name
from geneveil.verify.evidence import SaKey
from geneveil.verify.findings import Findings
from geneveil.verify.flows import Carrier, Direction
from geneveil.verify.sa_keys import parse_ip_xfrm_state
from geneveil.verify.scan import scan_capture
from tests import synthetic_wire as wire

GOLDEN = Path(__file__).parent.parent / "golden" / "esp"
MARK = bytes.fromhex("f547560b000102030405060708090a0b")


def scan_golden(name: str) -> tuple[Findings, tuple[SaKey, ...]]:
    keys = parse_ip_xfrm_state((GOLDEN / f"{name}.xfrm").read_text(), "n1")
    with open_capture(GOLDEN / f"{name}.pcap") as capture:
        findings = scan_capture(capture.frames, geneve_ports=(6081,), sa_keys=keys, marks=(MARK,))
    return findings, keys


@pytest.mark.parametrize(
    ("name", "cipher", "mode"),
    [
        ("v4", "AES-GCM-16-256", "transport"),
        ("v6", "AES-GCM-16-256", "transport"),
        ("nat-t", "AES-GCM-16-256", "transport"),
        ("esn-high", "AES-GCM-16-256", "transport"),
        ("tunnel", "AES-GCM-16-256", "tunnel"),
        ("aes128", "AES-GCM-16-128", "transport"),
        ("icv8", "AES-GCM-8-256", "transport"),
    ],
)
def test_all_esp_of_a_real_kernel_is_opened(name: str, cipher: str, mode: str) -> None:
    findings, keys = scan_golden(name)
    counts = findings.counts
    assert counts.esp + counts.esp_in_udp == counts.esp_decrypted > 10
    assert (counts.esp_in_udp > 0) == (name == "nat-t")
    assert (counts.geneve_clear, findings.closed) == (0, ())
    assert {cipher_name(sa) for sa in keys} == {cipher}
    assert {m for use in findings.uses for m in use.modes} == {mode}
    assert all(use.frames == use.geneve_frames for use in findings.uses)
    seen = findings.sightings[MARK]
    assert [s.inner.echo for s in seen if s.inner] == 3 * [Direction.REQUEST, Direction.REPLY]
    assert {(s.carrier, s.mode) for s in seen} == {(Carrier.GENEVE, mode)}
    assert {s.sa.spi for s in seen if s.sa} == {0xC0000001, 0xC0000002}
    assert [len(s.inner.source) for s in seen if s.inner] == [4, 4, 4, 4, 16, 16]


def test_extended_sequence_numbers_are_told_by_the_kernel() -> None:
    _, keys = scan_golden("esn-high")
    assert {sa.spi: sa.sequence_high for sa in keys} == {0xC0000001: 3, 0xC0000002: 8}
    assert all(sa.esn for sa in keys)


def test_clear_geneve_of_a_real_kernel() -> None:
    findings, keys = scan_golden("clear")
    assert keys == ()
    assert findings.counts.geneve_clear == 13
    seen = findings.sightings[MARK]
    assert [s.inner.echo for s in seen if s.inner] == 3 * [Direction.REQUEST, Direction.REPLY]
    assert all(s.sa is None and s.carrier is Carrier.GENEVE for s in seen)


def test_cbc_of_a_real_kernel_stays_closed_and_is_named() -> None:
    findings, keys = scan_golden("cbc")
    assert {cipher_name(sa) for sa in keys} == {"cbc(aes), 256-bit key"}
    assert {sa.icv_bits for sa in keys} == {128}
    assert {group.why for group in findings.closed} == {Sealed.OTHER_CIPHER}
    assert sum(group.frames for group in findings.closed) == findings.counts.esp == 12
    assert findings.sightings == {}


def test_null_encryption_of_a_real_kernel_is_readable() -> None:
    findings, keys = scan_golden("null")
    assert {cipher_name(sa) for sa in keys} == {"no encryption (ecb(cipher_null))"}
    assert {s.carrier for s in findings.sightings[MARK]} == {Carrier.ESP_READABLE}


@pytest.mark.parametrize("esn", [False, True])
def test_scapy_opens_what_the_tests_seal(esn: bool) -> None:
    sa = SaKey(
        "192.0.2.1", "192.0.2.2", 7, "rfc4106(gcm(aes))", bytes(range(32)), b"salt", 128, esn,
        "transport", "n1",
    )  # fmt: skip
    high = 5 if esn else 0
    payload = wire.udp(1, 6081, MARK)
    packet = wire.ip("192.0.2.1", "192.0.2.2", wire.ESP, wire.seal(sa, high << 32 | 9, payload))
    association = SecurityAssociation(
        ESP,
        spi=7,
        crypt_algo="AES-GCM",
        crypt_key=sa.key + sa.salt,
        esn_en=esn,
        esn=high,
    )
    opened = association.decrypt(IP(packet), esn_en=esn, esn=high)
    assert bytes(opened.payload)[8:] == MARK
