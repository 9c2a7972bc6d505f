"""What is on the operator's disk, and what is not, looked for byte by byte."""

from base64 import urlsafe_b64encode
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from geneveil.enroll.wire import encode_token
from geneveil.model.cluster import KeyType
from geneveil.pki.keys import PrivateKey, encode_key, make_key
from geneveil.pki.tokens import hash_secret
from tests.unit.test_operator_trust import make_bench


def on_the_disk(state: Path) -> bytes:
    """Every file of the operator: the database's log of changes and its keys, too."""
    files = [path for path in state.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"operator.db", "operator.db-wal", "ca-1.key"}
    return b"\n".join(path.read_bytes() for path in files)


def pieces_of(key: PrivateKey) -> list[bytes]:
    """How a key may be written down: the lines of its PEM, its DER, its number."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    der = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    number = key.private_numbers().private_value
    # the first line is that of every key of its kind; the public part is in the certificate
    lines = encode_key(key).splitlines()[2:3]
    return [*lines, der, number.to_bytes(32), f"{number:064x}".encode(), str(number).encode()]


def test_no_join_token_can_be_used_by_whoever_reads_the_disk(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "state")
    token = bench.token("node-1")
    disk, secret = on_the_disk(tmp_path / "state"), token.secret
    for known in (hash_secret(token.secret), token.identifier.hex().encode(), b"node-1"):
        assert known in disk  # what is there is found
    text = encode_token(token).encode()
    for unknown in (secret, secret.hex().encode(), urlsafe_b64encode(secret)[:40], text):
        assert unknown not in disk
    bench.store.close()


def test_nothing_of_a_nodes_key_is_on_the_operators_disk(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "state")
    node = bench.enrol("node-1")
    bench.clock.at = bench.clock.at.replace(year=2031, month=6)
    first, second = node.key, make_key(KeyType.ECDSA_P256)
    assert bench.renew(node, second).status == 200
    disk = on_the_disk(tmp_path / "state")
    assert node.certificate in disk
    for key in (first, second):
        assert not [piece for piece in pieces_of(key) if piece in disk]
    authority = bench.registry.authority(bench.registry.state.signing).key
    assert [piece for piece in pieces_of(authority) if piece in disk]  # a key would be found
    bench.store.close()
