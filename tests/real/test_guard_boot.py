"""The guard that a host sets by itself at boot: on a real kernel the same table as the agent's."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from geneveil.agent.boot_files.io import boot_files
from geneveil.agent.boot_files.plan import Owner
from geneveil.guard.io import NftGuard
from geneveil.guard.script import render_guard_script
from geneveil.model.guard import GuardSpec
from tests.real.programs import network_namespace, run, wrapper
from tests.real.test_agent_process import Node

pytestmark = pytest.mark.real

SPECS = [GuardSpec((6081,)), GuardSpec((4789, 6081, 7000)), GuardSpec((6081,), (47, 132))]


@pytest.fixture
def nft(tmp_path: Path) -> Iterator[Path]:
    with network_namespace() as name:
        yield wrapper(tmp_path, "nft", name)


def table(nft: Path) -> list[Any]:
    """Everything that the kernel has of it, but the numbers that it gives to what is made."""
    listed = json.loads(run(str(nft), "-j", "list", "table", "inet", "geneveil"))["nftables"]
    for item in listed:
        for body in item.values():
            body.pop("handle", None)
    return [item for item in listed if "metainfo" not in item]


def load(nft: Path, script: str) -> None:
    done = subprocess.run([nft, "-f", "-"], input=script, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_script_makes_what_the_agent_makes(nft: Path, spec: GuardSpec) -> None:
    guard = NftGuard(str(nft))
    guard.apply(spec)
    wanted = table(nft)
    run(str(nft), "flush", "ruleset")
    load(nft, render_guard_script(spec))
    assert table(nft) == wanted
    assert guard.read().stands_for(spec)
    assert guard.apply(spec) is False


def test_it_replaces_whatever_the_table_holds_and_nothing_else(nft: Path) -> None:
    load(nft, "add table inet theirs\nadd table inet geneveil\nadd chain inet geneveil other")
    for _ in range(2):
        load(nft, render_guard_script(SPECS[0]))
        assert NftGuard(str(nft)).read().stands_for(SPECS[0])
    assert "table inet theirs" in run(str(nft), "list", "ruleset")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with ExitStack() as stack:
        name = stack.enter_context(network_namespace())
        wrapper(tmp_path, "nft", name)
        made = Node(tmp_path, name, stack)
        made.configure()
        yield made


def apply(node: Node, host: Path) -> str:
    done = node.geneveil("guard", "apply", f"--config={node.config}", f"--boot-guard={host}")
    assert done.returncode == 0, done.stderr
    return done.stderr


def boot(node: Node, host: Path) -> None:
    """What systemd does with what the host's boot starts; it may start nothing else of ours."""
    run(str(node.folder / "nft"), "flush", "ruleset")
    for unit in sorted((host / "etc/systemd/system/multi-user.target.wants").glob("geneveil-*")):
        (start,) = re.findall(r"(?m)^ExecStart=(.*)$", unit.read_text())
        program, *arguments = shlex.split(start)
        on_host = [str(host / word.lstrip("/")) if "/" in word else word for word in arguments]
        run(str(node.folder / program), *on_host)


def test_a_host_sets_by_itself_at_boot_what_its_container_set(node: Node, tmp_path: Path) -> None:
    host = tmp_path / "host"
    assert apply(node, host) == ""
    boot(node, host)
    shown = node.geneveil("guard", "show")
    assert shown.stdout.startswith("guard: in place")
    assert apply(node, host) == ""
    # a guard that was widened for a tunnel is what the next boot sets
    NftGuard(str(node.folder / "nft")).apply(GuardSpec((4789, 6081)))
    apply(node, host)
    boot(node, host)
    assert "ports: 4789, 6081" in node.geneveil("guard", "show").stdout


def test_a_boot_at_which_the_host_did_not_set_it_is_told(node: Node, tmp_path: Path) -> None:
    host = tmp_path / "host"
    apply(node, host)
    run(str(node.folder / "nft"), "flush", "ruleset")
    assert "no guard stood although this host is to set one at boot" in apply(node, host)


def test_a_host_that_cannot_be_written_is_an_error_and_the_guard_stands(
    node: Node, tmp_path: Path
) -> None:
    host = tmp_path / "host"
    host.write_text("no folder")
    done = node.geneveil("guard", "apply", f"--config={node.config}", f"--boot-guard={host}")
    assert done.returncode == 2
    assert "boot guard cannot be written" in done.stderr
    assert node.geneveil("guard", "show").returncode == 0


def test_a_node_that_leaves_takes_it_along(node: Node, tmp_path: Path) -> None:
    host = tmp_path / "host"
    apply(node, host)
    other = host / "etc/systemd/system/multi-user.target.wants/other.service"
    other.symlink_to("../other.service")
    command = ("node", "decommission", f"--config={node.config}", f"--host-root={host}", "--yes")
    done = node.geneveil(*command)
    assert done.returncode == 0, done.stdout
    assert (
        "boot guard: removed: /etc/systemd/system/multi-user.target.wants/geneveil" in done.stdout
    )
    assert [path.name for path in host.rglob("*") if not path.is_dir()] == ["other.service"]
    boot(node, host)
    assert node.geneveil("guard", "show").stdout.startswith("guard: absent")


def test_the_files_of_a_machine_config_stand_beside_those_of_the_container() -> None:
    ours, theirs = (boot_files(SPECS[0], owner) for owner in Owner)
    assert not set(ours.paths.all) & set(theirs.paths.all)
    assert ours.script == theirs.script
    for files in (ours, theirs):
        assert f"ExecStart=nft -f /{files.paths.script}\n" in files.unit
    # the container's, which may know more tunnels, has the last word
    assert f"After={theirs.paths.unit.name}\n" in ours.unit
    assert theirs.paths.unit.name not in theirs.unit
