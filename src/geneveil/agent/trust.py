"""The node's files of trust: from bytes to the identity that charon is given. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from cryptography.hazmat.primitives import serialization

from geneveil.model.cluster import ClusterSettings
from geneveil.model.connection import Identity
from geneveil.model.errors import TrustError
from geneveil.model.health import Finding, Severity
from geneveil.model.node_status import CertificateStatus
from geneveil.pki.keyfiles import NamedBytes, NodeIdentity, parse_identity
from geneveil.pki.renewal import plan_renewal


@dataclass(frozen=True)
class TrustFiles:
    """What the state directory holds; None for a file that is not there.

    `problem` is the first file that is there and cannot be read.
    """

    key: bytes | None = field(repr=False)
    certificate: bytes | None
    bundle: bytes | None
    problem: TrustError | None = None


@dataclass(frozen=True)
class Trust:
    """The outcome: an identity, or findings that say why there is none."""

    identity: Identity | None
    certificate: CertificateStatus | None
    findings: tuple[Finding, ...]


def judge_trust(files: TrustFiles, chassis: str, settings: ClusterSettings, now: datetime) -> Trust:
    """Decide whether the node can prove itself.

    Fails closed: yes; with anything missing, unreadable, contradicting or out of its time there is
    no identity, and so no new connection.
    """
    if files.problem is not None:
        return _refused("trust-unreadable", files.problem)
    names = {"node.key": files.key, "node.crt": files.certificate, "trust-bundle.pem": files.bundle}
    missing = [name for name, data in names.items() if data is None]
    if "node.crt" in missing:
        return Trust(None, None, (_not_enrolled(),))
    if missing:
        error = TrustError(
            f"{' and '.join(missing)} is missing beside the certificate",
            remedy="put it back, or enrol the node again with a new token",
        )
        return _refused("trust-incomplete", error)
    parts = [NamedBytes(name, data or b"") for name, data in names.items()]
    try:
        node = parse_identity(parts[0], parts[1], parts[2], chassis, now)
    except TrustError as error:
        return _refused("trust-unusable", error)
    status = _status(node, settings)
    findings = () if now < status.renew_at else (_renewal_due(status),)
    return Trust(_identity(node), status, findings)


def _identity(node: NodeIdentity) -> Identity:
    der = serialization.Encoding.DER
    own = node.certificate.public_bytes(der)
    bundle = tuple(authority.public_bytes(der) for authority in node.bundle.authorities)
    key = node.key.private_bytes(
        der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(
        certificate_der=own,
        key_der=key,
        trust_bundle_der=bundle,
        fingerprint=sha256(own).hexdigest(),
        trust_fingerprints=tuple(sha256(authority).hexdigest() for authority in bundle),
    )


def _status(node: NodeIdentity, settings: ClusterSettings) -> CertificateStatus:
    own = node.certificate.public_bytes(serialization.Encoding.DER)
    renew_after = settings.certificates.renew_after
    return CertificateStatus(
        chassis=node.chassis,
        serial=node.serial,
        fingerprint=sha256(own).hexdigest(),
        issuer=node.authority.subject.rfc4514_string(),
        not_before=node.not_before,
        not_after=node.not_after,
        renew_at=plan_renewal(node.not_before, node.not_after, renew_after, node.chassis),
    )


def _refused(code: str, error: TrustError) -> Trust:
    what = f"{error.what}: {error.why}" if error.why else error.what
    finding = Finding(
        code=code,
        severity=Severity.ERROR,
        subject="node certificate",
        what=f"{what}; no connection is set up, and what stands goes on",
        remedy=error.remedy or "enrol the node again with a new token",
    )
    return Trust(None, None, (finding,))


def _not_enrolled() -> Finding:
    return Finding(
        code="not-enrolled",
        severity=Severity.ERROR,
        subject="node certificate",
        what="this node has no certificate yet; every pair stays closed",
        remedy="put a join token into the token file: geneveil operator token NODE",
    )


def _renewal_due(status: CertificateStatus) -> Finding:
    return Finding(
        code="renewal-due",
        severity=Severity.WARNING,
        subject="node certificate",
        what=f"it ends on {status.not_after:%Y-%m-%d} and should have been renewed by now",
        remedy="enrol the node again with a new token",
    )
