"""Joins standard input and output to a UNIX socket: what ssh(1) calls a ProxyCommand."""

import os
import selectors
import socket
import sys

_CHUNK_BYTES = 65536


def relay(path: str) -> None:
    """Copy both ways until the far end closes."""
    with socket.socket(socket.AF_UNIX) as far, selectors.DefaultSelector() as selector:
        far.connect(path)
        selector.register(0, selectors.EVENT_READ)
        selector.register(far, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == 0:
                    data = os.read(0, _CHUNK_BYTES)
                    if not data:
                        selector.unregister(0)
                        far.shutdown(socket.SHUT_WR)
                    else:
                        far.sendall(data)
                else:
                    data = far.recv(_CHUNK_BYTES)
                    if not data:
                        return
                    view = memoryview(data)
                    while view:
                        view = view[os.write(1, view) :]


if __name__ == "__main__":
    relay(sys.argv[1])
