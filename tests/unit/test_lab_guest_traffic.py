"""The guest's sender: when a numbered packet was sent."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).parents[2] / "lab" / "guest" / "traffic.py"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guest_traffic", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_packet_was_sent_with_its_burst(program: ModuleType) -> None:
    bursts = program.Bursts()
    bursts.note(3, 10.0)  # 0 to 2
    bursts.note(1, 10.5)  # 3
    bursts.note(4, 20.0)  # 4 to 7
    assert [bursts.when(number, 99.0) for number in (0, 2, 3, 4, 7)] == [10, 10, 10.5, 20, 20]


def test_one_that_was_not_sent_yet_is_sent_now_at_the_earliest(program: ModuleType) -> None:
    bursts = program.Bursts()
    assert bursts.when(0, 99.0) == 99.0
    bursts.note(3, 10.0)
    assert bursts.when(3, 99.0) == 99.0
