"""The VICI adapter against a real charon: what is loaded, read back, taken out; and its silence."""

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from subprocess import Popen

import pytest
import vici
from cryptography.hazmat.primitives import serialization

from geneveil.ike import io as ike_io
from geneveil.ike.io import ViciCharon, connect
from geneveil.mesh.actions import (
    Action,
    ClearCredentials,
    Initiate,
    LoadConnection,
    LoadIdentity,
    TerminateChildSa,
    TerminateIkeSa,
    UnloadConnection,
    UnloadKey,
)
from geneveil.mesh.diff import diff_ike
from geneveil.mesh.memory import Memory, for_instance, record
from geneveil.model.cluster import CalendarSpan, KeyType
from geneveil.model.connection import Connection, Identity, ObservedIke
from geneveil.model.errors import DaemonError
from geneveil.pki.authority import make_authority, sign_node
from geneveil.pki.keys import make_key
from tests import charon_contract
from tests.charon_contract import CONTRACT
from tests.real.programs import (
    DEADLINE_SECONDS,
    lab_root,
    need_root,
    network_namespace,
    process,
    run,
    wait_until,
)

pytestmark = pytest.mark.real

DEPLOYED = Path(__file__).parents[2] / "deploy/strongswan.conf"
DER = serialization.Encoding.DER
CONNECTION = Connection("node1", "node2", "127.0.0.1", "127.0.0.2", (6081, 7000))


@dataclass
class Charon:
    """charon in namespaces of its own; what it sees as /run is a folder here."""

    run_folder: Path
    namespace: str
    root: Path
    stack: ExitStack
    daemon: Popen[bytes] | None = None

    @property
    def adapter(self) -> ViciCharon:
        return ViciCharon(f"unix://{self.run_folder}/charon.vici")

    @property
    def log(self) -> str:
        return (self.run_folder / "log").read_text()

    def start(self) -> None:
        inside = (
            f"mount --bind {self.run_folder} {self.root}/run && "
            f"mount --bind /dev {self.root}/dev && exec chroot {self.root} charon-systemd"
        )
        self.daemon = self.stack.enter_context(
            process(
                *("ip", "netns", "exec", self.namespace, "unshare", "-m", "sh", "-c", inside),
                log=self.run_folder / "log",
                STRONGSWAN_CONF="/run/strongswan.conf",
            )
        )

        def answers() -> bool:
            try:
                return bool(self.adapter.read().version)
            except DaemonError:
                return False

        wait_until(answers, "charon")

    def die(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.daemon is not None
        self.daemon.wait(DEADLINE_SECONDS)

    def signal(self, number: int) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(number)

    def freeze(self) -> None:
        """Stop charon, every thread of it: a busy machine lets some of them answer until then."""
        self.signal(signal.SIGSTOP)
        assert self.daemon is not None
        threads = Path("/proc") / str(self.daemon.pid) / "task"

        def stands_still() -> bool:
            states = set()
            for thread in threads.iterdir():
                with contextlib.suppress(OSError):  # it ended meanwhile
                    states.add((thread / "stat").read_text().rpartition(")")[2].split()[0])
            return states == {"T"}

        wait_until(stands_still, "every thread of charon to stand still")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A charon on a busy machine may take longer than an agent waits."""
    monkeypatch.setattr(ike_io, "COMMAND_TIMEOUT_SECONDS", DEADLINE_SECONDS)


@pytest.fixture
def charon(tmp_path: Path) -> Iterator[Charon]:
    need_root()
    root = lab_root()
    if root is None:
        pytest.fail("needs charon from a built lab (make setup)")
    shutil.copy(DEPLOYED, tmp_path / "strongswan.conf")
    with ExitStack() as stack:
        started = Charon(tmp_path, stack.enter_context(network_namespace()), root, stack)
        started.start()
        yield started


def identity(key_type: KeyType = KeyType.ECDSA_P256) -> Identity:
    now = datetime.now(UTC).replace(microsecond=0)
    authority = make_authority("prod", make_key(key_type), CalendarSpan(120), now, bytes(20))
    key = make_key(key_type)
    leaf = sign_node(authority, key.public_key(), "node1", "prod", CalendarSpan(60), now, bytes(20))
    certificates = [c.public_bytes(DER) for c in (leaf, authority.certificate)]
    fingerprints = [sha256(data).hexdigest() for data in certificates]
    plain = serialization.NoEncryption()
    return Identity(
        certificate_der=certificates[0],
        key_der=key.private_bytes(DER, serialization.PrivateFormat.PKCS8, plain),
        trust_bundle_der=(certificates[1],),
        fingerprint=fingerprints[0],
        trust_fingerprints=(fingerprints[1],),
    )


@dataclass
class RealCharon:
    """A real one, as tests/charon_contract.py asks it."""

    charon: Charon
    first: Identity
    second: Identity
    adapter: ViciCharon

    def read(self) -> ObservedIke:
        return self.adapter.read()

    def apply(self, action: Action) -> str:
        return do(self.adapter, action)

    def crash(self) -> None:
        self.charon.die()
        with pytest.raises(DaemonError):
            self.adapter.read()
        self.charon.start()

    def await_asked(self, expected: list[int]) -> None:
        def asked() -> list[int]:
            return sorted(sa.tasks.count("CHILD_CREATE") for sa in self.adapter.read().sas)

        wait_until(lambda: asked() == expected, f"IKE_SAs to be asked for {expected}")


@pytest.mark.parametrize("question", CONTRACT, ids=lambda question: question.__name__)
def test_a_real_charon_is_as_the_decisions_assume(
    charon: Charon, question: Callable[[charon_contract.Charon], None]
) -> None:
    silent_wire(charon.namespace)
    question(RealCharon(charon, identity(), identity(), charon.adapter))


@pytest.mark.parametrize("key_type", list(KeyType))
def test_what_is_loaded_reads_back(charon: Charon, key_type: KeyType) -> None:
    adapter, mine = charon.adapter, identity(key_type)
    key_id = adapter.load_identity(mine)
    adapter.load_connection(CONNECTION, mine)
    observed = adapter.read()
    assert key_id in observed.key_ids
    assert {mine.fingerprint, *mine.trust_fingerprints} <= observed.certificates
    (loaded,) = observed.connections
    assert loaded.name == CONNECTION.name
    assert loaded.children == ("in", "in-7000", "out", "out-7000")
    assert (loaded.local_ips, loaded.remote_ips) == (("127.0.0.1",), ("127.0.0.2",))
    assert loaded.remote_id == "node2"


def test_loading_again_adds_nothing(charon: Charon) -> None:
    adapter, mine = charon.adapter, identity()
    for _ in range(2):
        adapter.load_identity(mine)
        adapter.load_connection(CONNECTION, mine)
    observed = adapter.read()
    assert len(observed.connections) == len(observed.key_ids) == 1
    assert len(observed.certificates) == 2
    assert "replaced vici connection" not in charon.log


def test_taking_out_what_is_not_there_succeeds(charon: Charon) -> None:
    adapter, mine = charon.adapter, identity()
    adapter.load_identity(mine)
    adapter.load_connection(CONNECTION, mine)
    adapter.unload_connection(CONNECTION.name)
    adapter.unload_connection(CONNECTION.name)
    adapter.terminate(4711)
    adapter.terminate_child(4711)
    adapter.rekey_child(4711)
    assert adapter.read().connections == ()


def test_an_initiation_is_not_waited_for_and_can_be_ended(charon: Charon) -> None:
    silent_wire(charon.namespace)
    connection = Connection("node1", "node2", "192.0.2.1", "192.0.2.2", (6081, 7000))
    adapter, mine = charon.adapter, identity()
    adapter.load_identity(mine)
    adapter.load_connection(connection, mine)
    first, *others = connection.children
    adapter.initiate(connection.name, first)
    wait_until(lambda: len(adapter.read().sas) == 1, "the IKE_SA")
    for child in others:
        adapter.initiate(connection.name, child)
    (sa,) = adapter.read().sas  # one for all four children, and each was answered before its end
    assert (sa.connection, sa.state) == (connection.name, "CONNECTING")
    wait_until(lambda: "initiating IKE_SA" in charon.log, "its log line")
    adapter.terminate(sa.unique_id)
    wait_until(lambda: adapter.read().sas == (), "the end of the IKE_SA")


def silent_wire(name: str) -> None:
    """A wire whose other end nobody listens at: an initiation lasts until it is given up."""
    run("ip", "-n", name, "link", "add", "w", "type", "veth", "peer", "name", "nobody")
    run("ip", "-n", name, "address", "add", "192.0.2.1/24", "dev", "w")
    for device in ("w", "nobody"):
        run("ip", "-n", name, "link", "set", device, "up")
    run("ip", "-n", name, "neigh", "add", "192.0.2.2", "lladdr", "02:00:00:00:00:02", "dev", "w")


def test_a_refusal_says_why(charon: Charon) -> None:
    adapter, mine = charon.adapter, identity()
    with pytest.raises(DaemonError, match="charon refused initiate"):
        adapter.initiate("no such connection", CONNECTION.children[0])
    broken = Identity(b"no certificate", mine.key_der, (), "", ())
    with pytest.raises(DaemonError, match="charon refused load-cert"):
        adapter.load_identity(broken)
    assert adapter.read().version  # the session goes on


def test_a_charon_that_died_is_an_error_and_another_one_is_told_apart(charon: Charon) -> None:
    adapter = charon.adapter
    before = adapter.read()
    charon.die()
    for _ in range(2):
        with pytest.raises(DaemonError, match="charon does not answer") as caught:
            adapter.read()
        assert "strongswan.conf" in caught.value.remedy
    charon.start()
    after = adapter.read()
    assert after.instance != before.instance


def test_a_charon_that_is_stopped_does_not_hold_the_agent(
    charon: Charon, monkeypatch: pytest.MonkeyPatch
) -> None:
    charon.freeze()
    adapter = charon.adapter
    monkeypatch.setattr(ike_io, "COMMAND_TIMEOUT_SECONDS", 2.0)
    with pytest.raises(DaemonError, match="did not answer version within 2 s"):
        adapter.read()
    monkeypatch.setattr(ike_io, "COMMAND_TIMEOUT_SECONDS", DEADLINE_SECONDS)
    charon.signal(signal.SIGCONT)
    assert adapter.read().version


def do(adapter: ViciCharon, action: Action) -> str:
    match action:
        case LoadIdentity(loaded):
            return adapter.load_identity(loaded)
        case LoadConnection(connection, loaded, salt):
            adapter.load_connection(connection, loaded, salt)
        case UnloadConnection(name):
            adapter.unload_connection(name)
        case UnloadKey(key_id):
            adapter.unload_key(key_id)
        case ClearCredentials():
            adapter.clear_credentials()
        case Initiate(name, child, _):
            adapter.initiate(name, child)
        case TerminateIkeSa(unique_id, _, _, at_once, _):
            adapter.terminate(unique_id, at_once)
        case TerminateChildSa(unique_id, _, _):
            adapter.terminate_child(unique_id)
        case _:
            raise AssertionError(action)
    return ""


def turn(
    adapter: ViciCharon, memory: Memory, plan: tuple[Connection, ...], mine: Identity
) -> tuple[list[str], Memory]:
    """One turn of the decisions on what is really there; answers with what was loaded or not."""
    observed = adapter.read()
    memory = for_instance(memory, observed.instance)
    actions = [
        action
        for action in diff_ike(plan, mine, observed, memory, 0.0)
        if not isinstance(action, Initiate)
    ]
    for action in actions:
        memory = record(memory, action, do(adapter, action), 0.0)
    return [type(action).__name__ for action in actions], memory


def test_the_decisions_come_to_rest_as_they_do_on_the_charon_of_values(charon: Charon) -> None:
    """What tests/unit/test_mesh_diff.py assumes of charon, asked of charon."""
    adapter, mine, plan = charon.adapter, identity(), (CONNECTION,)
    everything = ["LoadIdentity", "LoadConnection"]
    done, memory = turn(adapter, Memory(), plan, mine)
    assert done == everything
    assert turn(adapter, memory, plan, mine)[0] == []
    assert turn(adapter, Memory(), plan, mine)[0] == everything  # an agent that starts anew
    adapter.unload_connection(CONNECTION.name)  # by hand
    done, memory = turn(adapter, memory, plan, mine)
    assert done == ["LoadConnection"]
    renewed = identity(KeyType.ECDSA_P384)
    done, memory = turn(adapter, memory, plan, renewed)
    assert done == everything
    assert turn(adapter, memory, plan, renewed)[0] == []
    done, memory = turn(adapter, memory, (), renewed)
    assert done == ["UnloadConnection"]
    assert adapter.read().connections == ()
    charon.die()
    charon.start()
    with pytest.raises(DaemonError):
        adapter.read()  # the old session: its end is an error, once
    assert turn(adapter, memory, plan, renewed)[0] == everything


def test_what_others_loaded_outlives_a_change_of_authority(charon: Charon) -> None:
    adapter, mine, other = charon.adapter, identity(), identity()
    _, memory = turn(adapter, Memory(), (CONNECTION,), mine)
    theirs = vici.Session(connect(f"{charon.run_folder}/charon.vici"))
    theirs.load_shared({"id": "office", "type": "IKE", "data": "x" * 16, "owners": ["office"]})
    theirs.load_conn(
        {"office": {"local": {"auth": "psk"}, "remote": {"auth": "psk", "id": "office"}}}
    )
    changed = replace(
        mine,
        trust_bundle_der=other.trust_bundle_der,
        trust_fingerprints=other.trust_fingerprints,
        dropped_fingerprints=frozenset(mine.trust_fingerprints),
    )
    stays = {mine.fingerprint, *mine.trust_fingerprints, *other.trust_fingerprints}
    anew = ["LoadIdentity", "LoadConnection"]
    done, memory = turn(adapter, memory, (CONNECTION,), changed)
    assert done == anew
    assert turn(adapter, memory, (CONNECTION,), changed)[0] == []
    theirs.unload_conn({"name": "office"})
    assert turn(adapter, memory, (CONNECTION,), changed)[0] == []  # there is the secret still
    observed = adapter.read()
    assert observed.shared_ids == {"office"}
    assert observed.certificates == stays
    theirs.unload_shared({"id": "office"})
    done, memory = turn(adapter, memory, (CONNECTION,), changed)
    assert done == ["ClearCredentials", *anew]
    assert adapter.read().certificates == stays - set(mine.trust_fingerprints)
    assert turn(adapter, memory, (CONNECTION,), changed)[0] == []


def test_no_private_key_is_in_charons_log(charon: Charon) -> None:
    mine = identity()
    charon.adapter.load_identity(mine)
    assert mine.key_der.hex() not in charon.log
    assert "PRIVATE" not in charon.log


def test_only_the_plugins_that_are_needed_are_loaded(charon: Charon) -> None:
    (line,) = [line for line in charon.log.splitlines() if "loaded plugins:" in line]
    loaded = set(line.split("loaded plugins:")[1].split())
    assert loaded == {
        *("charon-systemd", "random", "nonce", "openssl", "pem", "pkcs1", "pkcs8", "x509"),
        *("revocation", "constraints", "pubkey", "kernel-netlink", "socket-default", "vici"),
    }
    assert "failed to load" not in charon.log
