"""The page and the diagram show what was observed, stand alone, and escape what they are told."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from geneveil.verify.certificates import read_certificates
from geneveil.verify.diagram import draw_phase, draw_standalone
from geneveil.verify.diagram_layout import lay_out
from geneveil.verify.flows import FlowKind, Phase
from geneveil.verify.html import render_html
from geneveil.verify.report import REPORT_VERSION, Report
from geneveil.verify.verdict import Verdict
from tests.judging import judged
from tests.synthetic_lab import BOOT, Recipe, Recording, clear_geneve, judge_recordings, record

NASTY = '<script>alert("&")</script>'


def page_of(verdict: Verdict) -> str:
    return render_html(Report(REPORT_VERSION, BOOT, "geneveil test", verdict))


def leak(lab: Recording) -> None:
    probe = lab.probe()
    lab.frames[probe.id] = [clear_geneve(lab, probe)]


@pytest.mark.parametrize("verdict", [judged(), judged(leak)], ids=["pass", "fail"])
def test_the_page_stands_alone(verdict: Verdict) -> None:
    page = page_of(verdict)
    addresses = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|\son\w+=", page)
    assert page.count("<svg") == 3


def test_what_the_page_says_of_a_pass() -> None:
    page = page_of(judged())
    assert "<title>PASS:" in page
    assert "not one Geneve frame was in clear" in page
    assert "1150 Mbit/s" in page
    assert "AES-GCM-16-256, transport" in page
    assert "wrong" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).replace(
        'class="arrow wrong"', ""
    ).replace('class="plate wrong"', "").replace('class="glyph wrong"', "")


def test_spis_and_mtus_on_the_page() -> None:
    """An SPI is never broken in two: each has a line of its own."""
    page = page_of(judged())
    assert '<td class="mono spis"><div>c0000001</div><div>c0000002</div></td>' in page
    assert ".spis div { white-space: nowrap" in page
    assert "MTU of the wire: 1500 bytes with IPsec off, 1500 with IPsec on" in page
    assert "of the pods: 1404 and 1404" in page


def test_paper_and_phones_lose_no_column() -> None:
    """Seen in a browser, printed to PDF and at 390 pixels; here, that the rules are still there."""
    page = page_of(judged())
    assert "@page { size: landscape" in page
    assert ".scroll { overflow: visible }" in page
    assert ".scroll table { min-width: 820px }" in page


def test_what_the_page_says_of_a_leak() -> None:
    page = page_of(judged(leak))
    assert "<title>FAIL:" in page
    assert "Geneve in clear with IPsec on" in page
    assert "observed <b>clear</b>, expected encrypted; first seen in frame 7" in page
    assert "not one Geneve frame was in clear" not in page


def test_names_are_escaped_everywhere() -> None:
    disabled, enabled = record(Phase.DISABLED), record(Phase.ENABLED)
    for lab in (disabled, enabled):
        node = lab.evidence.nodes[0]
        lab.change(nodes=(replace(node, chassis=NASTY), *lab.evidence.nodes[1:]))
        for probe in lab.evidence.probes:
            name = NASTY + probe.source.node
            lab.replace_probe(replace(probe, source=replace(probe.source, name=name)))
    leak(enabled)
    verdict = judge_recordings(disabled, enabled)
    assert NASTY not in page_of(verdict)
    assert "&lt;script&gt;" in page_of(verdict)
    assert NASTY not in draw_standalone(verdict)


def classes(svg: str) -> dict[str, int]:
    found = re.findall(r'class="arrow (\w+)"', svg)
    return {name: found.count(name) for name in set(found)}


def test_the_diagram_is_drawn_from_what_was_observed() -> None:
    verdict = judged(recipe=Recipe(nodes=3))
    # Mirrored pairs share a line: 3 of pod to pod, 3 of host to host; the others have 6 each.
    on, off = (draw_phase(verdict.phase(p)) for p in (Phase.ENABLED, Phase.DISABLED))
    assert classes(on) == {"encrypted": 3 + 6, "stayed": 3, "clear": 3 + 6}
    assert classes(off) == {"stayed": 3, "clear": 3 + 6 + 3 + 6}


def test_what_is_wrong_is_red_and_on_its_own_line() -> None:
    svg = draw_phase(judged(leak, Recipe(nodes=3)).phase(Phase.ENABLED))
    assert classes(svg) == {"wrong": 1, "encrypted": 3 + 6, "stayed": 3, "clear": 3 + 6}
    assert "pod to pod on another node: differing (wrong)" in svg
    assert re.search(r'<text class="complaint"[^>]*>clear</text>', svg)


@pytest.mark.parametrize("nodes", [2, 3, 8])
def test_no_arrow_lies_on_another(nodes: int) -> None:
    layout = lay_out(judged(recipe=Recipe(nodes=nodes)).phase(Phase.ENABLED))
    assert {band.kind for band in layout.bands} == set(FlowKind)
    for band in layout.bands:
        assert all(band.y < arrow.y < band.y + band.height for arrow in band.arrows)
        for a in band.arrows:
            for b in band.arrows:
                if a is b or a.y != b.y:
                    continue
                assert max(a.x1, a.x2) <= min(b.x1, b.x2) or max(b.x1, b.x2) <= min(a.x1, a.x2)


@pytest.mark.parametrize("nodes", [2, 5])
def test_the_diagram_file_is_well_formed(nodes: int) -> None:
    root = ElementTree.fromstring(draw_standalone(judged(recipe=Recipe(nodes=nodes))))  # noqa: S314
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert float(root.attrib["width"]) > 300


def certificate(
    name: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the authority")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(0xABC)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    signed = builder.sign(signer, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def test_certificates_are_shown_and_complained_about() -> None:
    ca_key, stranger, node_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    lab = record(Phase.ENABLED, Recipe(nodes=3))
    one, two, three = lab.evidence.nodes
    lab.change(
        ca_certificate_pem=certificate("the authority", ca_key, ca_key),
        nodes=(
            replace(one, certificate_pem=certificate("chassis-1", node_key, ca_key)),
            replace(two, certificate_pem=certificate("chassis-1", node_key, ca_key)),
            replace(three, certificate_pem=certificate("chassis-3", node_key, stranger)),
        ),
    )
    ca, good, misnamed, foreign = read_certificates(lab.evidence)
    assert (ca.holder, ca.notes) == ("certificate authority", ())
    assert (good.names, good.serial, good.notes) == (("chassis-1",), "abc", ())
    assert good.key == "ECDSA secp256r1"
    assert misnamed.notes == ("names chassis-1, not chassis-2",)
    assert foreign.notes == ("not issued by the cluster's certificate authority",)
    page = page_of(judge_recordings(record(Phase.DISABLED, Recipe(nodes=3)), lab))
    assert "names chassis-1, not chassis-2" in page
    assert "CN=the authority" in page
