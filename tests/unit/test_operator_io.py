"""`operator init`: whole or not at all, once, and never changed."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from geneveil.model.errors import ConfigError, GeneveilError, RefusedError, TrustError
from geneveil.operator import io as operator_io
from geneveil.operator.audit import check_chain
from geneveil.operator.config import ClusterIPsec, to_settings
from geneveil.operator.config_check import parse_config
from geneveil.operator.registry import read_cluster

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HEAD = "apiVersion: geneveil.io/v1alpha1\nkind: ClusterIPsec\nmetadata: {name: prod}\n"


def config(spec: str) -> ClusterIPsec:
    return parse_config(f"{HEAD}spec: {spec}\n", "cluster.yaml")


FULL, DISABLED = config("{mode: Full}"), config("{}")


def snapshot(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b""
        for path in directory.rglob("*")
        if not path.name.endswith(("-wal", "-shm"))
    }


def init(state_dir: Path, wanted: ClusterIPsec = FULL) -> bool:
    return operator_io.init_state(state_dir, wanted, NOW, os.urandom)


def test_full_makes_an_authority(tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    assert init(state)
    key = state / "cluster" / "ca-1.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "cluster").stat().st_mode & 0o777 == 0o700
    store = operator_io.open_store(state)
    cluster = read_cluster(store)
    authority = operator_io.read_authority(state, cluster.signing_authority())
    authority.certificate.verify_directly_issued_by(authority.certificate)
    assert cluster.settings == to_settings(FULL)
    assert [entry.event for entry in store.read_audit()] == ["sealed", "authority-made"]
    assert check_chain(store.read_audit(), []) == ()
    store.close()


def test_disabled_makes_none(tmp_path: Path) -> None:
    assert init(tmp_path, DISABLED)
    assert {path.name for path in (tmp_path / "cluster").iterdir()} == {"operator.db"}
    store = operator_io.open_store(tmp_path)
    assert read_cluster(store).authorities == ()
    store.close()


@pytest.mark.parametrize("wanted", [FULL, DISABLED])
def test_the_same_again_changes_nothing(tmp_path: Path, wanted: ClusterIPsec) -> None:
    assert init(tmp_path, wanted)
    before = snapshot(tmp_path)
    assert not init(tmp_path, wanted)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (DISABLED, FULL, "mode-sealed"),
        (FULL, DISABLED, "mode-sealed"),
        (FULL, config("{mode: Full, genevePorts: [6082]}"), "configuration-sealed"),
    ],
)
def test_another_is_refused_and_changes_nothing(
    tmp_path: Path, first: ClusterIPsec, second: ClusterIPsec, reason: str
) -> None:
    init(tmp_path, first)
    before = snapshot(tmp_path)
    for attempt in (init, operator_io.check_state):
        with pytest.raises(RefusedError) as caught:
            attempt(tmp_path, second)
        assert caught.value.reason == reason
    assert snapshot(tmp_path) == before


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert not operator_io.check_state(state, FULL)
    assert not state.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_init_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(count: int) -> bytes:
        raise error

    state = tmp_path / "state"
    with pytest.raises((KeyboardInterrupt, ConfigError)):
        operator_io.init_state(state, FULL, NOW, fail)
    assert not state.exists()
    assert init(state)


def test_a_killed_init_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    leftover = tmp_path / ".unfinished-killed"
    leftover.mkdir()
    (leftover / "ca-1.key").write_text("half a key")
    assert init(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"cluster"}


def test_two_at_once_make_one_cluster(tmp_path: Path) -> None:
    first_is_at_work, first_may_end = threading.Event(), threading.Event()

    def slow(count: int) -> bytes:
        first_is_at_work.set()
        assert first_may_end.wait(120)
        return os.urandom(count)

    thread = threading.Thread(target=operator_io.init_state, args=(tmp_path, FULL, NOW, slow))
    thread.start()
    assert first_is_at_work.wait(120)
    with pytest.raises(ConfigError, match="at work here"):
        init(tmp_path)
    first_may_end.set()
    thread.join()
    assert not init(tmp_path)


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError, match="can't hold the operator's state"):
        init(tmp_path / "state")


SOMEBODY_ELSE = """
import os, sys
from pathlib import Path
sys.path[:0] = ["src", "."]
from geneveil.model.errors import ConfigError
from geneveil.operator import io as operator_io
from tests.unit.test_operator_io import FULL, init
theirs, own = map(Path, sys.argv[1:])
init(own)  # so that all modules are there: somebody else may not read them
operator_io.open_store(own).close()
os.setuid(65534)
for attempt in (init, lambda path: operator_io.check_state(path, FULL)):
    try:
        attempt(theirs)
    except ConfigError as error:
        print("refused" if "may not be read" in error.render() else error.render())
try:
    operator_io.open_store(theirs)
except ConfigError:
    print("refused")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_elses_state(tmp_path: Path) -> None:
    init(tmp_path)
    tmp_path.chmod(0o700)
    # A process of its own: one that is forked off from threads may stand still for ever.
    program = [sys.executable, "-c", SOMEBODY_ELSE, str(tmp_path), str(tmp_path / "own")]
    done = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.splitlines() == ["refused"] * 3, done.stderr


def test_nothing_initialised(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="operator init"):
        operator_io.open_store(tmp_path)


def broken(state: Path, how: str) -> None:
    key = state / "cluster" / "ca-1.key"
    match how:
        case "missing":
            key.unlink()
        case "readable by others":
            key.chmod(0o640)
        case "not PEM":
            key.write_bytes(b"\0")
        case "another key":
            other = state / "other"
            init(other)
            key.write_bytes((other / "cluster" / "ca-1.key").read_bytes())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "can't be read"),
        ("readable by others", "chmod 600"),
        ("not PEM", "is not PEM"),
        ("another key", "is not the key of authority 1"),
    ],
)
def test_a_broken_authority_key(tmp_path: Path, how: str, words: str) -> None:
    init(tmp_path)
    broken(tmp_path, how)
    store = operator_io.open_store(tmp_path)
    record = read_cluster(store).signing_authority()
    store.close()
    with pytest.raises(TrustError) as caught:
        operator_io.read_authority(tmp_path, record)
    assert words in caught.value.render()
    assert "ca-1.key" in caught.value.render()


def test_one_operator_runs_at_a_time(tmp_path: Path) -> None:
    init(tmp_path)
    with (
        operator_io.running_lock(tmp_path),
        pytest.raises(ConfigError, match="running"),
        operator_io.running_lock(tmp_path),
    ):
        pass


def test_a_command_that_looks_keeps_no_operator_from_starting(tmp_path: Path) -> None:
    init(tmp_path)
    looked, done = threading.Event(), threading.Event()

    def look() -> None:
        while not done.is_set():
            operator_io.is_running(tmp_path)
            looked.set()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        assert looked.wait(60)
        for _ in range(2000):
            with operator_io.running_lock(tmp_path):
                pass
    finally:
        done.set()
        thread.join()
    assert not operator_io.is_running(tmp_path)
    with operator_io.running_lock(tmp_path):
        assert operator_io.is_running(tmp_path)


def test_the_key_of_a_retired_authority_is_overwritten_and_removed(tmp_path: Path) -> None:
    init(tmp_path)
    key, same = tmp_path / "cluster" / "ca-1.key", tmp_path / "same"
    os.link(key, same)  # the bytes on the disk, by another name
    assert b"PRIVATE" in same.read_bytes()
    for _ in range(2):
        operator_io.remove_authority_keys(tmp_path, [1, 2])
    assert not key.exists()
    assert set(same.read_bytes()) == {0}


def test_the_server_file_is_replaced_whole(tmp_path: Path) -> None:
    init(tmp_path)
    assert operator_io.read_server_file(tmp_path) is None
    for data in (b"one", b"two"):
        operator_io.stage_server_file(tmp_path, data)
        operator_io.place_server_file(tmp_path)
        assert operator_io.read_server_file(tmp_path) == data
    assert operator_io.server_path(tmp_path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_unreadable_configuration(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "cluster.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GeneveilError, match=r"cluster\.yaml"):
        operator_io.read_config_text(path)
