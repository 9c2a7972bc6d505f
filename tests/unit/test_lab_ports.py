"""A port for a server that starts later must still be free then."""

import socket
import subprocess
import sys
from pathlib import Path

from lab.ports import free_port, is_free

ADDRESS = "127.0.0.1"
MANY = 50
ELSEWHERE = (
    f"from lab.ports import free_port\nprint(*(free_port({ADDRESS!r}) for _ in range({MANY})))\n"
)


def test_nobody_is_given_a_port_twice_in_another_process_either() -> None:
    ports = [free_port(ADDRESS) for _ in range(MANY)]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    others = [int(word) for word in done.stdout.split()]
    assert len({*ports, *others}) == 2 * MANY


def test_the_kernel_gives_it_to_nobody_who_asks_for_any() -> None:
    with socket.create_server((ADDRESS, 0)) as listener:
        assert free_port(ADDRESS) < listener.getsockname()[1]


def test_one_that_is_taken_is_not_free() -> None:
    with socket.create_server((ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free(ADDRESS, port)
    assert is_free(ADDRESS, free_port(ADDRESS))
