"""What every agent is told: the ConfigMap `geneveil-trust`. Pure.

It is written once for all nodes, and grows with revoked certificates; and for as long as it takes
with certificates that are to be replaced because the ledger does not know them.
In SWITCH each node computes its own place in the wave (`geneveil.pki.rollover.plan_wave`); in all
other phases a node whose authority does not sign is late already.
"""

import json
from typing import Any

from geneveil.enroll.settings import settings_document
from geneveil.kube.csr_wire import time_text
from geneveil.kube.kinds import TRUST_CONFIG_MAP
from geneveil.kube.port import Document
from geneveil.operator.trust_state import TrustState
from geneveil.pki.rollover import Phase

TRUST_KEY = "trust.json"


def trust_document(
    state: TrustState,
    namespace: str,
    expired_chassis: tuple[str, ...] = (),
    reissue: tuple[str, ...] = (),
) -> Document:
    """The ConfigMap; the same state makes the same document.

    Args:
        expired_chassis, reissue: as in `WatchAnswer`.
    """
    content = {
        "generation": state.trust.generation,
        "trustBundle": state.cluster.trust_bundle_pem.decode("ascii"),
        "crls": [crl.decode("ascii") for crl in state.crls_pem],
        "revokedChassis": list(state.revoked_chassis),
        "expiredChassis": list(expired_chassis),
        "renewFrom": state.sha256[state.signing.authority_id],
        "wave": _wave(state),
        "settings": settings_document(state.cluster.settings),
        **({"reissue": list(reissue)} if reissue else {}),
    }
    return {
        "metadata": {"name": TRUST_CONFIG_MAP, "namespace": namespace},
        "data": {TRUST_KEY: json.dumps(content, separators=(",", ":"))},
    }


def published_generation(document: Document) -> int:
    """The generation that a ConfigMap tells of; 0 if it can't be read: it is to be written anew."""
    try:
        generation = json.loads(document["data"][TRUST_KEY])["generation"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return 0
    return generation if type(generation) is int else 0


def _wave(state: TrustState) -> dict[str, Any] | None:
    if state.trust.phase is not Phase.SWITCH:
        return None
    old = state.cluster.authorities[0]
    return {
        "since": time_text(state.trust.phase_since),
        "seconds": int(state.trust.wave.total_seconds()),
        "authority": state.sha256[old.authority_id],
    }
