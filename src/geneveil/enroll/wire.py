"""Join tokens and messages: text and documents to values and back.

A join token is one printable word, `gvt1_` and unpadded base64url (RFC 4648 §5) of:

    offset  bytes  what
    0       8      identifier
    8       32     secret
    40      32     SHA-256 of the authority's SubjectPublicKeyInfo
    72      1      length of the chassis name, c
    73      c      chassis name, ASCII
    73+c    u      URL of the operator, ASCII; may be empty
    the end 4      the first bytes of the SHA-256 of all before: tells a copying mistake

The operator is sent the identifier and the secret alone: `<16 hex digits>.<base64url>`.
"""

import base64
import binascii
import hashlib
import re
from typing import Any

from geneveil.enroll.port import Bootstrap, Enrolment, JoinToken
from geneveil.enroll.settings import parse_settings, settings_document
from geneveil.model.cluster import ClusterSettings
from geneveil.model.errors import ConfigError
from geneveil.model.names import is_chassis_name

TOKEN_PREFIX = "gvt1_"  # noqa: S105
IDENTIFIER_BYTES, SECRET_BYTES, PIN_BYTES, CHECK_BYTES = 8, 32, 32, 4
MAX_TOKEN_CHARS = 1024

BOOTSTRAP_PATH = "/v1/bootstrap"
ENROL_PATH = "/v1/enrol"
RENEW_PATH = "/v1/renew"
WATCH_PATH = "/v1/watch"
HEALTH_PATH = "/healthz"
MAX_BODY_BYTES = 16 * 1024
"""No request is larger."""

MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""No answer is larger; a CRL takes about 60 bytes for each certificate on it."""

_URL = re.compile(r"https://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?/?")
_CREDENTIAL = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_-]{43})")


def is_operator_url(text: str) -> bool:
    """Say whether this is `https://host` or `https://host:port`, and no more than that."""
    return len(text) <= 300 and _URL.fullmatch(text) is not None


def encode_token(token: JoinToken) -> str:
    """A join token as it is printed and carried to the node."""
    chassis = token.chassis.encode("ascii")
    body = token.identifier + token.secret + token.ca_pin
    body += bytes([len(chassis)]) + chassis + token.url.encode("ascii")
    body += hashlib.sha256(body).digest()[:CHECK_BYTES]
    return TOKEN_PREFIX + _encode_base64url(body)


def parse_token(text: str) -> JoinToken:
    """Read a join token.

    Raises:
        ConfigError: not a token, cut, or mistyped. The message never shows the token.
    """
    text = text.strip()
    if not text.startswith(TOKEN_PREFIX) or len(text) > MAX_TOKEN_CHARS:
        raise _bad_token(f"it does not begin with {TOKEN_PREFIX}")
    try:
        body = _decode_base64url(text.removeprefix(TOKEN_PREFIX))
    except ValueError:
        raise _bad_token("it holds characters that no token has") from None
    body, check = body[:-CHECK_BYTES], body[-CHECK_BYTES:]
    if hashlib.sha256(body).digest()[:CHECK_BYTES] != check:
        raise _bad_token("its check digits do not match: it was cut or mistyped")
    fields_end = IDENTIFIER_BYTES + SECRET_BYTES + PIN_BYTES
    name_end = fields_end + 1 + (body[fields_end] if len(body) > fields_end else 0)
    if len(body) < name_end:
        raise _bad_token("it is too short")
    chassis = body[fields_end + 1 : name_end].decode("ascii", "replace")
    url = body[name_end:].decode("ascii", "replace")
    if not is_chassis_name(chassis) or (url and not is_operator_url(url)):
        raise _bad_token("the chassis name or the URL in it is malformed")
    return JoinToken(
        chassis=chassis,
        identifier=body[:IDENTIFIER_BYTES],
        secret=body[IDENTIFIER_BYTES : IDENTIFIER_BYTES + SECRET_BYTES],
        ca_pin=body[IDENTIFIER_BYTES + SECRET_BYTES : fields_end],
        url=url,
    )


def encode_credential(identifier: bytes, secret: bytes) -> str:
    """The part of a token that proves it, as it is sent."""
    return f"{identifier.hex()}.{_encode_base64url(secret)}"


def parse_credential(text: str) -> tuple[str, bytes] | None:
    """The identifier (16 hexadecimal digits) and the secret, or None if this is neither."""
    match = _CREDENTIAL.fullmatch(text)
    if match is None:
        return None
    try:
        return match[1], _decode_base64url(match[2])
    except ValueError:
        return None


def enrol_request_document(token: JoinToken, csr_pem: bytes) -> dict[str, Any]:
    """The body of POST /v1/enrol."""
    credential = encode_credential(token.identifier, token.secret)
    return {"token": credential, "csr": csr_pem.decode("ascii")}


def parse_enrol_request(document: object) -> tuple[str, str] | None:
    """The token and the CSR of such a body, or None if it has another shape."""
    if not isinstance(document, dict) or set(document) != {"token", "csr"}:
        return None
    token, csr = document["token"], document["csr"]
    if not isinstance(token, str) or not isinstance(csr, str):
        return None
    return (token, csr) if token.isascii() and csr.isascii() else None


def bootstrap_document(trust_bundle_pem: bytes, settings: ClusterSettings) -> dict[str, Any]:
    """The answer to GET /v1/bootstrap."""
    return {
        "trustBundle": trust_bundle_pem.decode("ascii"),
        "settings": settings_document(settings),
    }


def parse_bootstrap(document: object) -> Bootstrap:
    """Read it.

    Raises:
        ValueError: it has another shape.
    """
    return Bootstrap(
        _pem_field(document, "trustBundle"), parse_settings(_field(document, "settings"))
    )


def enrolment_document(enrolment: Enrolment) -> dict[str, Any]:
    """The answer to POST /v1/enrol."""
    certificate = enrolment.certificate_pem.decode("ascii")
    bootstrap = bootstrap_document(enrolment.trust_bundle_pem, enrolment.settings)
    return {"certificate": certificate, **bootstrap}


def parse_enrolment(document: object) -> Enrolment:
    """Read it.

    Raises:
        ValueError: it has another shape.
    """
    bootstrap = parse_bootstrap(document)
    certificate_pem = _pem_field(document, "certificate")
    return Enrolment(certificate_pem, bootstrap.trust_bundle_pem, bootstrap.settings)


def parse_refusal(document: object) -> tuple[str, str]:
    """Read `{reason, message}` of an answer that says no.

    Raises:
        ValueError: it has another shape.
    """
    reason, message = _field(document, "reason"), _field(document, "message")
    if not isinstance(reason, str) or not isinstance(message, str):
        raise ValueError("reason and message are not text")
    if not re.fullmatch(r"[a-z0-9-]{1,64}", reason):
        raise ValueError("reason is not a word")
    return reason, "".join(char if char.isprintable() else "?" for char in message[:2000])


def _field(document: object, name: str) -> object:
    if not isinstance(document, dict) or name not in document:
        raise ValueError(f"{name} is missing")
    return document[name]


def _pem_field(document: object, name: str) -> bytes:
    value = _field(document, name)
    if not isinstance(value, str) or not value.isascii() or "-----BEGIN CERTIFICATE" not in value:
        raise ValueError(f"{name} holds no certificate")
    return value.encode("ascii")


def _encode_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode_base64url(text: str) -> bytes:
    """Raises ValueError: other characters, or bits left over (one token has one spelling)."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if _encode_base64url(data) != text:
        raise ValueError("not canonical base64url")
    return data


def _bad_token(why: str) -> ConfigError:
    return ConfigError(
        "this is not a join token", why=why, remedy="make one with: geneveil operator token NODE"
    )
