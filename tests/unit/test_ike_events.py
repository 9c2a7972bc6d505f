"""The agent is woken when charon comes and goes, not at each look for one that is away."""

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from geneveil.ike.io import ViciEvents


def test_a_charon_that_is_away_wakes_nobody(tmp_path: Path) -> None:
    wakes: list[None] = []
    events = ViciEvents(f"unix://{tmp_path}/vici", lambda: wakes.append(None))
    with pytest.raises(FileNotFoundError):
        events._listen()
    assert wakes == []


def test_a_charon_that_came_and_went_wakes_twice(tmp_path: Path) -> None:
    wakes: list[None] = []
    events = ViciEvents(f"unix://{tmp_path}/vici", lambda: wakes.append(None))
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(f"{tmp_path}/vici")
        listening.listen(1)
        closing = threading.Thread(target=lambda: listening.accept()[0].close())
        closing.start()
        with pytest.raises(OSError):
            events._listen()
        closing.join()
    assert len(wakes) == 2
