"""Starts and stops one etcd and one kube-apiserver, and makes credentials for it."""

import datetime
import http.client
import json
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.kube import kubeconfig
from lab.kube.arguments import (
    AUDIT_POLICY,
    Layout,
    Programs,
    api_server_command,
    etcd_command,
)
from lab.kube.authority import issue_client, write_authority, write_private
from lab.kube.daemon import Daemon
from lab.ports import free_port

_READY_SECONDS = 300.0
_POLL_SECONDS = 0.1
_KUBECTL_SECONDS = 300.0
ADMIN_GROUPS = ("system:masters",)
NODE_GROUPS = ("system:nodes",)


def prepare(layout: Layout) -> None:
    """Write all that the two programs read: keys, certificates, audit policy, admin's kubeconfig.

    A folder can be started again, at another address too: only CA, token key and objects stay.
    """
    layout.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # They name the address of the last time.
    shutil.rmtree(layout.folder / "kubeconfigs", ignore_errors=True)
    write_authority(layout, _now())
    layout.audit_policy.write_text(AUDIT_POLICY)
    write_kubeconfig(layout, "admin", ADMIN_GROUPS)


def write_kubeconfig(layout: Layout, user: str, groups: tuple[str, ...] = ()) -> Path:
    """A kubeconfig with a client certificate for this user in these groups."""
    path = layout.folder / "kubeconfigs" / f"{_file_name(user, groups)}.kubeconfig"
    if not path.exists():
        certificate, key = issue_client(layout.pki, user, groups, _now())
        text = kubeconfig.with_certificate(layout.url, _authority(layout), certificate, key)
        _write(path, text)
    return path


def write_token_kubeconfig(layout: Layout, name: str, token: str) -> Path:
    """A kubeconfig with a bearer token. `name` is the file's only."""
    path = layout.folder / "kubeconfigs" / f"token-{_file_name(name, ())}.kubeconfig"
    _write(path, kubeconfig.with_token(layout.url, _authority(layout), token))
    return path


class ApiServer:
    """A running kube-apiserver with its etcd; `ApiServer.start(...)` makes one.

    Usable as a context manager: leaving it stops both programs.
    """

    def __init__(self, layout: Layout, programs: Programs) -> None:
        self.layout = layout
        self.programs = programs
        self.prefix: tuple[str, ...] = ()
        """What kubectl is run through, such as nsenter(1)."""
        folder = layout.folder
        self.etcd = Daemon(etcd_command(programs, layout), folder, folder / "etcd.log")
        self.api = Daemon(
            api_server_command(programs, layout), folder, folder / "kube-apiserver.log"
        )

    @classmethod
    def start(
        cls,
        folder: Path,
        programs: Programs,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        names: tuple[str, ...] = (),
    ) -> "ApiServer":
        """Start both and wait until the API server says that it is ready.

        Args:
            folder: keeps everything; a folder of an earlier run goes on where it was.
            port: 0 takes a free one.
            names: other names of the API server, for its certificate.
        Raises:
            LabError: not ready in time, or a program ended; has the end of its log.
        """
        layout = Layout(folder.absolute(), address, port or free_port(address), names)
        prepare(layout)
        server = cls(layout, programs)
        try:
            server.start_all()
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def url(self) -> str:
        return self.layout.url

    @property
    def authority(self) -> Path:
        """PEM file of the CA that signed the API server's certificate."""
        return self.layout.pki / "ca.crt"

    def start_all(self, seconds: float = _READY_SECONDS) -> None:
        """Start what doesn't run; returns when the API server is ready."""
        self.etcd.start()
        self.api.start()
        self.wait_ready(seconds)

    def stop(self) -> None:
        """Stop both; etcd last. Objects stay in the folder."""
        self.api.stop()
        self.etcd.stop()

    def restart(self) -> None:
        """Stop both and start them again, at the same address."""
        self.stop()
        self.start_all()

    def kill_etcd(self) -> None:
        """End etcd as a crash would; the API server stays. `start_all` heals."""
        self.etcd.kill()

    def kill_api_server(self) -> None:
        """End the API server as a crash would; etcd stays. `start_all` heals."""
        self.api.kill()

    def snapshot(self, to: Path) -> None:
        """Copy etcd's data to a new folder. Both programs are stopped meanwhile and run after."""
        self.stop()
        shutil.copytree(self.layout.etcd_data, to)
        self.start_all()

    def restore(self, source: Path) -> None:
        """Go back to the objects of a snapshot, with all its resource versions."""
        self.stop()
        shutil.rmtree(self.layout.etcd_data)
        shutil.copytree(source, self.layout.etcd_data)
        self.start_all()

    def kubeconfig(self, user: str = "admin", groups: tuple[str, ...] = ADMIN_GROUPS) -> Path:
        """A kubeconfig file with a client certificate for this user in these groups."""
        return write_kubeconfig(self.layout, user, groups)

    def node_kubeconfig(self, node: str) -> Path:
        """The kubelet's own credentials of a node."""
        return self.kubeconfig(f"system:node:{node}", NODE_GROUPS)

    def token_kubeconfig(self, name: str, token: str) -> Path:
        """A kubeconfig file with a bearer token; `name` is the file's only."""
        return write_token_kubeconfig(self.layout, name, token)

    def kubectl(
        self, *arguments: str, stdin: str | None = None, config: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl to its end, whatever its status; as admin if no kubeconfig is given."""
        cache = self.layout.folder / "kubectl-cache"
        command = [
            *self.prefix,
            str(self.programs.kubectl),
            f"--kubeconfig={config or self.kubeconfig()}",
            f"--cache-dir={cache}",
            *arguments,
        ]
        return subprocess.run(
            command,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=_KUBECTL_SECONDS,
            check=False,
        )

    def kubectl_json(
        self, *arguments: str, stdin: Any = None, config: Path | None = None
    ) -> dict[str, Any]:
        """As `kubectl` with `-o json`; a document on its standard input, one as the answer.

        Raises:
            LabError: kubectl failed; has what it said.
        """
        text = None if stdin is None else json.dumps(stdin)
        done = self.kubectl(*arguments, "-o", "json", stdin=text, config=config)
        if done.returncode:
            raise LabError(f"kubectl {' '.join(arguments)} failed", why=done.stderr.strip())
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def post(self, path: str, document: Any, *, config: Path | None = None) -> dict[str, Any]:
        """POST one document to a path of the API, for what kubectl has no command.

        Raises:
            LabError: refused; has the API server's words.
        """
        text = json.dumps(document)
        done = self.kubectl("create", f"--raw={path}", "-f", "-", stdin=text, config=config)
        if done.returncode:
            raise LabError(f"POST {path} failed", why=done.stderr.strip())
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def server_version(self) -> str:
        """Such as v1.37.2; LabError if it does not say."""
        return str(self.kubectl_json("version")["serverVersion"]["gitVersion"])

    def requests(self) -> list[dict[str, Any]]:
        """All audited requests so far: audit.k8s.io/v1 Events."""
        try:
            lines = self.layout.audit_log.read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        # The last one may be half written.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until /readyz says so.

        Raises:
            LabError: it did not in time, or a program ended.
        """
        end = time.monotonic() + seconds
        context = self._client_context()
        said = ""
        while time.monotonic() < end:
            for daemon in (self.etcd, self.api):
                if not daemon.running:
                    raise LabError(f"{daemon.name} ended while starting", why=daemon.last_lines())
            status, said = self._readyz(context)
            if status == http.HTTPStatus.OK:
                return
            time.sleep(_POLL_SECONDS)
        logs = f"{self.api.last_lines()}\n{self.etcd.last_lines()}"
        raise LabError(
            f"the API server at {self.url} was not ready within {seconds:g} s",
            why=f"/readyz said: {said}\n{logs}",
        )

    def watch(self, is_over: Callable[[], bool]) -> None:
        """Return once it is over, not before, as long as both programs run.

        Raises:
            LabError: one of them ended; has the end of its log.
        """
        while not is_over():
            for daemon in (self.etcd, self.api):
                if not daemon.running:
                    raise LabError(f"{daemon.name} ended", why=daemon.last_lines())
            time.sleep(_POLL_SECONDS)

    def _client_context(self) -> ssl.SSLContext:
        certificate, key = issue_client(self.layout.pki, "readiness", ADMIN_GROUPS, _now())
        path = self.layout.pki / "readiness.pem"
        write_private(path, certificate + key)
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(path)
        return context

    def _readyz(self, context: ssl.SSLContext) -> tuple[int, str]:
        connection = http.client.HTTPSConnection(
            self.layout.address, self.layout.port, timeout=5, context=context
        )
        try:
            connection.request("GET", "/readyz?verbose")
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def __enter__(self) -> "ApiServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _authority(layout: Layout) -> bytes:
    return (layout.pki / "ca.crt").read_bytes()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, text.encode())


def _file_name(user: str, groups: tuple[str, ...]) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", "+".join((user, *groups)))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
