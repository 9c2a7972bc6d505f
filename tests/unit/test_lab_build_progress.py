"""What people see of a build where there is no terminal."""

import pytest

from lab.build.meter import Meter, Step
from lab.build.progress import PlainLines, clock


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0, "1 s"), (7.4, "7 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s")]
)
def test_seconds_as_people_read_them(seconds: float, said: str) -> None:
    assert clock(seconds) == said


def test_a_line_for_each_step_and_not_for_each_count(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines()
    meter = Meter((Step("fetch", 10), Step("compile", 120)), now=0)
    lines.begin("kernel", "kernel", meter)
    for step in ("fetch", "compile"):
        meter.begin(step, 0)
        for share in (0.01, 0.02, 0.03):
            meter.count(share)
            lines.moved("kernel")
    lines.end("kernel", "failed")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "building the kernel, about 2 min 10 s"
    assert [line.split(",")[0] for line in said[1:3]] == [
        "kernel 1/2: fetch",
        "kernel 2/2: compile",
    ]
    assert said[3].startswith("kernel: failed after")
    assert len(said) == 4
