"""The node's files on a real file system."""

import os
import stat
from pathlib import Path

import pytest

from geneveil.agent.ratchet import Seal
from geneveil.agent.store import (
    KEY,
    SEAL,
    NodeStore,
    NotKeptError,
    read_agent_config,
    write_atomically,
)
from geneveil.model.errors import ConfigError, TrustError


def test_private_files_are_private(tmp_path: Path) -> None:
    store = NodeStore(tmp_path / "state")
    store.write_seal()
    store.write(KEY, b"secret")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / KEY).stat().st_mode) == 0o600
    assert store.read(KEY) == b"secret"


def test_an_open_umask_does_not_open_a_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        NodeStore(tmp_path).write(KEY, b"secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600


def test_a_file_that_is_not_there_is_an_answer(tmp_path: Path) -> None:
    assert NodeStore(tmp_path).read(KEY) is None
    assert NodeStore(tmp_path / "nowhere").read(KEY) is None
    assert NodeStore(tmp_path / "nowhere").read_seal() is Seal.ABSENT


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / KEY).mkdir()
    with pytest.raises(TrustError, match=r"node\.key cannot be read"):
        NodeStore(tmp_path).read(KEY)
    content, error = NodeStore(tmp_path).try_read(KEY)
    assert content is None
    assert error is not None


def test_the_seal_is_kept_and_damage_to_it_counts_as_a_seal(tmp_path: Path) -> None:
    store = NodeStore(tmp_path)
    assert store.read_seal() is Seal.ABSENT
    store.write_seal()
    assert store.read_seal() is Seal.SEALED
    (tmp_path / SEAL).write_bytes(b"")
    assert store.read_seal() is Seal.UNREADABLE
    (tmp_path / SEAL).unlink()
    (tmp_path / SEAL).mkdir()
    assert store.read_seal() is Seal.UNREADABLE


def test_a_write_that_fails_leaves_the_old_content_and_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"old", 0o600)
    with pytest.raises(TypeError):
        write_atomically(target, "text is not bytes", 0o600)  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file where the directory should be")
    with pytest.raises(ConfigError, match="cannot use the state directory"):
        NodeStore(tmp_path / "state").prepare()
    with pytest.raises(NotKeptError, match="cannot be written") as caught:
        NodeStore(tmp_path / "state").write(KEY, b"x")
    assert caught.value.remedy
    assert 0 < caught.value.retry_after_seconds < 10


def test_a_missing_configuration_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file") as caught:
        read_agent_config(tmp_path / "agent.yaml")
    assert caught.value.remedy
    (tmp_path / "agent.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_agent_config(tmp_path / "agent.yaml")


@pytest.mark.parametrize(
    ("blocks", "names", "is_full"), [(1000, 1000, False), (15, 1000, True), (1000, 0, True)]
)
def test_a_full_disk_is_named_before_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, names: int, is_full: bool
) -> None:
    """A full file system of its own needs root; the lab has one (scenario `resources`)."""
    real = list(os.statvfs(tmp_path))
    real[1], real[3], real[5], real[6] = (
        4096,
        blocks,
        5000,
        names,
    )  # f_frsize f_bfree f_files f_ffree
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(real))
    if is_full:
        with pytest.raises(ConfigError, match="is full"):
            NodeStore(tmp_path).check_room()
    else:
        NodeStore(tmp_path).check_room()
