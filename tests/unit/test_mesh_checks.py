"""Which tunnels become pairs, and the named reason why the others stay closed."""

from dataclasses import replace

import pytest

from geneveil.mesh.checks import Pair, check_conflicts, check_tunnel
from geneveil.model.health import Finding, Severity
from geneveil.model.tunnel import Tunnel

GOOD = Tunnel("ovn-2", "192.0.2.2", "192.0.2.1", "node2")
OWN = ("192.0.2.1",)


def verdict(tunnel: Tunnel, encap_ips: tuple[str, ...] = OWN) -> Pair | Finding:
    return check_tunnel(tunnel, "node1", encap_ips)


def test_a_tunnel_as_ovn_makes_it_is_a_pair() -> None:
    assert verdict(GOOD) == Pair("node2", "192.0.2.1", "192.0.2.2", 6081, False, "ovn-2")


REFUSED = {
    "no name": (replace(GOOD, remote_name=""), "tunnel-without-name"),
    "a name that matches every peer": (replace(GOOD, remote_name="%any"), "tunnel-with-bad-name"),
    "a wildcard name": (replace(GOOD, remote_name="*.example"), "tunnel-with-bad-name"),
    "a name with a line break": (replace(GOOD, remote_name="node2\n"), "tunnel-with-bad-name"),
    "a port's name that is none": (
        replace(GOOD, remote_name="", port_chassis="*"),
        "tunnel-with-bad-name",
    ),
    "our own name, by its port": (
        replace(GOOD, remote_name="", port_chassis="node1"),
        "tunnel-to-itself",
    ),
    "our own name": (replace(GOOD, remote_name="NODE1"), "tunnel-to-itself"),
    "pre-shared key": (replace(GOOD, has_psk=True), "tunnel-with-psk"),
    "peer certificate": (replace(GOOD, has_remote_cert=True), "tunnel-with-remote-cert"),
    "text for a daemon": (
        replace(GOOD, ipsec_options=(("ipsec_esp", "null-md5"),)),
        "tunnel-with-unknown-option",
    ),
    "encapsulation refused": (
        replace(GOOD, ipsec_options=(("ipsec_encapsulation", "no"),)),
        "tunnel-with-unknown-option",
    ),
    "flow-based": (replace(GOOD, remote_ip="flow"), "tunnel-without-address"),
    "no address": (replace(GOOD, remote_ip=""), "tunnel-without-address"),
    "any address": (replace(GOOD, remote_ip="::"), "tunnel-without-address"),
    "a prefix": (replace(GOOD, remote_ip="192.0.2.0/24"), "tunnel-without-address"),
    "loopback": (replace(GOOD, remote_ip="127.0.0.1"), "tunnel-without-address"),
    "multicast": (replace(GOOD, remote_ip="224.0.0.1"), "tunnel-without-address"),
    "scoped": (replace(GOOD, remote_ip="fe80::1%eth0"), "tunnel-without-address"),
    "local flow": (replace(GOOD, local_ip="flow"), "tunnel-without-local-address"),
    "families differ": (replace(GOOD, local_ip="2001:db8::1"), "tunnel-without-local-address"),
    "port 0": (replace(GOOD, dst_port="0"), "tunnel-with-bad-port"),
    "port too high": (replace(GOOD, dst_port="65536"), "tunnel-with-bad-port"),
    "port as text": (replace(GOOD, dst_port="geneve"), "tunnel-with-bad-port"),
    "port with a sign": (replace(GOOD, dst_port="+6081"), "tunnel-with-bad-port"),
}


@pytest.mark.parametrize(("tunnel", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_tunnel_that_stays_closed_says_why(tunnel: Tunnel, code: str) -> None:
    finding = verdict(tunnel)
    assert isinstance(finding, Finding)
    assert finding.code == code
    assert finding.severity is Severity.ERROR
    assert finding.subject == "tunnel ovn-2"
    assert finding.remedy


def test_the_value_of_an_option_is_not_repeated() -> None:
    finding = verdict(replace(GOOD, ipsec_options=(("ipsec_secret", "hunter2"),)))
    assert isinstance(finding, Finding)
    assert "hunter2" not in finding.what + finding.remedy


@pytest.mark.parametrize("name", ["ipsec_encapsulation", "ipsec_forceencaps"])
@pytest.mark.parametrize("value", ["yes", "true", "Yes"])
def test_both_spellings_of_forced_encapsulation_are_understood(name: str, value: str) -> None:
    pair = verdict(replace(GOOD, ipsec_options=((name, value),)))
    assert isinstance(pair, Pair)
    assert pair.force_encapsulation


def test_the_only_own_address_of_the_family_stands_in_for_a_missing_one() -> None:
    unnamed = replace(GOOD, local_ip="")
    pair = verdict(unnamed, ("192.0.2.1", "2001:db8::1"))
    assert isinstance(pair, Pair)
    assert pair.local_ip == "192.0.2.1"


@pytest.mark.parametrize("encap_ips", [(), ("192.0.2.1", "198.51.100.1"), ("2001:db8::1",)])
def test_which_own_address_is_meant_is_not_guessed(encap_ips: tuple[str, ...]) -> None:
    finding = verdict(replace(GOOD, local_ip=""), encap_ips)
    assert isinstance(finding, Finding)
    assert finding.code == "tunnel-without-local-address"


def test_addresses_are_compared_in_one_spelling() -> None:
    pair = verdict(Tunnel("t", "2001:DB8:0::2", "2001:db8::0:1", "node2", "7000"))
    assert pair == Pair("node2", "2001:db8::1", "2001:db8::2", 7000, False, "t")


def _pair(name: str, remote_ip: str, port: int = 6081) -> Pair:
    return Pair(name, "192.0.2.1", remote_ip, port, False, f"if-{name}-{port}")


def test_two_names_at_one_address_stay_closed_and_the_others_go_on() -> None:
    other = _pair("node9", "192.0.2.9")
    good, findings = check_conflicts([_pair("a", "192.0.2.2"), _pair("b", "192.0.2.2"), other])
    assert good == [other]
    assert [finding.code for finding in findings] == ["tunnels-to-one-address"]
    assert "a, b" in findings[0].what


def test_two_tunnels_to_one_address_and_port_stay_closed() -> None:
    good, findings = check_conflicts([_pair("a", "192.0.2.2"), _pair("a", "192.0.2.2")])
    assert good == []
    assert len(findings) == 1


def test_two_ports_of_one_peer_are_no_conflict() -> None:
    pairs = [_pair("a", "192.0.2.2"), _pair("a", "192.0.2.2", 7000)]
    assert check_conflicts(pairs) == (pairs, [])


def test_one_peer_at_two_addresses_is_no_conflict() -> None:
    pairs = [_pair("a", "192.0.2.2"), _pair("a", "192.0.2.3")]
    assert check_conflicts(pairs) == (pairs, [])
