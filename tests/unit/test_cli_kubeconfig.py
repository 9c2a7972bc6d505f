"""Which kubeconfig is taken."""

from pathlib import Path

import pytest

from geneveil.cli.kubeconfig import choose_kubeconfig
from geneveil.model.errors import ConfigError


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "a", tmp_path / "b"
    for path in found:
        path.touch()
    return found


def test_one_file_is_taken_and_the_option_before_all(files: tuple[Path, Path]) -> None:
    a, b = files
    assert choose_kubeconfig(None, {}) is None
    assert choose_kubeconfig(None, {"KUBECONFIG": ""}) is None
    assert choose_kubeconfig(None, {"KUBECONFIG": f"{a}"}) == a
    assert choose_kubeconfig(b, {"KUBECONFIG": f"{a}"}) == b
    assert choose_kubeconfig(None, {"KUBECONFIG": f"/not/there:{b}:"}) == b
    assert choose_kubeconfig(None, {"KUBECONFIG": "/not/there"}) == Path("/not/there")
    in_a_pod = {"KUBECONFIG": f"{a}", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert choose_kubeconfig(None, in_a_pod) is None


def test_several_are_not_merged(files: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="names 2 files") as raised:
        choose_kubeconfig(None, {"KUBECONFIG": ":".join(map(str, files))})
    assert "--kubeconfig" in raised.value.remedy
