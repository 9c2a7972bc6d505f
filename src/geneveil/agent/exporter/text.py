"""The node's status in Prometheus' text format. Pure.

What could not be read is left out: a missing series is seen as such, a 0 would be believed.
Source: prometheus.io, "Exposition formats", text-based format 0.0.4.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from geneveil.model.node_status import NodeStatus, PeerState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Metric:
    """One metric with its samples."""

    name: str
    kind: str
    help: str
    samples: tuple[tuple[Labels, float], ...]


def render_metrics(status: NodeStatus) -> str:
    """Every metric, each with HELP and TYPE; ends with a line feed."""
    lines: list[str] = []
    for metric in (*_agent(status), *_guard(status), *_sentinel(status), *_trust(status)):
        if metric.samples:
            lines += [
                f"# HELP geneveil_{metric.name} {metric.help}",
                f"# TYPE geneveil_{metric.name} {metric.kind}",
            ]
            lines += [f"geneveil_{metric.name}{_labels(k)} {v:.15g}" for k, v in metric.samples]
    return "\n".join(lines) + "\n"


def _agent(status: NodeStatus) -> Iterable[Metric]:
    about = {"version": status.version, "chassis": status.chassis, "mode": status.mode}
    up = sum(peer.state is PeerState.UP for peer in status.peers)
    health = tuple(
        (
            {
                "code": value.finding.code,
                "severity": value.finding.severity.value,
                "subject": value.finding.subject,
            },
            1.0,
        )
        for value in status.health
    )
    return (
        Metric("agent_info", "gauge", "What runs here; always 1.", ((about, 1.0),)),
        Metric(
            "last_turn_timestamp_seconds",
            "gauge",
            "When the agent last looked at everything.",
            (({}, status.written_at.timestamp()),),
        ),
        Metric("peers", "gauge", "Pairs that this node should have.", (({}, len(status.peers)),)),
        Metric("peers_up", "gauge", "Pairs that are encrypted and carry.", (({}, up),)),
        Metric("health", "gauge", "One for each thing that is wrong now; always 1.", health),
    )


def _guard(status: NodeStatus) -> Iterable[Metric]:
    guard = status.guard
    if guard is None:
        return ()
    packets = tuple(({"reason": c.value}, float(t.packets)) for c, t in guard.counters.items())
    sizes = tuple(({"reason": c.value}, float(t.bytes)) for c, t in guard.counters.items())
    what = "Geneve without IPsec that the guard dropped"
    return (
        Metric(
            "guard_in_place",
            "gauge",
            "1 if the guard stands unaltered for all ports.",
            (({}, float(guard.in_place)),),
        ),
        Metric(
            "guard_bolted",
            "gauge",
            "1 if its rules stand once more where nobody but the agent can take them away.",
            (({}, float(guard.is_bolted)),),
        ),
        Metric(
            "guard_disturbances_total",
            "counter",
            "How often somebody removed or altered the guard while this agent ran.",
            (({}, guard.disturbances),),
        ),
        Metric("guard_dropped_packets_total", "counter", f"{what}, packets.", packets),
        Metric("guard_dropped_bytes_total", "counter", f"{what}, bytes.", sizes),
    )


def _sentinel(status: NodeStatus) -> Iterable[Metric]:
    sentinel = status.sentinel
    if sentinel is None:
        return ()
    words = {counter: counter.value.removeprefix("wire_") for counter in sentinel.counters}
    tallies = sentinel.counters.items()
    frames = tuple(({"direction": words[c]}, float(t.packets)) for c, t in tallies)
    sizes = tuple(({"direction": words[c]}, float(t.bytes)) for c, t in tallies)
    what = "Geneve in clear at the underlay interface"
    return (
        Metric(
            "sentinel_in_place",
            "gauge",
            "1 if the leak sentinel stands at an interface.",
            (({}, float(bool(sentinel.devices))),),
        ),
        Metric("sentinel_cleartext_frames_total", "counter", f"{what}, frames.", frames),
        Metric("sentinel_cleartext_bytes_total", "counter", f"{what}, bytes.", sizes),
    )


def _trust(status: NodeStatus) -> Iterable[Metric]:
    if status.certificate is None:
        return ()
    end = status.certificate.not_after.timestamp()
    name = "certificate_not_after_timestamp_seconds"
    return (Metric(name, "gauge", "When this node's certificate ends.", (({}, end),)),)


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
