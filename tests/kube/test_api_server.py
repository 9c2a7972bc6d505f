"""The API server that other tests and labs rely on is set up as a real cluster's is."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.kube import kubeconfig, objects
from lab.kube.arguments import Programs
from lab.kube.cluster import make_agent_pod, make_node, request_token
from lab.kube.server import ApiServer
from tests.kube.operator_bench import WAIT_SECONDS, wait_for


def _review(server: ApiServer, token: str) -> dict[str, Any]:
    document = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token},
    }
    answer = server.kubectl_json("create", "-f", "-", stdin=document)
    status: dict[str, Any] = answer["status"]
    return status


def test_it_says_its_true_version(api_server: ApiServer) -> None:
    said = api_server.kubectl_json("version")
    minor = int(said["serverVersion"]["minor"])
    assert minor >= 33
    assert said["serverVersion"]["gitVersion"].startswith(f"v1.{minor}.")
    assert said["serverVersion"]["emulationMinor"] == str(minor)


def test_a_token_bound_to_a_pod_names_the_node(api_server: ApiServer) -> None:
    make_node(api_server, "token-a")
    pod = make_agent_pod(api_server, "token-a")
    status = _review(api_server, request_token(api_server, pod))
    assert status["authenticated"] is True
    assert status["user"]["username"] == "system:serviceaccount:geneveil-system:geneveil-agent"
    extra = status["user"]["extra"]
    assert extra["authentication.kubernetes.io/node-name"] == ["token-a"]
    assert extra["authentication.kubernetes.io/pod-name"] == [pod["metadata"]["name"]]


def test_the_token_ends_with_its_pod(api_server: ApiServer) -> None:
    make_node(api_server, "ends-a")
    pod = make_agent_pod(api_server, "ends-a")
    token = request_token(api_server, pod)
    names = ("-n", pod["metadata"]["namespace"], pod["metadata"]["name"])
    done = api_server.kubectl("delete", "pod", *names, "--grace-period=0", "--force")
    assert done.returncode == 0, done.stderr
    # it looks at its own copies of Pods, which follow
    wait_for("the token ends", lambda: not _review(api_server, token).get("authenticated"))


def test_another_nodes_kubelet_gets_no_token(api_server: ApiServer) -> None:
    make_node(api_server, "thief-a")
    make_node(api_server, "thief-b")
    pod = make_agent_pod(api_server, "thief-a")
    with pytest.raises(LabError, match="no relationship found between node 'thief-b'"):
        request_token(api_server, pod, as_node="thief-b")


def test_a_kubelet_changes_its_own_node_only(api_server: ApiServer) -> None:
    for name in ("own-a", "own-b"):
        make_node(api_server, name)
    config = api_server.node_kubeconfig("own-a")
    own = api_server.kubectl("annotate", "node", "own-a", "test=1", config=config)
    assert own.returncode == 0, own.stderr
    # Server-side apply reads nothing first: it is the change itself that is refused.
    other = api_server.kubectl(
        *("apply", "--server-side", "--validate=false", "-f", "-"),
        stdin=json.dumps(objects.node("own-b", {"test": "1"})),
        config=config,
    )
    assert other.returncode != 0
    assert 'node "own-a" is not allowed to modify node "own-b"' in other.stderr
    reserved = "node-restriction.kubernetes.io/test=1"
    label = api_server.kubectl("label", "node", "own-a", reserved, config=config)
    assert "is not allowed to modify labels" in label.stderr


def test_nobody_is_served_without_a_name(api_server: ApiServer, tmp_path: Path) -> None:
    config = tmp_path / "nameless.kubeconfig"
    authority = api_server.authority.read_bytes()
    config.write_text(kubeconfig.without_identity(api_server.url, authority))
    for path in ("/version", "/readyz", "/api/v1/nodes"):
        done = api_server.kubectl("get", f"--raw={path}", config=config)
        assert done.returncode != 0
        assert "Unauthorized" in done.stderr + done.stdout or "Username" in done.stdout


def test_a_user_without_a_role_may_do_nothing(api_server: ApiServer) -> None:
    config = api_server.kubeconfig("someone", ())
    done = api_server.kubectl("get", "nodes", config=config)
    assert 'User "someone" cannot list resource "nodes"' in done.stderr


def test_a_token_works_as_a_kubeconfig_and_is_audited(api_server: ApiServer) -> None:
    make_node(api_server, "audit-a")
    token = request_token(api_server, make_agent_pod(api_server, "audit-a"))
    config = api_server.token_kubeconfig("audit-a", token)
    assert api_server.kubectl("get", "secrets", "-A", config=config).returncode != 0

    def nodes() -> list[list[str]]:
        return [
            event["user"]["extra"]["authentication.kubernetes.io/node-name"]
            for event in api_server.requests()
            if event.get("objectRef", {}).get("resource") == "secrets"
            and event["user"]["username"].endswith(":geneveil-agent")
        ]

    assert wait_for("the audit log has it", nodes) == [["audit-a"]]


def test_objects_outlive_a_restart_and_a_crash(own_api_server: ApiServer) -> None:
    server = own_api_server
    make_node(server, "before")
    server.restart()
    server.kubectl_json("get", "node", "before")
    server.kill_etcd()
    server.kill_api_server()
    server.start_all()
    server.kubectl_json("get", "node", "before")


def test_a_folder_goes_on_at_another_port(kube_programs: Programs, tmp_path: Path) -> None:
    with ApiServer.start(tmp_path / "kube", kube_programs) as first:
        make_node(first, "kept")
    with ApiServer.start(tmp_path / "kube", kube_programs) as second:
        assert second.url != first.url
        second.kubectl_json("get", "node", "kept")


def test_a_restored_snapshot_forgets_what_came_after(
    own_api_server: ApiServer, tmp_path: Path
) -> None:
    server = own_api_server
    make_node(server, "old")
    server.snapshot(tmp_path / "snapshot")
    make_node(server, "new")
    server.restore(tmp_path / "snapshot")
    names = json.loads(server.kubectl("get", "nodes", "-o", "json").stdout)["items"]
    assert [item["metadata"]["name"] for item in names] == ["old"]


def test_a_program_that_ends_is_reported_with_its_log(
    own_api_server: ApiServer, tmp_path: Path
) -> None:
    # Its port is taken.
    taken = own_api_server.layout.port
    with pytest.raises(LabError, match="kube-apiserver ended while starting") as refused:
        ApiServer.start(tmp_path / "second", own_api_server.programs, port=taken)
    assert "address already in use" in refused.value.render()


COMMAND_ENDS = [
    ("Ctrl-C", signal.SIGINT, 130),
    ("told to end", signal.SIGTERM, 130),
    ("killed outright", signal.SIGKILL, -signal.SIGKILL),
]


@pytest.mark.parametrize(("case", "number", "status"), COMMAND_ENDS)
def test_the_command_leaves_no_program_behind(
    case: str, number: signal.Signals, status: int, kube_programs: Programs, tmp_path: Path
) -> None:
    folder = tmp_path / "kube"
    command = [sys.executable, "-m", "lab", "apiserver", "--folder", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [line for line in iter(process.stdout.readline, "") if not _waits(line, process, number)]
    assert process.wait(WAIT_SECONDS) == status
    assert any("export KUBECONFIG=" in line for line in said)
    # Killed by the kernel, they may need a moment to be gone.
    end = time.monotonic() + WAIT_SECONDS
    while left := _processes_naming(str(folder)):
        assert time.monotonic() < end, left
        time.sleep(0.05)


def _waits(line: str, process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Signal the command at its last line."""
    if "Ctrl-C ends it" in line:
        process.send_signal(number)
        return True
    return False


def _processes_naming(text: str) -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if text in line]
