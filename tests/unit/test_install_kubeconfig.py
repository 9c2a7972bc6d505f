"""`geneveil install` with kubeconfigs that are wrong, and with credentials that a plugin gives."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from geneveil.install.io import open_cluster
from geneveil.model.errors import ConfigError

NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}}


def kubeconfig(server: str, user: dict[str, object] | None) -> dict[str, object]:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}] if user else [],
    }


def plugin(folder: Path, script: str) -> dict[str, object]:
    program = folder / "plugin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"exec": {"command": str(program), "apiVersion": "client.authentication.k8s.io/v1"}}


GOOD = kubeconfig("http://127.0.0.1:1", {"token": "t"})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the kubeconfig is not one"),
        ("[1, 2]", "the kubeconfig is not one"),
        ("a: [", "the kubeconfig is not YAML"),
        ("a: 5", "the kubeconfig lacks 'clusters'"),
        (json.dumps({**GOOD, "contexts": [5]}), "the kubeconfig is not one"),
        (json.dumps({**GOOD, "clusters": []}), "the kubeconfig lacks 'c'"),
        (json.dumps({**GOOD, "users": []}), "the kubeconfig lacks 'u'"),
        (
            json.dumps({**GOOD, "contexts": [{"name": "here", "context": {"cluster": "c"}}]}),
            "Missing user",
        ),
    ],
)
def test_a_kubeconfig_that_is_wrong_is_said_to_be(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        open_cluster(path, "")
    assert complaint in caught.value.render()
    assert "--kubeconfig" in caught.value.remedy


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """An API server that knows node1, and what was shown to it."""
    shown: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers.get("Authorization", ""))
            body = json.dumps(NODE).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", shown
        listening.shutdown()


def test_a_plugin_of_todays_version_is_asked(tmp_path: Path, server: tuple[str, list[str]]) -> None:
    url, shown = server
    script = (
        'echo "$KUBERNETES_EXEC_INFO" > "$0.told"\n'
        'echo \'{"kind": "ExecCredential", "status": {"token": "of the plugin"}}\''
    )
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig(url, plugin(tmp_path, script))))
    assert open_cluster(path, "").read(NODE) is not None
    assert shown == ["Bearer of the plugin"]
    told = json.loads((tmp_path / "plugin.told").read_text())
    assert told["apiVersion"] == "client.authentication.k8s.io/v1"


@pytest.mark.parametrize("script", ["exit 3", "echo no JSON", "echo '{\"status\": {}}'"])
def test_a_plugin_that_gives_nothing_is_named(
    tmp_path: Path, server: tuple[str, list[str]], script: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig(server[0], plugin(tmp_path, script))))
    with pytest.raises(ConfigError, match="the kubeconfig's user has no credentials"):
        open_cluster(path, "").read(NODE)


def test_a_token_file_that_is_not_there_is_named(
    tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    path = tmp_path / "kubeconfig"
    user: dict[str, object] = {"tokenFile": str(tmp_path / "gone")}
    path.write_text(yaml.safe_dump(kubeconfig(server[0], user)))
    with pytest.raises(ConfigError, match=r"no credentials: Token file .*gone not found"):
        open_cluster(path, "").read(NODE)
