"""Kubeconfig files, as JSON, which is YAML. Pure."""

import base64
import json
from typing import Any


def with_certificate(url: str, authority: bytes, certificate: bytes, key: bytes) -> str:
    """For a client with a certificate; all three are PEM and become part of the file."""
    user = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
    return _kubeconfig(url, authority, user)


def with_token(url: str, authority: bytes, token: str) -> str:
    """For a client with a bearer token."""
    return _kubeconfig(url, authority, {"token": token})


def without_identity(url: str, authority: bytes) -> str:
    """For a client that does not say who it is."""
    return _kubeconfig(url, authority, {})


def _kubeconfig(url: str, authority: bytes, user: dict[str, Any]) -> str:
    cluster = {"server": url, "certificate-authority-data": _base64(authority)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "user"}}],
        "current-context": "lab",
    }
    return json.dumps(document, indent=1) + "\n"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
