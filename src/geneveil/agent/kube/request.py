"""CertificateSigningRequest objects: what a node asks, and what came of it. Pure.

The name comes from the request's bytes: the same bytes are the same object, so that an agent that
was restarted finds what it had asked.

Source: certificates.k8s.io/v1; its conditions Approved, Denied and Failed.
"""

import base64
import binascii
import hashlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from geneveil.agent.kube.field import field
from geneveil.kube.port import Document
from geneveil.model.errors import RefusedError, TrustError

USAGES = ("ipsec tunnel",)
_DIGEST_CHARS = 10


def request_name(node: str, csr_pem: bytes) -> str:
    """The object's name; ValueError for something that is no CSR."""
    der = x509.load_pem_x509_csr(csr_pem).public_bytes(serialization.Encoding.DER)
    return f"geneveil-{node}-{hashlib.sha256(der).hexdigest()[:_DIGEST_CHARS]}"


def request_document(name: str, csr_pem: bytes, signer: str) -> dict[str, Any]:
    """The object to make."""
    return {
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(csr_pem).decode("ascii"),
            "signerName": signer,
            "usages": list(USAGES),
        },
    }


def judge_request(document: Document, csr_pem: bytes, signer: str) -> bytes | None:
    """What came of it: the certificate (PEM), or None while nothing was decided.

    Raises:
        RefusedError: denied or failed; `reason` is the condition's.
        TrustError: the object of that name is somebody else's, or holds no certificate.
    """
    name = field(document, "metadata", "name")
    if (
        _decoded(field(document, "spec", "request")) != csr_pem
        or field(document, "spec", "signerName") != signer
    ):
        raise TrustError(
            f"the CertificateSigningRequest {name} is not this node's",
            remedy="find out who made it, and delete it: kubectl describe csr " + str(name),
        )
    for condition in field(document, "status", "conditions") or ():
        if field(condition, "type") in ("Denied", "Failed"):
            reason = str(field(condition, "reason") or "denied")
            raise RefusedError(
                reason,
                f"the operator refused ({reason})",
                why=str(field(condition, "message") or ""),
                remedy=f"kubectl describe csr {name}",
            )
    certificate = field(document, "status", "certificate")
    if certificate is None:
        return None
    pem = _decoded(certificate)
    if pem is None or b"-----BEGIN CERTIFICATE-" not in pem:
        raise TrustError(f"the CertificateSigningRequest {name} holds no certificate")
    return pem


def _decoded(text: object) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        return None
