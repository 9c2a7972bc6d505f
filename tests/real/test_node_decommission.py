"""A node leaves for good: all of ours goes, nothing of others, and the agent stays away."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.real.programs import DEADLINE_SECONDS, network_namespace, wrapper
from tests.real.test_agent_process import Node

pytestmark = pytest.mark.real


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with ExitStack() as stack:
        name = stack.enter_context(network_namespace())
        wrapper(tmp_path, "nft", name)
        made = Node(tmp_path, name, stack)
        made.configure()
        yield made


def left(node: Node) -> list[str]:
    return sorted(path.name for path in (node.folder / "state").iterdir())


def decommission(node: Node, *more: str) -> subprocess.CompletedProcess[str]:
    return node.geneveil("node", "decommission", "--config", str(node.config), *more)


def test_all_of_ours_goes_and_nothing_else_and_it_does_not_come_back(node: Node) -> None:
    subprocess.run([node.folder / "nft", "add table inet theirs"], check=True)
    agent = node.start()
    node.await_status(agent.pid)
    running = decommission(node, "--yes")
    assert running.returncode == 2
    assert f"another agent (process {agent.pid}) runs" in running.stderr
    assert node.geneveil("guard", "show").returncode == 0
    agent.terminate()
    agent.wait(DEADLINE_SECONDS)
    for name in ("node.key", "pending.key", "node.crt", "trust-bundle.pem"):
        (node.folder / "state" / name).write_text("x")

    unasked = decommission(node)
    assert unasked.returncode == 2
    assert "nothing here keeps Geneve from leaving in clear" in unasked.stderr
    assert "say --yes" in unasked.stderr
    assert node.geneveil("guard", "show").returncode == 0

    done = decommission(node, "--yes", "-o", "json")
    assert done.returncode == 0, done.stderr + done.stdout
    document = json.loads(done.stdout)
    assert document["complete"] is True
    outcomes = {step["part"]: step["outcome"] for step in document["steps"]}
    assert outcomes["guard"] == outcomes["node.key"] == "done"
    assert left(node) == ["decommissioned"]
    assert node.listing_of_all().strip() == "table inet theirs {\n}"

    again = decommission(node, "--yes", "-o", "json")
    assert again.returncode == 0
    assert "done" not in {step["outcome"] for step in json.loads(again.stdout)["steps"]}

    refused = node.geneveil("agent", "--config", str(node.config))
    assert refused.returncode == 2
    assert "this node was decommissioned" in refused.stderr
    at_boot = node.geneveil("guard", "apply", "--config", str(node.config))
    assert (at_boot.returncode, "decommissioned" in at_boot.stdout) == (0, True)
    broken = node.config.read_text().replace("mode: Full", "mode: [")
    assert "[" in broken
    node.config.write_text(broken)  # a broken file brings no guard back either
    assert node.geneveil("guard", "apply", "--config", str(node.config)).returncode == 78
    assert node.geneveil("guard", "show").stdout.startswith("guard: absent")

    node.configure()
    back = node.geneveil("node", "recommission", "--config", str(node.config))
    assert back.returncode == 0
    node.await_status(node.start().pid)
    assert node.geneveil("guard", "show").returncode == 0


def test_what_cannot_be_removed_keeps_the_guard_and_repeating_it_goes_on(node: Node) -> None:
    node.geneveil("guard", "apply", "--config", str(node.config))
    state = node.folder / "state"
    (state / "node.crt").mkdir()
    (state / "node.key").write_text("x")
    (state / "settings.json").write_text("{}")
    done = decommission(node, "--yes")
    assert done.returncode == 1
    assert "certificate and settings: FAILED" in done.stdout
    assert "guard: KEPT: first has to go: certificate and settings" in done.stdout
    assert "the guard stays until then" in done.stderr
    assert "node.key: removed: overwritten and removed" in done.stdout
    assert node.geneveil("guard", "show").returncode == 0
    assert "settings.json" in left(node)  # they name the ports of the guard at boot
    subprocess.run([node.folder / "nft", "flush ruleset"], check=True)  # as a reboot does
    at_boot = node.geneveil("guard", "apply", "--config", str(node.config))
    assert (at_boot.returncode, "not finished" in at_boot.stderr) == (0, True)
    assert node.geneveil("guard", "show").returncode == 0
    refused = node.geneveil("agent", "--config", str(node.config))
    assert (refused.returncode, "was decommissioned" in refused.stderr) == (2, True)
    (state / "node.crt").rmdir()
    again = decommission(node, "--yes")
    assert again.returncode == 0, again.stdout
    assert "guard: removed" in again.stdout
    assert left(node) == ["decommissioned"]
    assert node.geneveil("guard", "apply", "--config", str(node.config)).returncode == 0
    assert node.geneveil("guard", "show").stdout.startswith("guard: absent")


def test_a_charon_that_does_not_answer_keeps_keys_and_guard(node: Node) -> None:
    node.geneveil("guard", "apply", "--config", str(node.config))
    (node.folder / "state/node.key").write_text("x")
    config = node.config.read_text()
    node.config.write_text(config.replace(f"unix://{node.folder}/charon.vici", "unix:///dev/null"))
    policy = (
        "src 192.0.2.1 dst 192.0.2.2 proto udp dport 6081 dir out tmpl proto esp mode transport"
    )
    made = subprocess.run(
        ["ip", "-n", node.namespace, "xfrm", "policy", "add", *policy.split()],
        capture_output=True,
        text=True,
    )
    if "not supported" in made.stderr:
        pytest.skip("this machine's kernel has no XFRM policies")
    assert made.returncode == 0, made.stderr
    done = decommission(node, "--yes", "-o", "json")
    assert done.returncode == 1
    outcomes = {step["part"]: step["outcome"] for step in json.loads(done.stdout)["steps"]}
    assert outcomes["charon"] == "failed"
    assert outcomes["node.key"] == outcomes["guard"] == outcomes["seal"] == "kept"
    assert (node.folder / "state/node.key").read_text() == "x"
    assert node.geneveil("guard", "show").returncode == 0


def test_at_a_terminal_it_asks_and_no_changes_nothing(node: Node) -> None:
    node.geneveil("guard", "apply", "--config", str(node.config))
    ours, theirs = pty.openpty()
    command = node.inside("node", "decommission", "--config", str(node.config))
    environment = {**os.environ, **node.environment}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True
    ) as asked:
        os.write(ours, b"n\n")
        assert asked.wait(DEADLINE_SECONDS) == 2
    assert b"nothing was changed" in os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
    assert node.geneveil("guard", "show").returncode == 0
