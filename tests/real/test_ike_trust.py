"""Two real charons on a wire: what they make of CRLs and keys.

This machine's kernel may have no ESP, so only authentication is looked at: the SAs are in the lab.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from geneveil.agent.trust import key_id
from geneveil.ike.io import ViciCharon
from geneveil.model.cluster import CalendarSpan, KeyType
from geneveil.model.connection import ChildName, Connection, Identity
from geneveil.pki.authority import Authority, make_authority, serial_text, sign_node
from geneveil.pki.crl import RevocationReason, RevokedCertificate, make_crl
from geneveil.pki.keys import PrivateKey, make_key
from tests.real.programs import lab_root, need_root, network_namespace, run, wait_until
from tests.real.test_ike_charon import DEPLOYED, Charon, patience

pytestmark = pytest.mark.real

DER = serialization.Encoding.DER
NOW = datetime.now(UTC).replace(microsecond=0)
AUTHORITY = make_authority(
    "prod", make_key(KeyType.ECDSA_P256), CalendarSpan(120), NOW, bytes([1] * 20)
)
OTHER_AUTHORITY = make_authority(
    "prod", make_key(KeyType.ECDSA_P256), CalendarSpan(120), NOW, bytes([2] * 20)
)
ADDRESS = {"node1": "192.0.2.1", "node2": "192.0.2.2"}
OUT = ChildName(6081, "out")


@dataclass
class Leaf:
    """One certificate of a node."""

    key: PrivateKey
    certificate: x509.Certificate

    def identity(self, *crls: bytes, authority: Authority = AUTHORITY) -> Identity:
        own = self.certificate.public_bytes(DER)
        trusted = authority.certificate.public_bytes(DER)
        plain = serialization.NoEncryption()
        return Identity(
            certificate_der=own,
            key_der=self.key.private_bytes(DER, serialization.PrivateFormat.PKCS8, plain),
            trust_bundle_der=(trusted,),
            fingerprint=sha256(own).hexdigest(),
            trust_fingerprints=(sha256(trusted).hexdigest(),),
            crls_der=crls,
            crl_fingerprints=tuple(sha256(crl).hexdigest() for crl in crls),
        )


def make_leaf(name: str, number: int) -> Leaf:
    key = make_key(KeyType.ECDSA_P256)
    serial = bytes([number] * 20)
    span = CalendarSpan(60)
    return Leaf(key, sign_node(AUTHORITY, key.public_key(), name, "prod", span, NOW, serial))


def make_list(number: int, *revoked: Leaf) -> bytes:
    entries = [
        RevokedCertificate(
            serial_text(leaf.certificate.serial_number),
            NOW,
            NOW + timedelta(days=1800),
            RevocationReason.KEY_COMPROMISE,
        )
        for leaf in revoked
    ]
    return make_crl(AUTHORITY, number, entries, NOW).public_bytes(DER)


@dataclass
class End:
    """One node's charon, with a session that is kept."""

    name: str
    charon: Charon
    adapter: ViciCharon

    @property
    def connection(self) -> Connection:
        peer = "node2" if self.name == "node1" else "node1"
        return Connection(self.name, peer, ADDRESS[self.name], ADDRESS[peer])

    def load(self, identity: Identity, salt: int = 0) -> str:
        loaded = self.adapter.load_identity(identity)
        self.adapter.load_connection(self.connection, identity, salt)
        return loaded


__all__ = ["patience"]  # a fixture that every test here has


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[End, End]]:
    need_root()
    root = lab_root()
    if root is None:
        pytest.fail("needs charon from a built lab (make setup)")
    with ExitStack() as stack:
        names = [stack.enter_context(network_namespace()) for _ in ADDRESS]
        left, right = names
        run("ip", "-n", left, "link", "add", "w", "type", "veth", "peer", "w", "netns", right)
        started = []
        for (node, address), namespace in zip(ADDRESS.items(), names, strict=True):
            run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "w")
            run("ip", "-n", namespace, "link", "set", "w", "up")
            folder = tmp_path / node
            folder.mkdir()
            shutil.copy(DEPLOYED, folder / "strongswan.conf")
            charon = Charon(folder, namespace, root, stack)
            charon.start()
            started.append(End(node, charon, charon.adapter))
        yield started[0], started[1]


def refused(end: End) -> int:
    return end.charon.log.count("certificate was revoked")


def accepted(end: End, peer: str) -> int:
    return sum(
        f"authentication of '{peer}' with" in line and "successful" in line
        for line in end.charon.log.splitlines()
    )


def test_a_certificate_that_stands_on_a_loaded_list_is_refused(ends: tuple[End, End]) -> None:
    one, two = ends
    stolen = make_leaf("node1", 3)
    one.load(stolen.identity())
    two.load(make_leaf("node2", 4).identity())
    one.adapter.initiate(one.connection.name, OUT)
    wait_until(lambda: accepted(two, "node1") == 1, "with no list: nobody is refused")
    crl = make_list(5, stolen)
    two.adapter.load_crl(crl)
    assert sha256(crl).hexdigest() in two.adapter.read().certificates
    wait_until(lambda: one.adapter.read().sas == (), "the end of the first attempt")
    one.adapter.initiate(one.connection.name, OUT)
    wait_until(lambda: refused(two) == 1, "the refusal")
    older = make_list(4)
    two.adapter.load_crl(older)
    assert sha256(older).hexdigest() not in two.adapter.read().certificates
    wait_until(lambda: one.adapter.read().sas == (), "the end of the second attempt")
    one.adapter.initiate(one.connection.name, OUT)
    wait_until(lambda: refused(two) == 2, "the refusal: no older list takes it back")
    assert accepted(two, "node1") == 1
    old_key = key_id(stolen.key.public_key())
    one.load(make_leaf("node1", 5).identity())
    one.adapter.unload_key(old_key)
    wait_until(lambda: one.adapter.read().sas == (), "the end of the third attempt")
    one.adapter.initiate(one.connection.name, OUT)
    wait_until(lambda: accepted(two, "node1") == 2, "a new certificate of the same node")


def test_a_list_that_came_before_its_authority_is_in_force(ends: tuple[End, End]) -> None:
    one, two = ends
    stolen = make_leaf("node1", 3)
    two.adapter.load_crl(make_list(5, stolen))
    one.load(stolen.identity())
    two.load(make_leaf("node2", 4).identity())
    one.adapter.initiate(one.connection.name, OUT)
    wait_until(lambda: refused(two) == 1, "the refusal")
    assert accepted(two, "node1") == 0


def test_a_key_is_known_by_its_id_and_can_be_taken_out(ends: tuple[End, End]) -> None:
    one, _ = ends
    old, new = make_leaf("node1", 3), make_leaf("node1", 5)
    assert one.load(old.identity()) == key_id(old.key.public_key())
    assert one.load(new.identity(), salt=7) == key_id(new.key.public_key())
    assert len(one.adapter.read().key_ids) == 2
    one.adapter.unload_key(key_id(old.key.public_key()))
    one.adapter.unload_key(key_id(old.key.public_key()))  # it is gone: no error
    assert one.adapter.read().key_ids == {key_id(new.key.public_key())}


def test_an_authority_that_stays_in_memory_is_not_believed(ends: tuple[End, End]) -> None:
    one, two = ends
    one.load(make_leaf("node1", 3).identity())
    two.load(make_leaf("node2", 4).identity())
    two.load(make_leaf("node2", 5).identity(authority=OTHER_AUTHORITY))
    dropped = sha256(AUTHORITY.certificate.public_bytes(DER)).hexdigest()
    assert dropped in two.adapter.read().certificates
    one.adapter.initiate(one.connection.name, OUT)
    wait_until(lambda: "peer not authenticated by CA" in two.charon.log, "the refusal")
    wait_until(lambda: one.adapter.read().sas == (), "the end of the attempt")
    assert not any(sa.is_established for sa in two.adapter.read().sas)


def test_clearing_credentials_leaves_the_connections(ends: tuple[End, End]) -> None:
    one, _ = ends
    mine = make_leaf("node1", 3).identity()
    one.load(mine)
    one.adapter.load_crl(make_list(1))
    one.adapter.clear_credentials()
    observed = one.adapter.read()
    assert (observed.key_ids, observed.certificates) == (frozenset(), frozenset())
    assert [connection.name for connection in observed.connections] == [one.connection.name]
    one.load(mine)
    assert mine.fingerprint in one.adapter.read().certificates
