"""A stand-in for an API server, for what a real one does not do at a test's word: 410, 429.

What it offers it does as a real one: see `tests.kube_port_contract`.
"""

import copy
import ipaddress
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from geneveil.kube.access import KubeAccess, Material
from tests.https_listener import listening, url_of

TOKEN = "first"


@dataclass
class FakeKubeApi:
    """Objects by path. What a test scripts comes first.

    Attributes:
        tokens: those that are believed.
        script: answers (status, body, headers) to the next requests, whatever they are.
        asked: method and path of every request.
        forgets: whether a watch is told that its version is too old, once.
    """

    access: KubeAccess
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    script: list[tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    forgets: bool = False
    applied: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    version: int = 10
    events: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)
    cut: int = 0

    def put(self, path: str, document: dict[str, Any], kind: str = "MODIFIED") -> dict[str, Any]:
        with self.changed:
            self.version += 1
            stored = copy.deepcopy(document)
            stored.setdefault("metadata", {})["resourceVersion"] = str(self.version)
            self.objects[path] = stored
            self.events.append((self.version, kind, path, stored))
            self.changed.notify_all()
            return stored

    def remove(self, path: str) -> None:
        with self.changed:
            self.version += 1
            gone = copy.deepcopy(self.objects.pop(path))
            gone["metadata"]["resourceVersion"] = str(self.version)
            self.events.append((self.version, "DELETED", path, gone))
            self.changed.notify_all()

    def bookmark(self, path: str) -> None:
        with self.changed:
            self.version += 1
            body = {"metadata": {"resourceVersion": str(self.version)}}
            self.events.append((self.version, "BOOKMARK", path, body))
            self.changed.notify_all()

    def cut_watches(self) -> None:
        """End every watch that is held, in the middle."""
        with self.changed:
            self.cut += 1
            self.changed.notify_all()

    def await_asked(self, count: int, method: str, text: str, seconds: float = 120) -> None:
        def seen() -> bool:
            return sum(m == method and text in path for m, path in self.asked) >= count

        with self.changed:
            assert self.changed.wait_for(seen, seconds), self.asked


def _handler(api: FakeKubeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _refused(self) -> bool:
            with api.changed:
                api.asked.append((self.command, self.path))
                self._cut = api.cut  # whoever saw it asked for may cut it
                api.changed.notify_all()
                scripted = api.script.pop(0) if api.script else None
            if scripted:
                self._answer(*scripted)
                return True
            word = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if word not in api.tokens:
                self._answer(401, {"kind": "Status", "message": "Unauthorized"}, {})
                return True
            return False

        def do_GET(self) -> None:
            if self._refused():
                return
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            if "watch" in query:
                self._watch(parts.path, query)
            elif parts.path in api.objects:
                self._answer(200, api.objects[parts.path], {})
            else:
                self._answer(404, {"kind": "Status", "message": f"{parts.path} not found"}, {})

        def _watch(self, path: str, query: dict[str, list[str]]) -> None:
            wanted = f"{path}/{query['fieldSelector'][0].removeprefix('metadata.name=')}"
            since = int(query.get("resourceVersion", ["-1"])[0])
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            if api.forgets:
                with api.changed:
                    api.forgets = False
                    api.changed.notify_all()
                self._line("ERROR", {"kind": "Status", "code": 410, "message": "too old"})
                return
            cut = self._cut
            with api.changed:
                if since < 0:
                    # what is there now, then what changes; also what has changed since it was asked
                    made = [e[0] for e in api.events if e[2] == wanted and e[1] != "DELETED"]
                    since = made[-1] - 1 if made else api.version
            while True:
                with api.changed:
                    new = [e for e in api.events if e[0] > since and e[2] == wanted]
                    if not new and api.cut == cut:
                        api.changed.wait(30)
                        continue
                if api.cut != cut:
                    return
                for version, kind, _, body in new:
                    self._line(kind, body)
                    since = version

        def _line(self, kind: str, body: dict[str, Any]) -> None:
            self.wfile.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")
            self.wfile.flush()

        def _body(self) -> dict[str, Any]:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert isinstance(document, dict)
            return document

        def do_POST(self) -> None:
            document = self._body()
            if self._refused():
                return
            path = f"{self.path}/{document['metadata']['name']}"
            if path in api.objects:
                self._answer(409, {"kind": "Status", "reason": "AlreadyExists"}, {})
            else:
                self._answer(201, api.put(path, document, "ADDED"), {})

        def do_PATCH(self) -> None:
            document = self._body()
            if self._refused():
                return
            parts = urlsplit(self.path)
            path = parts.path.removesuffix("/status")
            if path not in api.objects:
                self._answer(404, {"kind": "Status", "message": "not found"}, {})
                return
            with api.changed:
                api.applied.append((path, parse_qs(parts.query)["fieldManager"][0], document))
                there = api.objects[path]
            status = {**(there.get("status") or {}), **(document.get("status") or {})}
            self._answer(200, api.put(path, {**there, "status": status}), {})

    return Handler


@contextmanager
def fake_kube_api(folder: Path) -> Iterator[FakeKubeApi]:
    """Serve on a port of this machine; CA and token are files in the folder."""
    certificate, key = _certificate()
    (folder / "ca.crt").write_bytes(certificate)
    (folder / "server.pem").write_bytes(certificate + key)
    (folder / "token").write_text(TOKEN + "\n")
    authority = Material(path=str(folder / "ca.crt"))
    with listening(folder / "server.pem") as listener:
        token_file = str(folder / "token")
        api = FakeKubeApi(KubeAccess(url_of(listener), authority, "", token_file=token_file))
        listener.RequestHandlerClass = _handler(api)
        try:
            yield api
        finally:
            api.cut_watches()


def _certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake")])
    begin = datetime.now(UTC) - timedelta(minutes=5)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
