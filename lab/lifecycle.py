"""A lab's life: laid out on disk, started, awaited, taken down.

Where things are, for a lab NAME:
    run folder   sockets and lock; XDG_RUNTIME_DIR or /run or /tmp, `geneveil-lab/NAME`
    data folder  `out/lab/NAME`: lab.json, capture.pcap, and a folder a guest with its disk and logs
Only the supervisor and its namespaces are alive; these folders are all that a killed lab leaves,
and the next `lab up` of that name clears them. Whose they are: see `lab.claim`.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from geneveil.model.errors import ConfigError
from lab.claim import (
    DESCRIPTION_FILE,
    LOCK_FILE,
    SPEC_FILE,
    claim_folder,
    clear_folder,
    clear_run_folder,
    refuse_foreign,
    run_folder,
    take_name,
)
from lab.errors import LabError
from lab.kube.arguments import Programs as KubePrograms
from lab.kube.in_lab import from_outside, lay_out_kube
from lab.kube.server import ApiServer
from lab.shared_folder import GUEST_FILES, Cluster, central_files, node_files
from lab.spec import (
    MANAGEMENT_BRIDGE,
    SSH_PORT,
    UNDERLAY_BRIDGE,
    Guest,
    LabSpec,
    Wire,
)
from lab.topology import (
    CENTRAL,
    NORTHBOUND_PORT,
    OPERATOR_PORT,
    Subnets,
    Topology,
    plan_topology,
)

CAPTURE_FILE = "capture.pcap"
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_MEMORY_MIB = 768
_PATH_MAX_BYTES = 107
# UML's command line and hostfs' mount options cannot quote these.
_UNQUOTABLE = " \t\n,'\"\\"


@dataclass(frozen=True)
class Programs:
    """What a guest is made of; built by `lab.build`. `kube` only for clusters on Kubernetes."""

    kernel: Path
    rootfs: Path
    site: Path
    code: Path
    kube: KubePrograms | None = None


@dataclass(frozen=True)
class LabConfig:
    """What a person asked for."""

    name: str = "lab"
    nodes: int = 3
    ipsec: bool = False
    encapsulation: str = "Auto"
    subnets: Subnets = field(default_factory=Subnets)
    data_dir: Path = Path("out/lab")
    kubernetes: bool = False

    @property
    def is_ipv6(self) -> bool:
        """Whether the underlay is."""
        return self.subnets.underlay.version == 6


@dataclass(frozen=True)
class Layout:
    """A lab on disk.

    Attributes:
        lock: descriptor that holds the lab's name, until the supervisor has it.
    """

    config: LabConfig
    topology: Topology
    cluster: Cluster
    spec: LabSpec
    lock: int
    kube_programs: KubePrograms | None = None

    @property
    def kube(self) -> ApiServer:
        """The API server of a running lab on Kubernetes."""
        if self.kube_programs is None:
            raise LabError("this lab has no API server")
        return from_outside(self.data_dir, self.run_dir, self.topology, self.kube_programs)

    @property
    def run_dir(self) -> Path:
        return Path(self.spec.run_dir)

    @property
    def data_dir(self) -> Path:
        return Path(self.spec.data_dir)

    @property
    def ssh_key(self) -> Path:
        return self.data_dir / "ssh_key"

    @property
    def capture(self) -> Path:
        return Path(self.spec.capture)

    def disk(self, guest: str) -> Path:
        return self.data_dir / guest / "disk"

    def shared(self, guest: str) -> Path:
        return self.data_dir / guest / "shared"


def lay_out(config: LabConfig, programs: Programs, cluster: Cluster, transport: str) -> Layout:
    """Take the lab's name, and write everything that its guests read.

    Raises:
        ConfigError: bad name or folder, or a lab of that name is up; nothing was changed.
    """
    topology = plan_topology(config.nodes, config.subnets)
    run_dir = run_folder(config.name)
    data_dir = (config.data_dir / config.name).resolve()
    for path in (data_dir, programs.kernel, programs.rootfs, programs.site, programs.code):
        if any(c in _UNQUOTABLE for c in str(path)):
            raise ConfigError(
                f"{path}: this folder's name cannot be given to a guest kernel",
                why="it has a blank, comma, quote or backslash in it",
                remedy="use another folder (GENEVEIL_CACHE, --data-dir)",
            )
    if len(str(run_dir / f"{CENTRAL}.65535").encode()) > _PATH_MAX_BYTES:
        raise ConfigError(f"{run_dir}: too long for a UNIX socket", remedy="set XDG_RUNTIME_DIR")
    refuse_foreign(data_dir)
    lock = take_name(config.name)
    try:
        clear_folder(run_dir, LOCK_FILE)
        claim_folder(data_dir)
        description = {"config": asdict(config), "cluster": asdict(cluster)}
        (run_dir / DESCRIPTION_FILE).write_text(
            json.dumps({**description, "data_dir": str(data_dir)}, default=str)
        )
        spec = _plan_spec(config, programs, topology, run_dir, data_dir, transport)
        if cluster.kubernetes and programs.kube is not None:
            spec = replace(spec, services=lay_out_kube(data_dir, topology, programs.kube))
        layout = Layout(config, topology, cluster, spec, lock, programs.kube)
        _write_guests(layout, programs)
        (data_dir / SPEC_FILE).write_text(spec.to_json())
    except BaseException:
        os.close(lock)
        clear_run_folder(config.name)
        raise
    return layout


def _plan_spec(
    config: LabConfig,
    programs: Programs,
    topology: Topology,
    run_dir: Path,
    data_dir: Path,
    transport: str,
) -> LabSpec:
    def guest(name: str, address: str, wires: tuple[Wire, ...], ports: tuple[int, ...]) -> Guest:
        folder = data_dir / name
        return Guest(
            name, _MEMORY_MIB, address, wires, str(folder / "shared"), str(folder / "disk"), ports
        )

    central_wire = Wire(MANAGEMENT_BRIDGE, "m0", topology.central_mac)
    guests = [
        guest(
            CENTRAL,
            str(topology.central_address.ip),
            (central_wire,),
            (SSH_PORT, NORTHBOUND_PORT, OPERATOR_PORT),
        )
    ]
    for node in topology.nodes:
        wires = (
            Wire(UNDERLAY_BRIDGE, f"u{node.number}", node.underlay_mac),
            Wire(MANAGEMENT_BRIDGE, f"m{node.number}", node.management_mac),
        )
        guests.append(guest(node.name, str(node.management.ip), wires, (SSH_PORT,)))
    return LabSpec(
        name=config.name,
        run_dir=str(run_dir),
        data_dir=str(data_dir),
        kernel=str(programs.kernel),
        rootfs=str(programs.rootfs),
        transport=transport,
        capture=str(data_dir / CAPTURE_FILE),
        witness_address=str(topology.witness_address),
        guests=tuple(guests),
    )


def _write_guests(layout: Layout, programs: Programs) -> None:
    import asyncssh

    user_key = asyncssh.generate_private_key("ssh-ed25519")
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    _write_private(layout.ssh_key, user_key.export_private_key())
    for name in layout.topology.guests:
        shared, disk = layout.shared(name), layout.disk(name)
        shutil.copytree(GUEST_FILES, shared)
        disk.mkdir(parents=True, exist_ok=True)
        folders = {"disk": disk, "site": programs.site, "code": programs.code}
        if name == CENTRAL:
            files = central_files(layout.topology, layout.cluster, folders)
        else:
            node = layout.topology.node(name)
            files = node_files(node, layout.topology, layout.cluster, folders)
        for path, text in files.items():
            (shared / path).parent.mkdir(exist_ok=True)
            (shared / path).write_text(text)
        (shared / "authorized_keys").write_bytes(user_key.export_public_key())
        _write_private(shared / "ssh_host_key", host_key.export_private_key())


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


class Supervised:
    """A running supervisor, seen from outside its namespaces."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._lock: int | None = layout.lock

    @property
    def _log(self) -> Path:
        return self.layout.data_dir / "supervisor.log"

    async def start(self) -> None:
        """Start namespaces, wires, witness and guests; they end when this process does.

        Raises:
            LabError: the namespaces or wires could not be made; with the supervisor's words.
        """
        read_end, write_end = os.pipe()
        command = [
            "unshare",
            *("--net", "--pid", "--mount", "--ipc", "--fork", "--kill-child=SIGKILL"),
            "--mount-proc",
            *(() if os.geteuid() == 0 else ("--user", "--map-root-user", "--map-auto")),
            sys.executable,
            *("-m", "lab.supervisor", str(self.layout.data_dir / SPEC_FILE), str(read_end)),
        ]
        # UML keeps a guest's memory in a file under TMPDIR; on a disk it would be written back.
        environment = {**os.environ, "TMPDIR": "/dev/shm"}  # noqa: S108
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=Path(__file__).parent.parent,
                    env=environment,
                    start_new_session=True,
                    pass_fds=(read_end, self.layout.lock),
                )
        except OSError as error:
            raise LabError("the lab's supervisor did not start", why=str(error)) from error
        self._let_go_of_name()  # from here on it is the supervisor's
        os.close(read_end)
        self._lifeline = write_end
        (self.layout.run_dir / "pid").write_text(str(self._process.pid))
        await self._await_control()

    async def _await_control(self) -> None:
        control = self.layout.run_dir / "control"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_SECONDS
        while not control.exists():
            status = self._process.poll() if self._process else 1
            if status is not None or loop.time() > deadline:
                words = self._log.read_text().strip()[-600:]
                raise LabError("the lab's supervisor did not start", why=words)
            await asyncio.sleep(0.02)

    def keep(self) -> None:
        """Let the lab outlive this process."""
        if self._lifeline is not None:
            os.write(self._lifeline, b"k")
            os.close(self._lifeline)
            self._lifeline = None

    async def order(self, what: str, guest: str | None = None) -> dict[str, Any]:
        return await send_order(self.layout.run_dir, what, guest)

    async def stop(self) -> None:
        """End everything that the lab runs; wait until it is gone.

        By the lifeline, which is this lab's alone: whoever has the name by now is not disturbed.
        """
        self._let_go_of_name()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if self._process is not None:
            try:
                await asyncio.to_thread(self._process.wait, _STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
        clear_run_folder(self.layout.config.name)

    def _let_go_of_name(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


async def send_order(run_dir: Path, what: str, guest: str | None = None) -> dict[str, Any]:
    """Give the supervisor one order and return the lab's status after it.

    Raises:
        LabError: it refused; in its words.
        OSError: no supervisor there.
    """
    reader, writer = await asyncio.open_unix_connection(str(run_dir / "control"))
    order = {"do": what} | ({"guest": guest} if guest else {})
    writer.write(json.dumps(order).encode() + b"\n")
    await writer.drain()
    line = await reader.readline()
    writer.close()
    if not line:
        raise LabError(f"the lab's supervisor ended while asked to {what}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise LabError(f"the lab refused to {what} {guest or ''}".rstrip(), why=answer["error"])
    return answer


@contextlib.asynccontextmanager
async def supervised(layout: Layout) -> AsyncIterator[Supervised]:
    """A lab for as long as the block runs, and not a moment longer."""
    lab = Supervised(layout)
    try:
        await lab.start()
        yield lab
    finally:
        await lab.stop()
