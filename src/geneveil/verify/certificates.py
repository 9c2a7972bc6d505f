"""What the nodes' certificates say, for the report.

The verdict rests on the wire alone. Certificates are shown so that a reader sees who was at both
ends, with a note where one does not say what it should.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from geneveil.verify.errors import EvidenceError
from geneveil.verify.evidence import NodeEvidence, PhaseEvidence


@dataclass(frozen=True)
class CertificateFacts:
    """A certificate, as people read it.

    Attributes:
        holder: the node that authenticates with it, or "certificate authority".
        subject: distinguished name.
        names: DNS names that it stands for.
        issuer: distinguished name of who signed it.
        serial: serial number in hex.
        not_before: valid from.
        not_after: valid until.
        key: type and size of its public key.
        notes: what is not as it should be; empty if all is well.
    """

    holder: str
    subject: str
    names: tuple[str, ...]
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    key: str
    notes: tuple[str, ...]


def read_certificates(phase: PhaseEvidence) -> tuple[CertificateFacts, ...]:
    """The certificate authority's certificates, then the nodes', in the order of the nodes.

    Raises:
        EvidenceError: a certificate is there but is not PEM or not X.509; names whose.
    """
    authorities = _load_all(phase.ca_certificate_pem, f"{phase.phase.value}: the CA's certificate")
    facts = [_describe("certificate authority", ca, _authority_notes(ca)) for ca in authorities]
    for node in phase.nodes:
        for certificate in _load_all(
            node.certificate_pem, f"{phase.phase.value}: certificate of {node.name}"
        )[:1]:
            facts.append(
                _describe(node.name, certificate, _node_notes(node, certificate, authorities))
            )
    return tuple(facts)


def _load_all(pem: str | None, what: str) -> list[x509.Certificate]:
    if pem is None:
        return []
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise EvidenceError(f"{what} can't be read", why=str(error)) from error


def _describe(holder: str, certificate: x509.Certificate, notes: Iterable[str]) -> CertificateFacts:
    return CertificateFacts(
        holder=holder,
        subject=certificate.subject.rfc4514_string(),
        names=_dns_names(certificate),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key=_key_text(certificate),
        notes=tuple(notes),
    )


def _dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(extension.value.get_values_for_type(x509.DNSName))


def _key_text(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, EllipticCurvePublicKey):
        return f"ECDSA {key.curve.name}"
    if isinstance(key, RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__


def _authority_notes(certificate: x509.Certificate) -> list[str]:
    return [] if _issued_by(certificate, certificate) else ["not self-signed"]


def _node_notes(
    node: NodeEvidence, certificate: x509.Certificate, authorities: list[x509.Certificate]
) -> list[str]:
    notes = []
    if not any(_issued_by(certificate, authority) for authority in authorities):
        notes.append("not issued by the cluster's certificate authority")
    if _dns_names(certificate) != (node.chassis,):
        notes.append(f"names {', '.join(_dns_names(certificate)) or 'nobody'}, not {node.chassis}")
    return notes


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
