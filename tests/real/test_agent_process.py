"""The agent as a process: started twice, stopped, told to switch off, waiting for its operator."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from geneveil.agent.repeated import LINE_SECONDS
from geneveil.agent.settings import encode_stored_settings
from geneveil.model.cluster import CalendarSpan, ClusterSettings, KeyType, Mode
from geneveil.pki.authority import encode_certificate, make_authority, sign_node
from geneveil.pki.keys import encode_key, make_key
from tests.real.programs import (
    DEADLINE_SECONDS,
    network_namespace,
    process,
    run,
    wait_until,
    wrapper,
)

pytestmark = pytest.mark.real

SCHEMA = Path(__file__).parents[2] / "docs/schema/node-status.schema.json"
MEMORY_LIMIT_KIB = 64 * 1024


@dataclass
class Node:
    """One node's folder and namespace. Neither charon nor Open vSwitch runs there."""

    folder: Path
    namespace: str
    stack: ExitStack
    started: list[Popen[bytes]] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "agent.yaml"

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:{os.environ['PATH']}"}

    def configure(self, mode: str = "Full", url: str = "https://127.0.0.1:1") -> None:
        self.config.write_text(
            "apiVersion: geneveil.io/v1alpha1\nkind: AgentConfig\n"
            f"mode: {mode}\nchassis: node1\nstateDir: {self.folder}/state\n"
            f"runDir: {self.folder}/run\nvici: unix://{self.folder}/charon.vici\n"
            f"ovsdb: unix:{self.folder}/db.sock\n"
            f"operator: {{url: '{url}', tokenFile: {self.folder}/token}}\n"
        )

    def inside(self, *arguments: str, program: tuple[str, ...] = ()) -> list[str]:
        words = [sys.executable, *(program or ("-m", "geneveil")), *arguments]
        return ["ip", "netns", "exec", self.namespace, *words]

    def geneveil(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.inside(*arguments),
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            env={**os.environ, **self.environment},
        )
        assert "Traceback" not in done.stderr
        return done

    def start(self, *program: str) -> Popen[bytes]:
        """Start the agent, as `python -m geneveil` or as another program of its arguments."""
        command = self.inside("agent", "--config", str(self.config), program=program)
        agent = self.stack.enter_context(
            process(*command, log=self.folder / "agent.log", **self.environment)
        )
        self.started.append(agent)
        return agent

    def status(self) -> dict[str, Any]:
        path = self.folder / "run/status.json"
        return dict(json.loads(path.read_bytes())) if path.exists() else {}

    def codes(self) -> set[str]:
        return {value["code"] for value in self.status().get("health", ())}

    def whats(self, code: str) -> list[str]:
        health = self.status().get("health", ())
        return [value["what"] for value in health if value["code"] == code]

    def listing_of_all(self) -> str:
        return run(str(self.folder / "nft"), "list", "ruleset")

    def listing(self, table: str) -> str:
        """A table as nft prints it; empty while it is not there."""
        command = [str(self.folder / "nft"), f"list table {table}"]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_SECONDS
        ).stdout

    def await_status(self, pid: int) -> None:
        wait_until(lambda: self.status().get("pid") == pid, "the agent's status")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with ExitStack() as stack:
        name = stack.enter_context(network_namespace())
        wrapper(tmp_path, "nft", name)
        made = Node(tmp_path, name, stack)
        made.configure()
        yield made


def test_with_everything_else_away_the_guard_stands_and_all_is_named(node: Node) -> None:
    agent = node.start()
    node.await_status(agent.pid)
    assert node.codes() == {"charon-away", "ovsdb-away", "not-enrolled"} | (
        node.codes() & {"enrolment-failed"}
    )
    assert node.geneveil("guard", "show").returncode == 0
    shown = node.geneveil("status", "--run-dir", str(node.folder / "run"))
    assert shown.returncode == 1
    assert "Degraded" in shown.stdout
    (resident,) = [
        int(line.split()[1])
        for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    assert resident < MEMORY_LIMIT_KIB


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ending_the_agent_leaves_the_guard_and_the_next_start_changes_nothing(
    node: Node, number: int
) -> None:
    agent = node.start()
    node.await_status(agent.pid)
    before = node.geneveil("guard", "show", "-o", "json").stdout
    run_dir = str(node.folder / "run")
    assert "not running" not in node.geneveil("status", "--run-dir", run_dir).stdout
    agent.send_signal(number)
    assert agent.wait(DEADLINE_SECONDS) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    shown = node.geneveil("status", "--run-dir", run_dir)
    assert shown.returncode == 1
    assert "the agent is not running since about" in shown.stdout
    document = json.loads(node.geneveil("status", "--run-dir", run_dir, "-o", "json").stdout)
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    assert (document["stale"], document["agentRuns"]) == (True, False)
    assert node.geneveil("guard", "show", "-o", "json").stdout == before
    again = node.start()
    node.await_status(again.pid)
    assert "guard put in place" not in node.log
    assert node.log.count("guard set at the start") == 1


def test_a_second_agent_is_refused_and_the_first_goes_on(node: Node) -> None:
    agent = node.start()
    node.await_status(agent.pid)
    second = node.geneveil("agent", "--config", str(node.config))
    assert second.returncode == 2
    assert f"another agent (process {agent.pid}) runs" in second.stderr
    assert agent.poll() is None


def test_once_on_it_cannot_be_switched_off(node: Node) -> None:
    agent = node.start()
    node.await_status(agent.pid)
    agent.terminate()
    agent.wait(DEADLINE_SECONDS)
    node.configure(mode="Disabled")
    applied = node.geneveil("guard", "apply", "--config", str(node.config))
    assert applied.returncode == 0
    assert "mode: Disabled is refused" in applied.stderr
    again = node.start()
    node.await_status(again.pid)
    assert node.status()["mode"] == "Full"
    assert "mode-refused" in node.codes()
    assert node.geneveil("guard", "show").returncode == 0


def test_with_ipsec_off_it_says_so_and_touches_nothing(node: Node) -> None:
    node.configure(mode="Disabled")
    applied = node.geneveil("guard", "apply", "--config", str(node.config))
    assert (applied.returncode, applied.stdout) == (0, "mode is Disabled: no guard is set\n")
    agent = node.start()
    node.await_status(agent.pid)
    shown = node.geneveil("status", "--run-dir", str(node.folder / "run"))
    assert shown.returncode == 0
    assert "IPsec is off" in shown.stdout
    assert node.geneveil("guard", "show").stdout.startswith("guard: absent")
    assert not (node.folder / "state").exists()


ALTERING = {
    "removed": ("flush ruleset", "guard-missing"),
    "altered": ("insert rule inet geneveil output accept", "guard-altered"),
    "emptied": ("flush table inet geneveil", "guard-altered"),
}
LOOKS_ONCE_AN_HOUR = (
    "import sys\nfrom geneveil.agent import loop\nfrom geneveil.agent.__main__ import main\n"
    "asked = loop.pause_seconds\n"
    "loop.pause_seconds = lambda *seen: max(asked(*seen), 3600.0)\n"
    "sys.exit(main(sys.argv[-1:]))\n"
)
"""An agent that does nothing unless it is told of something."""


@pytest.mark.parametrize(("command", "code"), ALTERING.values(), ids=ALTERING.keys())
def test_a_guard_that_somebody_touched_is_put_back_at_once_and_that_is_said(
    node: Node, command: str, code: str
) -> None:
    """At once: because the kernel told of it. How fast is measured in the lab."""
    agent = node.start("-c", LOOKS_ONCE_AN_HOUR)
    node.await_status(agent.pid)
    before = node.listing("inet geneveil")
    assert "policy accept" in before
    subprocess.run([node.folder / "nft", "add table inet theirs"], check=True)
    for _ in range(3):
        begun = time.monotonic()
        subprocess.run([node.folder / "nft", command], check=True)
        wait_until(lambda: node.listing("inet geneveil") == before, "the guard")
        print(f"{command}: back after {time.monotonic() - begun:.3f} s")
    wait_until(lambda: f"code={code}" in node.log, "the log line")
    assert re.search(r"it was (removed|altered)", node.log)
    wait_until(lambda: any("3 times" in what for what in node.whats(code)), "the count")
    assert ("table inet theirs" in node.listing_of_all()) is (command != "flush ruleset")


def lines_of_repairs(node: Node) -> int:
    return node.log.count('event="guard put back"')


def test_a_fight_over_the_guard_does_not_fill_the_log(node: Node) -> None:
    agent = node.start()
    node.await_status(agent.pid)
    script = node.folder / "fight"
    script.write_text("insert rule inet geneveil output accept\n")
    begun = time.monotonic()
    changes = 0
    # For long enough to see a bound, and until it has begun on a machine that is busy.
    while time.monotonic() - begun < 3.0 or not lines_of_repairs(node):
        subprocess.run([node.folder / "nft", "-f", script], check=False, capture_output=True)
        changes += 1
        assert time.monotonic() - begun < DEADLINE_SECONDS, "not one repair"
    seen, lasted = lines_of_repairs(node), time.monotonic() - begun
    assert 1 <= seen <= 1 + lasted / LINE_SECONDS, (changes, seen, lasted)
    wait_until(lambda: node.geneveil("guard", "show").returncode == 0, "the guard")
    assert agent.poll() is None


FAILING = """
import sys
from pathlib import Path
from geneveil.agent import __main__ as program, loop
right = loop.decide
def decide(*arguments):
    if Path(sys.argv[2]).exists():
        raise RuntimeError("a mistake of ours")
    return right(*arguments)
loop.decide = decide
sys.exit(program.main(sys.argv[1:2]))
"""


def test_a_mistake_of_ours_is_named_and_the_agent_goes_on(node: Node) -> None:
    flag = node.folder / "flag"
    program = [sys.executable, "-c", FAILING, str(node.config), str(flag)]
    command = ["ip", "netns", "exec", node.namespace, *program]
    log = node.folder / "agent.log"
    agent = node.stack.enter_context(process(*command, log=log, **node.environment))
    node.await_status(agent.pid)
    flag.touch()
    wait_until(lambda: "agent-failing" in node.codes(), "the health value")
    subprocess.run([node.folder / "nft", "flush ruleset"], check=True)
    wait_until(lambda: node.geneveil("guard", "show").returncode == 0, "the guard")
    assert "agent-failing" in node.codes()
    assert node.log.count("code=agent-failing") == 1
    flag.unlink()
    wait_until(lambda: "agent-failing" not in node.codes(), "the next turn")
    assert agent.poll() is None
    assert "Traceback" not in node.log


SWALLOWING = """
import os, signal, sys
from pathlib import Path
from geneveil.agent import __main__ as program, loop
right = loop.decide
def decide(*arguments):
    if Path(sys.argv[2]).exists():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise OSError("the connection is not what it was")
    return right(*arguments)
loop.decide = decide
sys.exit(program.main(sys.argv[1:2]))
"""


def test_a_signal_that_a_library_swallows_ends_it_all_the_same(node: Node) -> None:
    flag = node.folder / "flag"
    program = [sys.executable, "-c", SWALLOWING, str(node.config), str(flag)]
    command = ["ip", "netns", "exec", node.namespace, *program]
    log = node.folder / "agent.log"
    agent = node.stack.enter_context(process(*command, log=log, **node.environment))
    node.await_status(agent.pid)
    flag.touch()
    assert agent.wait(DEADLINE_SECONDS) == 0
    assert "agent stopped" in node.log
    assert node.geneveil("guard", "show").returncode == 0


def test_without_nft_nothing_is_pretended(node: Node) -> None:
    (node.folder / "nft").write_text("#!/bin/sh\necho 'Error: no such thing' >&2\nexit 1\n")
    applied = node.geneveil("guard", "apply", "--config", str(node.config))
    assert applied.returncode == 1
    assert "the kernel refused the guard: Error: no such thing" in applied.stderr
    assert not (node.folder / "state/sealed").exists()
    agent = node.start()
    node.await_status(agent.pid)
    wait_until(lambda: {"guard-unreadable", "action-failed"} <= node.codes(), "the findings")
    assert node.status()["guard"] is None


def test_a_configuration_with_a_mistake_is_refused_before_anything_happens(node: Node) -> None:
    node.config.write_text(node.config.read_text() + "modus: Full\n")
    for status, command in ((2, ("agent",)), (78, ("guard", "apply"))):
        refused = node.geneveil(*command, "--config", str(node.config))
        assert refused.returncode == status
        assert f"{node.config}:10: field modus: there is no such field" in refused.stderr
        # It may have to encrypt: shut until somebody has put it right.
        assert "the guard now stands for UDP port 6081" in refused.stderr
        run(str(node.folder / "nft"), "delete", "table", "inet", "geneveil")
    assert not (node.folder / "run").exists()
    node.config.write_text(node.config.read_text().replace("mode: Full", "mode: Disabled"))
    for status, command in ((2, ("agent",)), (78, ("guard", "apply"))):
        assert node.geneveil(*command, "--config", str(node.config)).returncode == status
        assert node.geneveil("guard", "show").stdout.startswith("guard: absent")


def test_status_without_an_agent_says_so(node: Node) -> None:
    missing = node.geneveil("status", "--run-dir", str(node.folder / "run"))
    assert missing.returncode == 1
    assert "the agent is not running" in missing.stderr


def test_a_state_directory_that_refuses_is_named_and_the_guard_stands(node: Node) -> None:
    (node.folder / "state").write_text("a file where the directory should be")
    agent = node.start()
    node.await_status(agent.pid)
    wait_until(lambda: "state-directory" in node.codes(), "the finding")
    assert node.geneveil("guard", "show").returncode == 0


def test_it_waits_for_its_operator_and_then_enrols(node: Node) -> None:
    port = 9443  # the namespace is the test's own: nobody else listens there
    node.configure(url=f"https://127.0.0.1:{port}")
    cluster = node.folder / "cluster.yaml"
    cluster.write_text(
        "apiVersion: geneveil.io/v1alpha1\nkind: ClusterIPsec\nmetadata: {name: prod}\n"
        f'spec: {{mode: Full, operator: {{listen: "127.0.0.1:{port}", names: [central]}}}}\n'
    )
    state = ("--state-dir", str(node.folder / "operator"))
    done = node.geneveil("operator", "init", "--config", str(cluster), *state)
    assert done.returncode == 0, done.stderr
    agent = node.start()
    node.await_status(agent.pid)
    wait_until(lambda: "cannot read the join token" in node.log, "the missing token")
    foreign = node.geneveil("operator", "token", "node7", *state).stdout
    (node.folder / "token").write_text(foreign)
    wait_until(lambda: "the join token is for node7" in node.log, "the token of another node")
    token = node.geneveil("operator", "token", "node1", *state).stdout
    (node.folder / "token").write_text(token)
    wait_until(lambda: "operator-unreachable" in node.codes(), "the unreachable operator")
    server = node.inside("operator", "run", *state)
    node.stack.enter_context(process(*server, log=node.folder / "operator.log", **node.environment))
    wait_until(lambda: node.status()["certificate"] is not None, "the certificate")
    assert node.status()["certificate"]["chassis"] == "node1"
    wait_until(lambda: node.codes() == {"charon-away", "ovsdb-away"}, "the rest to be well")
    for name in ("node.key", "node.crt", "trust-bundle.pem", "settings.json"):
        assert (node.folder / "state" / name).stat().st_mode & 0o777 == 0o600
    key = (node.folder / "state/node.key").read_bytes()
    agent.kill()
    agent.wait(DEADLINE_SECONDS)
    again = node.start()
    node.await_status(again.pid)
    assert (node.folder / "state/node.key").read_bytes() == key
    assert "PRIVATE" not in node.log
    assert token.strip() not in node.log


SCRAPE = (
    "import sys, urllib.request\n"
    "sys.stdout.write(urllib.request.urlopen('http://127.0.0.1:9478/metrics', timeout=60)"
    ".read().decode())\n"
)


def scrape(node: Node) -> str:
    command = ["ip", "netns", "exec", node.namespace, sys.executable, "-c", SCRAPE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    return done.stdout


def test_metrics_are_served_where_they_are_asked_for_and_nowhere_else(node: Node) -> None:
    agent = node.start()
    node.await_status(agent.pid)
    assert scrape(node) == ""
    agent.kill()
    agent.wait(DEADLINE_SECONDS)
    node.config.write_text(node.config.read_text() + "metrics: {listen: '127.0.0.1:9478'}\n")
    agent = node.start()
    node.await_status(agent.pid)
    wait_until(lambda: "geneveil_guard_in_place 1\n" in scrape(node), "the metrics")
    line = 'geneveil_health{code="charon-away",severity="error",subject="charon"} 1'
    wait_until(lambda: line in scrape(node), "the health")


def test_without_descriptors_it_goes_on_and_says_so_and_recovers(node: Node) -> None:
    agent = node.start()
    node.await_status(agent.pid)
    soft, hard = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (4, hard))
    subprocess.run([node.folder / "nft", "add table inet theirs"], check=True)
    wait_until(lambda: "Too many open files" in node.log, "the complaint")
    assert agent.poll() is None
    assert "Traceback" not in node.log
    assert node.geneveil("guard", "show").returncode == 0
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (soft, hard))
    subprocess.run([node.folder / "nft", "flush ruleset"], check=True)
    wait_until(lambda: node.geneveil("guard", "show").returncode == 0, "the guard")
    wait_until(lambda: "guard-missing" in node.codes(), "the finding")
    wait_until(
        lambda: not {code for code in node.codes() if code.endswith("unreadable")},
        "everything to be read again",
    )


def good_files() -> dict[str, bytes]:
    now = datetime.now(UTC).replace(microsecond=0)
    key, authority_key = make_key(KeyType.ECDSA_P256), make_key(KeyType.ECDSA_P256)
    authority = make_authority("prod", authority_key, CalendarSpan(120), now, bytes(20))
    lasts = CalendarSpan(60)
    leaf = sign_node(authority, key.public_key(), "node1", "prod", lasts, now, bytes(20))
    return {
        "node.key": encode_key(key),
        "node.crt": encode_certificate(leaf),
        "trust-bundle.pem": encode_certificate(authority.certificate),
        "settings.json": encode_stored_settings(ClusterSettings("prod", Mode.FULL)),
    }


GOOD, OTHER = good_files(), good_files()
BROKEN = {
    "key unreadable": ("node.key", None, "trust-unreadable", "node.key cannot be read"),
    "key not PEM": ("node.key", b"hello", "trust-unusable", "node.key is not PEM"),
    "key truncated": (
        "node.key",
        GOOD["node.key"][:90],
        "trust-unusable",
        "node.key holds no private key",
    ),
    "key of another": (
        "node.key",
        OTHER["node.key"],
        "trust-unusable",
        "node.crt does not match the key in node.key",
    ),
    "certificate truncated": (
        "node.crt",
        GOOD["node.crt"][:90],
        "trust-unusable",
        "node.crt holds no certificate",
    ),
    "bundle empty": ("trust-bundle.pem", b"", "trust-unusable", "trust-bundle.pem is not PEM"),
    "bundle of another": (
        "trust-bundle.pem",
        OTHER["trust-bundle.pem"],
        "trust-unusable",
        "not signed by an authority in trust-bundle.pem",
    ),
}


@pytest.mark.parametrize(("name", "content", "code", "what"), BROKEN.values(), ids=BROKEN.keys())
def test_files_of_trust_that_are_broken_are_named_and_nothing_crashes(
    node: Node, name: str, content: bytes | None, code: str, what: str
) -> None:
    state = node.folder / "state"
    state.mkdir()
    for each, data in GOOD.items():
        (state / each).write_bytes(data)
    agent = node.start()
    node.await_status(agent.pid)
    wait_until(lambda: node.status()["certificate"] is not None, "the good certificate")
    assert not {found for found in node.codes() if found.startswith("trust-")}
    (state / name).unlink()
    if content is None:
        (state / name).mkdir()
    else:
        (state / name).write_bytes(content)
    wait_until(lambda: any(what in said for said in node.whats(code)), what)
    assert {found for found in node.codes() if found.startswith("trust-")} == {code}
    assert agent.poll() is None
