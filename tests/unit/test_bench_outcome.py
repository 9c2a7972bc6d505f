"""What benchmarks make of their figures."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.audited import count_requests
from bench.chart import Chart, draw
from bench.kubernetes import FIGURES, ratios
from bench.outcome import Figure, latency_figures, parse_arguments, publish, run
from bench.progress import counted

_SVG = "{http://www.w3.org/2000/svg}"


def test_latencies() -> None:
    seconds = [float(number) for number in range(200, 0, -1)]
    assert latency_figures(seconds) == {
        "latencyMedianSeconds": 101.0,
        "latency99Seconds": 199.0,
    }
    assert latency_figures([2.5])["latency99Seconds"] == 2.5


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.0, 0.0], [3.02, 3.02]])
def test_a_chart_has_a_bar_for_each_value_as_high_as_it_is(values: list[float]) -> None:
    drawn = ElementTree.fromstring(draw(Chart("a < b", [100, 1000], values)))  # noqa: S314
    heights = [float(bar.attrib["height"]) for bar in drawn.iter(f"{_SVG}rect")]
    assert len(heights) == 2
    assert heights[0] * values[1] == pytest.approx(heights[1] * values[0], abs=0.2)
    words = [text.text for text in drawn.iter(f"{_SVG}text")]
    assert words[0] == "a < b"
    assert {"100", "1,000"} <= set(words)


def test_results_are_written_for_machines_and_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = (
        Figure("nodes", lambda one: one["nodes"]),
        Figure("cost <each>", lambda one: one["cost"], is_drawn=True),
    )
    results = [{"nodes": 10, "cost": 1.5}, {"nodes": 100, "cost": 1.25}]
    publish(tmp_path / "new", "what", figures, results, ratios={"cost": 0.83})
    written = json.loads((tmp_path / "new/what.json").read_text())
    assert (written["results"], written["ratios"]) == (results, {"cost": 0.83})
    page = (tmp_path / "new/what.html").read_text()
    assert "cost &lt;each&gt;" in page
    assert "<each>" not in page
    assert "<td>1.25</td>" in page
    assert page.count("<svg") == 1
    assert "1.25" in capsys.readouterr().out


def _result(nodes: int, requests: float, cpu: float) -> dict[str, Any]:
    each = {"operator": {"each": requests}, "agents": {"each": 12.0}}
    return {"nodes": nodes, "requests": each, "cpuMillisecondsEach": {"operator": cpu}}


def test_ratios_show_what_grows() -> None:
    found = ratios([_result(100, 3.0, 4.0), _result(1000, 3.0, 8.0)])
    assert found == {
        "requests of operator a node, 1000/100": 1.0,
        "requests of agents a node, 1000/100": 1.0,
        "processor time of the operator a node, 1000/100": 2.0,
    }
    assert {figure.title for figure in FIGURES if figure.is_drawn}


def test_requests_are_counted_once() -> None:
    event: dict[str, Any] = {
        "auditID": "a",
        "requestReceivedTimestamp": "2026-05-01T12:00:00.000000Z",
        "user": {"username": "agent"},
        "verb": "watch",
        "objectRef": {"resource": "configmaps"},
        "responseStatus": {"code": 200},
    }
    late = {**event, "auditID": "b", "responseStatus": {"code": 429}}
    early = {**event, "auditID": "c", "requestReceivedTimestamp": "2026-05-01T11:00:00.000000Z"}
    asked = count_requests([event, event, late, early], "2026-05-01T12:00:00.000000Z")["agent"]
    assert asked.requests == {("watch", "configmaps"): 2}
    assert asked.turned_away == 1


def test_a_count_of_no_nodes_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("0", "x", "-1", "10,100"):
        monkeypatch.setattr("sys.argv", ["bench", f"--nodes={word}"])
        with pytest.raises(SystemExit) as raised:
            parse_arguments("Measures.", (10,))
        assert raised.value.code == 2
        assert f"{word!r} is no number of nodes" in capsys.readouterr().err


def test_ctrl_c_ends_it_in_a_clean_way(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with counted("things", 3) as tell:
            tell(1)
            raise KeyboardInterrupt

    with pytest.raises(SystemExit) as raised:
        run(work)
    assert raised.value.code == 130
    assert "stopped" in capsys.readouterr().err
