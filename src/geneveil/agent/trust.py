"""The node's files of trust: from bytes to the identity that charon is given. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from geneveil.agent.rotation.crls import Crl, merge_crls, parse_crls, salvage_crls
from geneveil.agent.rotation.renewal import needs_token
from geneveil.agent.rotation.watch import fingerprints, parse_dropped
from geneveil.model.cluster import ClusterSettings
from geneveil.model.connection import Identity
from geneveil.model.errors import RefusedError, TrustError
from geneveil.model.health import Finding, Severity
from geneveil.model.node_status import CertificateStatus
from geneveil.model.tunnel import OvsSnapshot
from geneveil.pki.authority import serial_text
from geneveil.pki.keyfiles import (
    NamedBytes,
    NodeIdentity,
    TrustBundle,
    parse_certificate,
    parse_identity,
)
from geneveil.pki.keys import PublicKey
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
    replaced_key: bytes | None = field(default=None, repr=False)
    replaced_certificate: bytes | None = None
    crls: bytes | None = field(default=None, repr=False)
    dropped: bytes | None = None


@dataclass(frozen=True)
class Trust:
    """The outcome: an identity, or findings that say why there is none.

    Attributes:
        authority: SHA-256 of the certificate of the authority that signed ours; or empty.
        replaced_serial: of the certificate before, while it is not put away.
        is_revoked: our certificate stands on a CRL.
    """

    identity: Identity | None
    certificate: CertificateStatus | None
    findings: tuple[Finding, ...]
    authority: str = ""
    bundle: TrustBundle | None = None
    crls: tuple[Crl, ...] = ()
    replaced_serial: str = ""
    is_revoked: bool = False


def judge_trust(
    files: TrustFiles,
    chassis: str,
    settings: ClusterSettings,
    now: datetime,
    known_crls: tuple[Crl, ...] = (),
) -> Trust:
    """Decide whether the node can prove itself.

    Args:
        known_crls: what was read before: it holds while the file is damaged or gone.
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
        leaf = parse_certificate(parts[1])
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        # One whose time is over or has not come is still told from one that is damaged.
        node = parse_identity(parts[0], parts[1], parts[2], chassis, max(begin, min(now, end)))
        replaced = _replaced(files)
    except TrustError as error:
        return _refused("trust-unusable", error)
    crls, findings = _read_crls(files.crls or b"", node.bundle, known_crls)
    is_revoked = any(node.serial in crl.serials for crl in crls)
    if is_revoked:
        findings.append(needs_token(RefusedError("certificate-revoked", "")))
    elif now > end:
        findings.append(_expired(end, now))
    elif now < begin:
        findings.append(_not_yet_valid(begin, now))
    usable = not is_revoked and begin <= now <= end
    return Trust(
        identity=_identity(node, crls, files, replaced) if usable else None,
        certificate=_status(node, settings),
        findings=tuple(findings),
        authority=sha256(_der(node.authority)).hexdigest(),
        bundle=node.bundle,
        crls=crls,
        replaced_serial=serial_text(replaced.serial_number) if replaced else "",
        is_revoked=is_revoked,
    )


def own_name(snapshot: OvsSnapshot | None, files: TrustFiles) -> str:
    """This chassis' name; empty if nobody knows it.

    As Open vSwitch says. For as long as an agent has not heard that, as the node's certificate
    does: by that name it hears from the operator who was revoked.
    """
    if snapshot is not None:
        return snapshot.system_id
    try:
        leaf = parse_certificate(NamedBytes("node.crt", files.certificate or b""))
    except TrustError:
        return ""
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _read_crls(
    data: bytes, bundle: TrustBundle, known: tuple[Crl, ...]
) -> tuple[tuple[Crl, ...], list[Finding]]:
    trusted = {*fingerprints(bundle)}
    held = [crl for crl in known if crl.authority in trusted]
    try:
        read = parse_crls(data, bundle, "crls.pem")
        if held and not data.strip():
            raise TrustError("crls.pem is lost", why="it is empty, or not there")
        return read, []
    except TrustError as error:
        return merge_crls(held, salvage_crls(data, bundle)), [_damaged_crls(error)]


def key_id(key: PublicKey) -> str:
    """The id by which charon lists a private key: SHA-1 of the public key's bits (RFC 5280
    §4.2.1.2, method 1)."""
    return x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()


def _replaced(files: TrustFiles) -> x509.Certificate | None:
    if files.replaced_key is None or files.replaced_certificate is None:
        return None
    if files.replaced_certificate == files.certificate:
        return None  # a switch has begun and goes on in the next turn
    return parse_certificate(NamedBytes("replaced.crt", files.replaced_certificate))


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _identity(
    node: NodeIdentity,
    crls: tuple[Crl, ...],
    files: TrustFiles,
    replaced: x509.Certificate | None,
) -> Identity:
    own = _der(node.certificate)
    bundle = tuple(_der(authority) for authority in node.bundle.authorities)
    trusted = tuple(sha256(authority).hexdigest() for authority in bundle)
    key = node.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(
        certificate_der=own,
        key_der=key,
        trust_bundle_der=bundle,
        fingerprint=sha256(own).hexdigest(),
        trust_fingerprints=trusted,
        crls_der=tuple(crl.der for crl in crls),
        crl_fingerprints=tuple(crl.fingerprint for crl in crls),
        dropped_fingerprints=parse_dropped(files.dropped) - set(trusted),
        retiring_key_id=key_id(replaced.public_key()) if replaced else "",  # type: ignore[arg-type]
    )


def _status(node: NodeIdentity, settings: ClusterSettings) -> CertificateStatus:
    own = _der(node.certificate)
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


# Of the clock the day alone: each text that differs is a line in the log.
def _expired(end: datetime, now: datetime) -> Finding:
    return Finding(
        "certificate-expired",
        Severity.ERROR,
        "node certificate",
        f"this node's certificate ended at {end:%Y-%m-%d %H:%M:%SZ}, and the clock says "
        f"{now:%Y-%m-%d}; no SA is made anew, and those that stand go on until the "
        "operator has its peers close them, a week after the end",
        "check this machine's clock; if it is right, put a new token into the token file: "
        "geneveil operator token NODE",
    )


def _not_yet_valid(begin: datetime, now: datetime) -> Finding:
    return Finding(
        "certificate-not-yet-valid",
        Severity.ERROR,
        "node certificate",
        f"this node's certificate begins at {begin:%Y-%m-%d %H:%M:%SZ}, and the clock says "
        f"{now:%Y-%m-%d}; no SA is made anew, and those that stand go on",
        "check this machine's clock, and the operator's when the certificate was made",
    )


def _damaged_crls(error: TrustError) -> Finding:
    return Finding(
        code="crls-unusable",
        severity=Severity.ERROR,
        subject="revocation lists",
        what=f"{error.what}: {error.why}; what charon has loaded and what can be read of it stay "
        "in force",
        remedy="nothing while the operator answers: it sends the lists again",
    )
