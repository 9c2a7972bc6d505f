"""What `operator ca status` shows: where the roll-over stands, who is missing, what is next.

Made from what is on the disk, so that it works whether or not the operator runs. Who is live is
judged by the times that the operator wrote down; the operator itself judges by what it hears.
"""

from datetime import datetime
from typing import Any

from geneveil.operator.audit import TIME_FORMAT
from geneveil.operator.clock_leap import is_leap
from geneveil.operator.cluster import authority_certificate, authority_sha256
from geneveil.operator.confirmations import LiveTerms
from geneveil.operator.registry import read_trust_state
from geneveil.operator.rollover_view import gather_rollover
from geneveil.operator.store import Store
from geneveil.operator.trust_state import TrustState
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.authority import serial_text
from geneveil.pki.crl import read_crl_state
from geneveil.pki.rollover import RULES, Phase, decide_phase

MOST_SHOWN = 200
"""Missing nodes that are listed; all are counted."""


def ca_document(
    store: Store,
    now: datetime,
    is_running: bool,
    terms: LiveTerms | None = None,
    believed_at: datetime | None = None,
) -> dict[str, Any]:
    """Where the cluster's trust stands.

    Args:
        terms: of the operator that runs; None for the defaults.
        believed_at: the latest time that the operator believed, as far as it was kept.
    """
    state, live = read_trust_state(store, now), terms or LiveTerms()
    confirmations = {said.chassis: said for said in TrustTables(store).read_confirmations()}
    view = gather_rollover(
        store,
        state,
        confirmations.get,
        lambda chassis: live.is_live(confirmations.get(chassis), now),
        now,
    )
    verdict = decide_phase(view)
    trust, rule = state.trust, RULES[state.trust.phase]
    is_waiting = trust.phase is not Phase.STEADY
    missing = [{"chassis": one.chassis, "why": one.why} for one in verdict.missing if is_waiting]
    return {
        "phase": trust.phase.value,
        "since": _since(trust.phase_since),
        "reason": trust.phase_reason,
        "next": rule.following.value,
        "waitsFor": rule.waits_for if is_waiting else "",
        "nextRotation": None if is_waiting else view.rotate_at.strftime(TIME_FORMAT),
        "isRequested": trust.requested_at is not None,
        "isOperatorRunning": is_running,
        "clockBelievedAt": believed_at.strftime(TIME_FORMAT) if believed_at else None,
        "isClockBelieved": believed_at is None or not is_leap(believed_at, now),
        "missing": missing[:MOST_SHOWN],
        "missingCount": len(missing),
        "waveSeconds": int(trust.wave.total_seconds()),
        "generation": trust.generation,
        "epoch": trust.epoch,
        "authorities": [_authority(state, index, now) for index in range(len(view.authorities))],
    }


def _since(at: datetime) -> str | None:
    return at.strftime(TIME_FORMAT) if at.timestamp() > 0 else None


def _authority(state: TrustState, index: int, now: datetime) -> dict[str, Any]:
    record = state.cluster.authorities[index]
    certificate = authority_certificate(record)
    crl = next((one for one in state.crls if one.authority_id == record.authority_id), None)
    said = read_crl_state(crl.crl_pem) if crl else None
    return {
        "authority": record.authority_id,
        "sha256": authority_sha256(record),
        "serial": serial_text(certificate.serial_number),
        "subject": certificate.subject.rfc4514_string(),
        "isSigning": record.is_signing,
        "isServing": record == state.cluster.serving_authority(now),
        "notBefore": certificate.not_valid_before_utc.strftime(TIME_FORMAT),
        "notAfter": certificate.not_valid_after_utc.strftime(TIME_FORMAT),
        "crlNumber": said.number if said else None,
        "crlThisUpdate": said.this_update.strftime(TIME_FORMAT) if said else None,
        "crlNextUpdate": said.next_update.strftime(TIME_FORMAT) if said else None,
        "crlEntries": len(said.serials) if said else 0,
    }
