"""Where an API server is and who we are there: from a Pod's files or a kubeconfig. Pure.

Source: "Organizing Cluster Access Using kubeconfig Files"; "Accessing the API from a Pod".
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from geneveil.model.errors import ConfigError

POD_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True)
class Material:
    """Bytes that a kubeconfig gives itself or as a file's name.

    Attributes:
        data: the bytes; empty if they are in the file.
        path: the file; empty if there is none.
    """

    data: bytes = b""
    path: str = ""

    def __repr__(self) -> str:
        return f"Material(path={self.path!r})"


@dataclass(frozen=True)
class KubeAccess:
    """An API server and an identity. `repr` shows no secret.

    Attributes:
        server: `https://host:port`, perhaps with a path.
        authority: whom to believe that it is the server; empty for the machine's own list.
        server_name: the name in its certificate, if it is not that of the URL.
        token_file: read again and again, because tokens are replaced; empty if there is none.
        certificate: of a client that proves itself in TLS, with `key`.
        command: a credential plugin and its arguments; empty if there is none.
    """

    server: str
    authority: Material
    namespace: str
    server_name: str = ""
    token: str = ""
    token_file: str = ""
    certificate: Material = Material()
    key: Material = Material()
    command: tuple[str, ...] = ()
    command_env: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"KubeAccess(server={self.server!r})"


def pod_access(environment: Mapping[str, str], namespace: str, folder: str) -> KubeAccess:
    """The access that every Pod has.

    Args:
        namespace: what the folder's file `namespace` says.
    Raises:
        ConfigError: this is no Pod.
    """
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise ConfigError(
            "there is no Kubernetes API here",
            why="KUBERNETES_SERVICE_HOST is not set, so this is no Pod",
            remedy="give --kubeconfig FILE",
        )
    host = f"[{host}]" if ":" in host else host
    return KubeAccess(
        server=f"https://{host}:{port}",
        authority=Material(path=f"{folder}/ca.crt"),
        namespace=namespace.strip(),
        token_file=f"{folder}/token",
    )


def parse_kubeconfig(document: object, path: str, context: str = "") -> KubeAccess:
    """Read a kubeconfig.

    Args:
        document: of the YAML.
        path: its file; names in it are relative to its folder.
        context: instead of the current one.
    Raises:
        ConfigError: names what is missing or not accepted.
    """
    root = _mapping(document, path, "it")
    name = context or _text(root, "current-context", path)
    if not name:
        raise ConfigError(
            f"{path}: current-context is not set", remedy="kubectl config use-context"
        )
    chosen = _named(root, "contexts", name, "context", path)
    cluster = _named(root, "clusters", _text(chosen, "cluster", path), "cluster", path)
    user: dict[str, Any] = {}
    if _text(chosen, "user", path):
        user = _named(root, "users", _text(chosen, "user", path), "user", path)
    server = _text(cluster, "server", path)
    if not server.startswith("https://"):
        raise ConfigError(f"{path}: the server {server!r} is no https:// URL")
    if cluster.get("insecure-skip-tls-verify"):
        raise ConfigError(
            f"{path}: insecure-skip-tls-verify is not accepted",
            why="anybody could pose as the API server",
            remedy="give certificate-authority-data",
        )
    command, command_env = _command(user, path)
    return KubeAccess(
        server=server.rstrip("/"),
        authority=_material(cluster, "certificate-authority", path),
        namespace=_text(chosen, "namespace", path),
        server_name=_text(cluster, "tls-server-name", path),
        token=_text(user, "token", path),
        token_file=_beside(path, _text(user, "tokenFile", path)),
        certificate=_material(user, "client-certificate", path),
        key=_material(user, "client-key", path),
        command=command,
        command_env=command_env,
    )


def _named(root: dict[str, Any], section: str, name: str, key: str, path: str) -> dict[str, Any]:
    entries = root.get(section)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name:
            return _mapping(entry.get(key), path, f"{key} {name}")
    raise ConfigError(f"{path}: there is no {key} {name!r}")


def _mapping(value: object, path: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {what} is no mapping")
    return value


def _text(document: dict[str, Any], name: str, path: str) -> str:
    value = document.get(name, "")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"{path}: {name} is not text")
    return value


def _material(document: dict[str, Any], name: str, path: str) -> Material:
    text = _text(document, f"{name}-data", path)
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ConfigError(f"{path}: {name}-data is not base64") from None
    return Material(data, "" if data else _beside(path, _text(document, name, path)))


def _beside(path: str, name: str) -> str:
    return str(PurePath(path).parent / name) if name else ""


def _command(
    user: dict[str, Any], path: str
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    if not user.get("exec"):
        return (), ()
    section = _mapping(user["exec"], path, "exec")
    arguments, environment = section.get("args") or [], section.get("env") or []
    pairs = [(str(pair.get("name")), str(pair.get("value"))) for pair in environment]
    return (_text(section, "command", path), *(str(one) for one in arguments)), tuple(pairs)
