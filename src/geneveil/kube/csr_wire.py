"""CertificateSigningRequest objects, as a signer sees them. Pure.

Source: certificates.k8s.io/v1; "Certificates and Certificate Signing Requests", conditions
Approved, Denied, Failed; authentication.kubernetes.io extra fields of bound tokens.
"""

import base64
import binascii
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from geneveil.kube.port import Document

NODE_NAME = "authentication.kubernetes.io/node-name"
NODE_UID = "authentication.kubernetes.io/node-uid"
MOST_REQUEST_BYTES = 16 * 1024
"""Of `spec.request` as base64, and of `metadata`: a node's request has about 1 KiB."""

MOST_USAGES = 9
_MOST_MESSAGE = 1000
_UNUSED = {"managedFields"}  # left out of a write it stays as it is
_NEEDED = ("name", "uid", "resourceVersion", "creationTimestamp")
_KEPT = ("signerName", "expirationSeconds", "username")


@dataclass(frozen=True)
class SigningRequest:
    """One object. Who asked was written by the API server, from what it authenticated.

    Attributes:
        csr_pem: the request; empty if the field is no base64 of ASCII, or the request was answered.
        username: of the requester.
        node_names: from the requester's token; more than one value is possible in the API.
        expiration_seconds: the lifetime that was asked for; None if it was left open.
        conditions: type of each condition that is True.
        document: what an answer is written over: `metadata` and `status`. The API server takes
            `spec` from what it has.
        is_too_large: it is not read, and not held.
    """

    name: str
    uid: str
    csr_pem: str
    signer_name: str
    usages: tuple[str, ...]
    expiration_seconds: int | None
    username: str
    node_names: tuple[str, ...]
    node_uids: tuple[str, ...]
    created_at: datetime
    conditions: frozenset[str]
    has_certificate: bool
    document: Document
    is_too_large: bool = False

    @property
    def is_answered(self) -> bool:
        """Nothing is to be done about it any more."""
        return self.has_certificate or bool(self.conditions & {"Denied", "Failed"})


def trim_signing_request(document: Document) -> Document:
    """What is held of an object, for as long as it is there: a few KiB, whatever was sent.

    Who may make requests can make them as large as etcd takes them, and as many. `request` is
    left out (None) where it is too large to be a node's.
    """
    metadata, spec = document.get("metadata") or {}, document.get("spec") or {}
    metadata = {name: value for name, value in metadata.items() if name not in _UNUSED}
    request, extra = spec.get("request"), spec.get("extra") or {}
    is_large = isinstance(request, str) and len(request) > MOST_REQUEST_BYTES
    if len(json.dumps(metadata)) > MOST_REQUEST_BYTES:
        is_large = True
        metadata = {name: metadata[name] for name in _NEEDED if name in metadata}
    kept = {name: spec[name] for name in _KEPT if name in spec}
    kept |= {
        "request": None if is_large else request,
        "usages": list(spec.get("usages") or ())[:MOST_USAGES],
        "extra": {name: list(extra[name])[:2] for name in (NODE_NAME, NODE_UID) if name in extra},
    }
    status = {"status": document["status"]} if document.get("status") else {}
    return {"metadata": metadata, "spec": kept, **status}


def parse_signing_request(document: Document) -> SigningRequest:
    """Read an object of the API, whole or trimmed.

    Raises:
        KeyError, ValueError: it is none that an API server would send.
    """
    document = trim_signing_request(document)
    metadata, spec = document["metadata"], document["spec"]
    status = document.get("status") or {}
    extra = spec["extra"]
    request = SigningRequest(
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        csr_pem=_decoded(spec["request"]),
        signer_name=str(spec["signerName"]),
        usages=tuple(spec.get("usages") or ()),
        expiration_seconds=spec.get("expirationSeconds"),
        username=str(spec.get("username", "")),
        node_names=tuple(extra.get(NODE_NAME) or ()),
        node_uids=tuple(extra.get(NODE_UID) or ()),
        created_at=parse_time(metadata["creationTimestamp"]),
        conditions=frozenset(
            one["type"] for one in status.get("conditions") or () if one.get("status") == "True"
        ),
        has_certificate=bool(status.get("certificate")),
        document={name: value for name, value in document.items() if name != "spec"},
        is_too_large=spec["request"] is None,
    )
    # nothing is written over it any more, and its certificate is in the ledger
    return replace(request, csr_pem="", document={}) if request.is_answered else request


def approved_document(request: SigningRequest, message: str, now: datetime) -> Document:
    """For the subresource `approval`."""
    return _with_condition(request.document, "Approved", "GeneveilIdentityProved", message, now)


def denied_document(request: SigningRequest, reason: str, message: str, now: datetime) -> Document:
    """For the subresource `approval`; the reason is the word of the failed check."""
    return _with_condition(request.document, "Denied", reason, message, now)


def failed_document(request: SigningRequest, reason: str, message: str, now: datetime) -> Document:
    """For the subresource `status`: no certificate for what somebody approved already.

    The API server takes no `Denied` beside `Approved`.
    """
    return _with_condition(request.document, "Failed", reason, message, now)


def certified_document(approved: Document, certificate_pem: bytes) -> Document:
    """For the subresource `status`, of what was approved before."""
    status = {
        **(approved.get("status") or {}),
        "certificate": base64.b64encode(certificate_pem).decode(),
    }
    return {**approved, "status": status}


def parse_time(text: str) -> datetime:
    """A time of the API: RFC 3339."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def time_text(moment: datetime) -> str:
    """A time as the API takes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_condition(
    document: Document, kind: str, reason: str, message: str, now: datetime
) -> Document:
    status = dict(document.get("status") or {})
    condition: dict[str, Any] = {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message[:_MOST_MESSAGE],
        "lastUpdateTime": time_text(now),
        "lastTransitionTime": time_text(now),
    }
    status["conditions"] = [*(status.get("conditions") or ()), condition]
    return {**document, "status": status}


def _decoded(text: object) -> str:
    try:
        raw = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        return raw.decode("ascii")
    except (binascii.Error, ValueError):
        return ""
