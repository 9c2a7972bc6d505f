"""Pure: everything that the supervisor needs to know to run one lab, as one JSON document.

The command line decides it; the supervisor, which runs alone in its namespaces with nothing but
the standard library, does what it says.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

UNDERLAY_BRIDGE = "underlay"
MANAGEMENT_BRIDGE = "management"
SSH_PORT = 22


@dataclass(frozen=True)
class Wire:
    """One network card of a guest.

    Attributes:
        bridge: the wire it is on.
        interface: the end that the guest's kernel opens, in the lab's network namespace.
        mac: the guest's own address on it.
    """

    bridge: str
    interface: str
    mac: str


@dataclass(frozen=True)
class Guest:
    """One User-Mode Linux guest.

    Attributes:
        shared: host folder mounted at /lab in the guest (what it is to be).
        disk: host folder mounted at /disk (what survives a power cut; logs).
        ports: TCP ports on its management address that the host reaches through a UNIX socket.
    """

    name: str
    memory_mib: int
    address: str
    wires: tuple[Wire, ...]
    shared: str
    disk: str
    ports: tuple[int, ...]


@dataclass(frozen=True)
class Service:
    """A program that runs beside the guests, in the lab's network namespace.

    Attributes:
        folder: its working folder.
        log: where both its outputs go.
    """

    name: str
    command: tuple[str, ...]
    folder: str
    log: str


@dataclass(frozen=True)
class LabSpec:
    """One lab.

    Attributes:
        run_dir: sockets, lock; short, because a UNIX socket's path has at most 107 bytes.
        transport: "tap" where /dev/net/tun may be opened, else "raw" (packet sockets on veths).
    """

    name: str
    run_dir: str
    data_dir: str
    kernel: str
    rootfs: str
    transport: str
    capture: str
    witness_address: str
    guests: tuple[Guest, ...]
    services: tuple[Service, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def parse_spec(text: str) -> LabSpec:
    """The inverse of `LabSpec.to_json`."""
    raw = json.loads(text)
    guests = tuple(
        Guest(
            **{
                **guest,
                "wires": tuple(Wire(**wire) for wire in guest["wires"]),
                "ports": tuple(guest["ports"]),
            }
        )
        for guest in raw["guests"]
    )
    services = tuple(
        Service(**{**service, "command": tuple(service["command"])}) for service in raw["services"]
    )
    return LabSpec(**{**raw, "guests": guests, "services": services})


def forward_socket(run_dir: str | Path, guest: str, port: int) -> Path:
    """Where the host finds a guest's TCP port."""
    return Path(run_dir) / f"{guest}.{port}"


def plan_wires(spec: LabSpec) -> list[str]:
    """`ip -batch` lines that make the bridges and every guest's cards.

    A bridge learns nothing that could hide a frame from the witness: it floods unknown addresses
    and hands a copy of every frame to the bridge's own (promiscuous) device.
    """
    lines = ["link set lo up"]
    for bridge in (UNDERLAY_BRIDGE, MANAGEMENT_BRIDGE):
        lines += [
            f"link add {bridge} type bridge forward_delay 0 mcast_snooping 0",
            f"link set {bridge} up",
        ]
    lines.append(f"addr add {spec.witness_address} dev {MANAGEMENT_BRIDGE}")
    for guest in spec.guests:
        for wire in guest.wires:
            if spec.transport == "tap":
                lines.append(f"tuntap add mode tap name {wire.interface}")
                port = wire.interface
            else:
                port = f"p{wire.interface}"
                lines.append(f"link add {port} type veth peer name {wire.interface}")
                lines.append(f"link set {wire.interface} up")
            lines.append(f"link set {port} master {wire.bridge} up")
    return lines


def guest_command(spec: LabSpec, guest: Guest) -> list[str]:
    """The command line that boots one guest.

    `panic=-1` and `oops=panic`: a kernel that is not well ends instead of passing tests.
    The part after `--` becomes the arguments of /bin/sh, which mounts the guest's shared folder
    and hands over to `lab/guest/init`; its double quotes are for the kernel's own parser.
    """
    boot = f"mount -t proc proc /proc; mount -t hostfs none /mnt -o hostfs={guest.shared}"
    cards = [
        f"vec{index}:transport={spec.transport},ifname={wire.interface},depth=128,gro=1,"
        f"mac={wire.mac}"
        for index, wire in enumerate(guest.wires)
    ]
    return [
        spec.kernel,
        "root=/dev/root",
        "rootfstype=hostfs",
        f"rootflags={spec.rootfs}",
        "ro",
        f"mem={guest.memory_mib}M",
        f"umid={spec.name}-{guest.name}",
        f"uml_dir={spec.run_dir}/uml",
        "panic=-1",
        "oops=panic",
        "quiet",
        "con=null",
        "con0=fd:0,fd:1",
        "init=/bin/sh",
        *cards,
        "--",
        "-c",
        f'"{boot}; exec /bin/sh /mnt/init"',
    ]
