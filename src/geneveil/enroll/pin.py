"""Find the authority that a join token pins in a bundle that nobody has vouched for yet.

Only the pinned certificate comes back: whoever stands on the way could add an authority of his
own to the bundle, and nothing of what he adds may be believed.
"""

import hmac

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization


def find_pinned(bundle_pem: bytes, ca_pin: bytes) -> bytes | None:
    """The PEM of the certificate whose SubjectPublicKeyInfo has this SHA-256, or None.

    A bundle that can't be read has no such certificate.
    """
    try:
        certificates = x509.load_pem_x509_certificates(bundle_pem)
        for certificate in certificates:
            if hmac.compare_digest(_spki_sha256(certificate), ca_pin):
                return certificate.public_bytes(serialization.Encoding.PEM)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return None


def _spki_sha256(certificate: x509.Certificate) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return digest.finalize()
