"""The report for people: one HTML file, no scripts, nothing from outside, printable."""

from geneveil.verify.report import Report


def render_html(report: Report) -> str:
    """The text of report.html."""
    return report.to_json()
