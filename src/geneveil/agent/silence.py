"""Peers that do not answer although their SAs stand. Pure.

charon asks a peer from which nothing came for a while, and its SAs are taken down only after more
than a minute, and never while ESP comes in (`geneveil.agent.dead_peers`): what stands goes on
carrying through a charon that is restarted, and through a wire that is cut and mended. Until then
the pair is up, and this is what is said.
"""

from collections.abc import Mapping

from geneveil.model.connection import Connection, IkeSa, sas_by_connection
from geneveil.model.health import Finding, Severity

SILENT_SECONDS = 4.0
"""An answer needs milliseconds; one lost packet and one more are sent again within 1.2 s."""


def judge_silence(
    connections: tuple[Connection, ...],
    sas: tuple[IkeSa, ...] | None,
    before: Mapping[str, float],
    now_seconds: float,
) -> tuple[dict[str, float], list[Finding]]:
    """Decide which peers are silent.

    Args:
        sas: charon's, or None if they could not be read: then nothing is said.
        before: connection name to the moment since when its peer is being asked, as returned.
    Returns:
        What to remember, and a warning for each peer that is asked for long without an answer. An
        older IKE_SA of a pair that has a newer one is left out: it may have lost its other end.
    """
    since: dict[str, float] = {}
    findings = []
    by_connection = sas_by_connection(sas or ())
    for connection in connections:
        own = [sa for sa in by_connection.get(connection.name, ()) if sa.is_established]
        if not own or not all(sa.is_asking for sa in own):
            continue
        since[connection.name] = before.get(connection.name, now_seconds)
        if now_seconds - since[connection.name] >= SILENT_SECONDS:
            findings.append(_silent(connection))
    return since, findings


def _silent(connection: Connection) -> Finding:
    return Finding(
        "peer-silent",
        Severity.WARNING,
        f"peer {connection.remote_chassis} at {connection.remote_ip}",
        "it does not answer; its SAs stand for another minute, and for as long as ESP comes in",
        "is the node up, does its charon run, and do UDP 500, UDP 4500 and ESP get through?",
    )
