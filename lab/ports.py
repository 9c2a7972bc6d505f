"""TCP ports for servers that start later, and that come back where they were."""

import random
import socket
from pathlib import Path

from lab.errors import LabError

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_COUNT = 8192
_reserved: list[socket.socket] = []


def free_port(address: str) -> int:
    """A TCP port of this address that nobody listens on and that nobody else is given.

    The kernel gives it to nobody who asks for any port, for it is below those; and no other caller
    of this gets it, in any process of this network namespace, as long as this process lives. So it
    is still free when a server that takes seconds to start comes to it, and after a kill too.

    Raises:
        LabError: all are taken.
    """
    first = int(_RANGE.read_text().split()[0])
    candidates = list(range(max(1024, first - _COUNT), first))
    random.shuffle(candidates)
    for port in candidates:
        if is_free(address, port) and _reserve(port):
            return port
    raise LabError(f"no TCP port of {address} below {first} is free")


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: what is left of connections that ended is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def _reserve(port: int) -> bool:
    """An abstract socket's name is unique in a network namespace, and goes with its process."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0geneveil-port-{port}")
    except OSError:
        mark.close()
        return False
    _reserved.append(mark)
    return True
