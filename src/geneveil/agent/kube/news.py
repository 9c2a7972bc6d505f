"""What the ConfigMap `geneveil-trust` says, and what of it concerns this node. Pure.

    {"generation": 7, "trustBundle": PEM, "crls": [PEM…], "revokedChassis": [name…],
     "expiredChassis": [name…], "renewFrom": sha256,
     "wave": null | {"since": time, "seconds": n, "authority": sha256},
     "settings": {…}, "reissue": [serial…]}  settings: see geneveil.enroll.settings

Who renews when in a roll-over each node computes for itself.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from geneveil.enroll.port import WatchAnswer
from geneveil.enroll.settings import parse_settings
from geneveil.enroll.watch_wire import parse_watch_answer
from geneveil.kube.kinds import TRUST_CONFIG_MAP
from geneveil.kube.port import Document
from geneveil.model.cluster import ClusterSettings
from geneveil.model.errors import TrustError
from geneveil.pki.keyfiles import NamedBytes, find_issuer, parse_bundle, parse_certificate
from geneveil.pki.renewal import renewal_fraction
from geneveil.pki.rollover import plan_wave

TRUST_KEY = "trust.json"
_LONGEST_WAVE_SECONDS = 100 * 365 * 86400


@dataclass(frozen=True)
class Wave:
    """A roll-over in which nodes renew one after another.

    Attributes:
        since: when it began.
        seconds: over how long the nodes are spread.
    """

    since: datetime
    seconds: float


@dataclass(frozen=True)
class News:
    """The ConfigMap's content.

    Attributes:
        answer: what every node is told; its `renew_after` is not of any node yet.
    """

    answer: WatchAnswer
    wave: Wave | None
    settings: ClusterSettings


def parse_news(config_map: Document) -> News:
    """Read the ConfigMap.

    Raises:
        TrustError: it says something else; nothing is guessed. Fails closed: yes, what the node
            has stays in force.
    """
    try:
        document = json.loads(config_map["data"][TRUST_KEY])
        if not isinstance(document, dict):
            raise ValueError("not an object")
        answer = parse_watch_answer({**document, "renewAfter": None, "heldSeconds": 0})
        return News(answer, _wave(document["wave"]), parse_settings(document["settings"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrustError(
            f"the ConfigMap {TRUST_CONFIG_MAP} makes no sense",
            why=str(error) or type(error).__name__,
            remedy="only the operator may write it; look at its log",
        ) from None


def plan_due(news: News, certificate_pem: bytes, bundle_pem: bytes) -> datetime | None:
    """When this node renews because its authority no longer signs; None if it need not.

    With no wave going on it is late already: the time is the certificate's own beginning.

    Args:
        bundle_pem: what the node trusts now, which its certificate's authority is in.
    Raises:
        TrustError: certificate or bundle cannot be read.
    """
    leaf = parse_certificate(NamedBytes("node.crt", certificate_pem))
    authority = find_issuer(leaf, parse_bundle(NamedBytes("trust-bundle.pem", bundle_pem)))
    if authority and authority.fingerprint(hashes.SHA256()).hex() == news.answer.renew_from:
        return None
    if news.wave is None:
        return leaf.not_valid_before_utc
    wave = timedelta(seconds=news.wave.seconds)
    return plan_wave(news.wave.since, wave, renewal_fraction(_chassis(leaf)))


def _chassis(leaf: x509.Certificate) -> str:
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _wave(document: object) -> Wave | None:
    if document is None:
        return None
    if not isinstance(document, dict):
        raise ValueError("wave is no object")
    since, seconds = document.get("since"), document.get("seconds")
    if not isinstance(since, str) or not isinstance(seconds, int | float):
        raise ValueError("wave has no since and seconds")
    if not 0 <= seconds <= _LONGEST_WAVE_SECONDS:
        raise ValueError("wave.seconds makes no sense")
    moment = datetime.fromisoformat(since)
    return Wave(moment if moment.tzinfo else moment.replace(tzinfo=UTC), float(seconds))
