"""The report for people: one HTML file, no scripts, nothing from outside, printable.

What is shown is the verdict and nothing else; the page itself decides nothing. Every text goes
through jinja2's escaping; the diagrams are made by `diagram`, which escapes its own.
"""

from dataclasses import dataclass
from datetime import datetime

from geneveil.verify.diagram import (
    DARK,
    KIND_TITLES,
    LIGHT,
    PHASE_TITLES,
    SVG_STYLE,
    draw_legend,
    draw_phase,
)
from geneveil.verify.findings import FrameCounts
from geneveil.verify.flows import Phase
from geneveil.verify.report import Report
from geneveil.verify.rollup import roll_up
from geneveil.verify.verdict import Observed, PhaseVerdict, Verdict

TEMPLATE = "report.html.j2"
_TONES = {
    Observed.ENCRYPTED: "encrypted",
    Observed.CLEAR: "clear",
    Observed.STAYED: "stayed",
}


@dataclass(frozen=True)
class Bar:
    """One bar of a chart: `percent` of the longest one."""

    label: str
    value: float
    percent: float
    tone: str


def render_html(report: Report) -> str:
    """The text of report.html: the same for the same report."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("geneveil.verify", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": lambda t: _clock(t),
        "day": lambda t: f"{t:%Y-%m-%d}",
        "number": lambda n: f"{n:,}".replace(",", "\u202f"),
    }
    verdict = report.verdict
    return environment.get_template(TEMPLATE).render(
        report=report,
        verdict=verdict,
        # Made by us, of numbers and of texts that are escaped where they are put in.
        style=Markup(f":root{{{LIGHT}}}{SVG_STYLE}"),  # noqa: S704
        dark=Markup(DARK),  # noqa: S704
        diagrams={p.phase: Markup(draw_phase(p)) for p in verdict.phases},  # noqa: S704
        legend=Markup(draw_legend()),  # noqa: S704
        phase_titles=PHASE_TITLES,
        kind_titles=KIND_TITLES,
        kinds={p.phase: tuple(roll_up(p.flows)) for p in verdict.phases},
        tone=_tone,
        counts={p.phase: count_rows(p.capture.counts) for p in verdict.phases},
        throughput=throughput_bars(verdict),
        observations=sum(len(r.observations) for p in verdict.phases for r in p.flows),
        enabled=verdict.phase(Phase.ENABLED),
        disabled=verdict.phase(Phase.DISABLED),
        uses=associations_in_use(verdict.phase(Phase.ENABLED)),
    )


def _clock(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time is not None else "never"


def _tone(observed: Observed, passed: bool) -> str:
    """The colour of an observation: what is not right is red, whatever it is."""
    return _TONES.get(observed, "wrong") if passed else "wrong"


def throughput_bars(verdict: Verdict) -> tuple[Bar, ...]:
    """TCP between pods, clear and encrypted; nothing for what was not measured."""
    measured = [
        ("clear", verdict.phase(Phase.DISABLED).throughput_mbit_s, "clear"),
        ("encrypted", verdict.phase(Phase.ENABLED).throughput_mbit_s, "encrypted"),
    ]
    highest = max((value for _, value, _ in measured if value is not None), default=0.0)
    return tuple(
        Bar(label, value, 100 * value / highest if highest else 0.0, tone)
        for label, value, tone in measured
        if value is not None
    )


def count_rows(counts: FrameCounts) -> tuple[tuple[str, int, str], ...]:
    """What the frames of a capture are: name, number, colour. They add up to the total."""
    return (
        ("ESP over IP", counts.esp, "encrypted"),
        ("ESP in UDP 4500 (NAT-T)", counts.esp_in_udp, "encrypted"),
        ("Geneve in clear", counts.geneve_clear, "clear"),
        ("IKE", counts.ike, ""),
        ("NAT-T keepalive", counts.nat_keepalive, ""),
        ("ARP", counts.arp, ""),
        ("other IP (traffic of the hosts)", counts.other_ip, ""),
        ("neither IP nor ARP", counts.other, ""),
        ("could not be parsed", counts.malformed, ""),
    )


def associations_in_use(phase: PhaseVerdict) -> tuple[int, int]:
    """How many SAs opened something, and how many there were."""
    return sum(1 for a in phase.associations if a.frames_decrypted), len(phase.associations)
