"""VICI messages: what charon said, read from its own bytes, and what it is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from vici.protocol import Message, Packet

from geneveil.ike import wire
from geneveil.model.connection import ChildName, Connection, Identity
from geneveil.model.errors import DaemonError

FOLDER = Path(__file__).parents[1] / "golden/ike"
UP = json.loads((FOLDER / "established.json").read_text())
CONNECTING = json.loads((FOLDER / "connecting.json").read_text())

IDENTITY = Identity(b"own certificate", b"own key", (b"authority",), "f1", ("f2",))
CONNECTION = Connection("node1", "node2", "192.0.2.1", "192.0.2.2")


def events(golden: dict[str, Any], command: str) -> list[dict[str, Any]]:
    packets = [Packet.parse(bytes.fromhex(text)) for text in golden[command]]
    return [
        dict(Message.deserialize(packet.payload))
        for packet in packets
        if packet.response_type == Packet.EVENT
    ]


def answer(golden: dict[str, Any], command: str) -> dict[str, Any]:
    return dict(Message.deserialize(Packet.parse(bytes.fromhex(golden[command])).payload))


def body(connection: Connection) -> dict[str, Any]:
    section: dict[str, Any] = wire.encode_connection(connection, IDENTITY)[connection.name]
    return section


def test_an_established_sa_is_read_with_both_children() -> None:
    (sa,) = (wire.parse_ike_sa(event) for event in events(UP, "list-sas"))
    assert sa.connection == CONNECTION.name
    assert sa.is_established
    assert sa.is_initiator
    assert not sa.is_busy
    assert sa.remote_id == "node2"
    assert [child.name for child in sa.children] == ["in", "out"]
    for child in sa.children:
        assert child.is_installed
        assert (child.cipher, child.key_bits, child.mode) == ("AES_GCM_16", 256, "TRANSPORT")
        assert child.esn
        assert not child.encapsulated
        assert child.spi_in > 0
        assert child.spi_out > 0
        assert child.rekey_seconds is not None
        assert 0 < child.rekey_seconds <= 3600


def test_an_sa_under_way_is_no_established_one() -> None:
    (sa,) = (wire.parse_ike_sa(event) for event in events(CONNECTING, "list-sas"))
    assert sa.is_starting
    assert not sa.is_established
    assert sa.children == ()
    assert sa.established_seconds is None
    assert "CHILD_CREATE" in sa.tasks


def test_a_loaded_connection_is_read() -> None:
    (connection,) = (wire.parse_connection(event) for event in events(UP, "list-conns"))
    assert connection.name == CONNECTION.name
    assert connection.local_ips == ("192.0.2.1",)
    assert connection.remote_ips == ("192.0.2.2",)
    assert connection.remote_id == "node2"
    assert connection.children == ("in", "out")


def test_keys_certificates_and_version_are_read() -> None:
    assert wire.parse_version(answer(UP, "version")) == "6.0.1"
    (key,) = wire.parse_key_ids(answer(UP, "get-keys"))
    assert len(bytes.fromhex(key)) == 20
    found = {wire.parse_certificate(event) for event in events(UP, "list-certs")}
    assert len(found) == 3  # the authority, our own, the peer's
    assert all(len(bytes.fromhex(fingerprint)) == 32 for fingerprint in found)


@pytest.mark.parametrize(
    "parse", [wire.parse_connection, wire.parse_ike_sa, wire.parse_certificate, wire.parse_key_ids]
)
@pytest.mark.parametrize("message", [{}, {"name": {}}, {"name": {"uniqueid": b"x"}}])
def test_what_is_not_understood_is_an_error_and_no_empty_value(
    parse: Any, message: dict[str, Any]
) -> None:
    with pytest.raises(DaemonError, match="not understood"):
        parse(message)


def test_a_connection_promises_what_the_seed_asks_for() -> None:
    section = body(CONNECTION)
    assert section["version"] == "2"
    assert all(p.startswith("aes256gcm16-prfsha384-") for p in section["proposals"])
    for child in section["children"].values():
        assert child["mode"] == "transport"
        assert all(p.startswith("aes256gcm16-") for p in child["esp_proposals"])
        assert all(p.endswith("esn") for p in child["esp_proposals"])
        assert child["policies"] == "yes"
        assert child["start_action"] == child["close_action"] == "none"


def test_peers_are_known_by_chassis_name_and_our_authorities_alone() -> None:
    section = body(CONNECTION)
    assert section["local"]["id"] == "fqdn:node1"
    assert section["remote"]["id"] == "fqdn:node2"
    assert section["remote"]["cacerts"] == [b"authority"]
    assert section["remote"]["auth"] == section["local"]["auth"] == "pubkey"


def test_the_two_children_are_each_others_reverse() -> None:
    children = body(CONNECTION)["children"]
    assert children["in"]["local_ts"] == ["192.0.2.1/32[udp/6081]"]
    assert children["in"]["remote_ts"] == ["192.0.2.2/32[udp]"]
    assert children["out"]["local_ts"] == ["192.0.2.1/32[udp]"]
    assert children["out"]["remote_ts"] == ["192.0.2.2/32[udp/6081]"]


def test_ipv6_and_other_ports_have_their_own_selectors() -> None:
    connection = Connection("a", "b", "2001:db8::1", "2001:db8::2", (6081, 7000))
    children = body(connection)["children"]
    assert sorted(children) == ["in", "in-7000", "out", "out-7000"]
    assert children["out-7000"]["remote_ts"] == ["2001:db8::2/128[udp/7000]"]


@pytest.mark.parametrize(("force", "word"), [(True, "yes"), (False, "no")])
def test_encapsulation_is_forced_only_where_wanted(force: bool, word: str) -> None:
    connection = Connection("a", "b", "192.0.2.1", "192.0.2.2", force_encapsulation=force)
    assert body(connection)["encap"] == word


def test_every_value_is_one_that_the_client_library_sends_unchanged() -> None:
    def check(value: object) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                assert isinstance(key, str)
                check(item)
        elif isinstance(value, list):
            assert all(type(item) in (str, bytes) for item in value)
        else:
            assert type(value) in (str, bytes)

    check(wire.encode_connection(CONNECTION, IDENTITY))
    check(wire.encode_initiate("x", ChildName(6081, "in")))
    check(wire.encode_terminate(7))
    check(wire.encode_terminate_child(7))
    check(wire.encode_rekey_child(7))


def test_no_private_key_is_in_a_connection_or_in_a_representation() -> None:
    assert b"own key" not in Message.serialize(wire.encode_connection(CONNECTION, IDENTITY))
    assert "own key" not in repr(IDENTITY)
