"""The operator's rows as Kubernetes objects, and back. Pure.

Secret `geneveil-ca`      state.json: what is of the whole cluster (seal, authorities, trust, CRLs);
                          ca-<id>.key: the key of each authority that is not retired
ConfigMap `geneveil-ledger-<20 hex of sha256(chassis)>`
                          ledger.json: what is of one chassis: its certificates, what was said
                          about it, and the Node that it is
ConfigMap `geneveil-ledger-operator`
                          audit.json: the newest entries of the log

One object a chassis keeps every object far below the API's limit of 1 MiB and lets a certificate
be issued by one small write, however large the cluster is.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from geneveil.kube.csr_wire import parse_time, time_text
from geneveil.kube.port import Document
from geneveil.model.errors import TrustError
from geneveil.operator.kubernetes.capacity import MOST_BYTES, REMEDY
from geneveil.operator.tables import SCHEMA_VERSION

CA_SECRET = "geneveil-ca"  # noqa: S105 - a name
LEDGER_PREFIX = "geneveil-ledger-"
LOG_CONFIG_MAP = f"{LEDGER_PREFIX}operator"
LEDGER_LABEL = "geneveil.io/ledger"
STATE_KEY, LEDGER_KEY, LOG_KEY = "state.json", "ledger.json", "audit.json"
MOST_LOG_ENTRIES = 500

Row = tuple[Any, ...]

CLUSTER_TABLES: Mapping[str, tuple[str, ...]] = {
    "sealed_configuration": ("id", "canonical", "sha256", "sealed_at"),
    "authorities": ("authority_id", "certificate_pem", "is_signing", "created_at", "retired_at"),
    "trust": (
        "id",
        "generation",
        "epoch",
        "phase",
        "phase_since",
        "phase_reason",
        "wave_seconds",
        "requested_at",
    ),
    "crls": ("authority_id", "number", "crl_pem"),
}
CERTIFICATES = (
    "serial",
    "kind",
    "chassis",
    "authority_id",
    "certificate_pem",
    "key_sha256",
    "issued_at",
    "not_before",
    "not_after",
    "revoked_at",
    "revocation_reason",
    "csr_sha256",
    "predecessor",
)
NODES = ("chassis", "standing", "reason", "changed_at")
AUDIT = (
    "seq",
    "at",
    "event",
    "reason",
    "chassis",
    "remote",
    "serial",
    "detail",
    "previous_hash",
    "hash",
)
_PEM = {"certificate_pem", "crl_pem"}
_HEX = {"key_sha256", "csr_sha256"}
_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, RecursionError)


@dataclass(frozen=True)
class Binding:
    """The Node that a chassis is.

    Attributes:
        node: its name.
        uid: of the Node object, when the last certificate was issued.
    """

    node: str
    uid: str


@dataclass(frozen=True)
class ChassisLedger:
    """What is remembered of one chassis."""

    chassis: str
    binding: Binding | None
    certificates: tuple[Row, ...]
    standing: Row | None


@dataclass(frozen=True)
class ClusterState:
    """What is remembered of the whole cluster. `repr` shows no key.

    Attributes:
        tables: rows of each of `CLUSTER_TABLES`.
        keys: authority_id -> PKCS #8 PEM.
        heard_wish: the last wish for a roll-over that was heard; empty for none.
        believed_at: the latest moment of a leader's clock that was believed; see `clock_leap`.
    """

    tables: Mapping[str, tuple[Row, ...]]
    keys: Mapping[int, bytes]
    heard_wish: str = ""
    believed_at: datetime | None = None

    def __repr__(self) -> str:
        return "ClusterState(…)"


def ledger_name(chassis: str) -> str:
    """The ConfigMap of a chassis."""
    return LEDGER_PREFIX + hashlib.sha256(chassis.encode()).hexdigest()[:20]


def ledger_document(ledger: ChassisLedger, namespace: str) -> Document:
    """The object of one chassis.

    Raises:
        TrustError: it would be too large; nothing is dropped to make it fit.
    """
    content = {
        "chassis": ledger.chassis,
        "node": ledger.binding.node if ledger.binding else "",
        "nodeUID": ledger.binding.uid if ledger.binding else "",
        "standing": _encode(NODES, ledger.standing) if ledger.standing else None,
        "certificates": [_encode(CERTIFICATES, row) for row in ledger.certificates],
    }
    return {
        "metadata": {
            "name": ledger_name(ledger.chassis),
            "namespace": namespace,
            "labels": {LEDGER_LABEL: "node"},
        },
        "data": {LEDGER_KEY: _dump(content, f"the ledger of {ledger.chassis}")},
    }


def parse_ledger(document: Document) -> ChassisLedger:
    """Read the object of one chassis.

    Raises:
        TrustError: it can't be read, or is another chassis'; nothing is guessed.
    """
    name = str(document["metadata"]["name"])
    try:
        content = json.loads(document["data"][LEDGER_KEY])
        chassis, standing = str(content["chassis"]), content["standing"]
        if ledger_name(chassis) != name:
            raise ValueError(f"it is of chassis {chassis[:80]!r}")
        certificates = tuple(_decode(CERTIFICATES, row) for row in content["certificates"])
        binding = Binding(str(content["node"]), str(content["nodeUID"]))
        return ChassisLedger(
            chassis=chassis,
            binding=binding if binding.node else None,
            certificates=certificates,
            standing=_decode(NODES, standing) if standing is not None else None,
        )
    except _UNREADABLE as error:
        raise _unreadable(f"the ConfigMap {name}", error) from None


def check_authorities(ledger: ChassisLedger, state: ClusterState) -> None:
    """Refuse a ledger that is newer than the Secret beside it.

    Raises:
        TrustError: the Secret knows nothing of an authority that signed one of its certificates.
    """
    known = {row[0] for row in state.tables["authorities"]}
    column = CERTIFICATES.index("authority_id")
    unknown = sorted({row[column] for row in ledger.certificates} - known)
    if unknown:
        raise TrustError(
            f"the Secret {CA_SECRET} is older than the ledgers",
            why=f"{ledger.chassis} has a certificate of authority {unknown[0]}, which the Secret "
            f"does not hold (ConfigMap {ledger_name(ledger.chassis)})",
            remedy="restore a copy of the Secret that is as new as the ledgers; where there is "
            "none, restore such ledgers without those certificates: their nodes ask anew",
        )


def state_document(state: ClusterState, namespace: str) -> Document:
    """The Secret.

    Raises:
        TrustError: it would be too large.
    """
    content: dict[str, Any] = {"schema": SCHEMA_VERSION, "heardWish": state.heard_wish}
    if state.believed_at is not None:
        content["believedAt"] = time_text(state.believed_at)
    for table, columns in CLUSTER_TABLES.items():
        content[table] = [_encode(columns, row) for row in state.tables[table]]
    retired = {row["authority_id"] for row in content["authorities"] if row["retired_at"]}
    for row in content["crls"]:
        if row["authority_id"] in retired:
            row["crl_pem"] = ""  # nobody is told it any more; its number stays
    data = {STATE_KEY: _dump(content, "the cluster's state", REMEDY).encode()}
    data.update({f"ca-{number}.key": pem for number, pem in state.keys.items()})
    return {
        "metadata": {"name": CA_SECRET, "namespace": namespace},
        "type": "Opaque",
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }


def parse_state(document: Document) -> ClusterState:
    """Read the Secret.

    Raises:
        TrustError: it can't be read; nothing is guessed.
    """
    try:
        data = {
            name: base64.b64decode(text, validate=True) for name, text in document["data"].items()
        }
        content = json.loads(data[STATE_KEY])
        if content["schema"] != SCHEMA_VERSION:
            raise ValueError(f"its schema is {content['schema']}, this program's {SCHEMA_VERSION}")
        tables = {
            table: tuple(_decode(columns, row) for row in content[table])
            for table, columns in CLUSTER_TABLES.items()
        }
        keys = {
            int(name[len("ca-") : -len(".key")]): pem
            for name, pem in data.items()
            if name.startswith("ca-") and name.endswith(".key")
        }
        believed = content.get("believedAt")
        believed_at = parse_time(believed) if believed else None
    except _UNREADABLE as error:
        raise _unreadable(f"the Secret {CA_SECRET}", error) from None
    return ClusterState(tables, keys, str(content.get("heardWish", "")), believed_at)


def log_document(entries: Iterable[Row], namespace: str) -> Document:
    """The object of the log's newest entries, as many as fit: others say what is in them."""
    newest = [_encode(AUDIT, row) for row in list(entries)[-MOST_LOG_ENTRIES:]]
    sizes = accumulate(len(json.dumps(one)) + 1 for one in reversed(newest))
    fitting = sum(size < MOST_BYTES for size in sizes)
    return {
        "metadata": {
            "name": LOG_CONFIG_MAP,
            "namespace": namespace,
            "labels": {LEDGER_LABEL: "operator"},
        },
        "data": {LOG_KEY: _dump(newest[len(newest) - fitting :], "the log")},
    }


def parse_log(document: Document) -> tuple[Row, ...]:
    """Read the log's newest entries.

    Raises:
        TrustError: they can't be read.
    """
    try:
        return tuple(_decode(AUDIT, row) for row in json.loads(document["data"][LOG_KEY]))
    except _UNREADABLE as error:
        raise _unreadable(f"the ConfigMap {LOG_CONFIG_MAP}", error) from None


def _encode(columns: tuple[str, ...], row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in zip(columns, row, strict=True):
        if name in _PEM:
            value = value.decode("ascii")
        elif name in _HEX:
            value = value.hex()
        found[name] = value
    return found


def _decode(columns: tuple[str, ...], document: Mapping[str, Any]) -> Row:
    values: list[Any] = []
    for name in columns:
        value = document[name]
        if name in _PEM:
            value = value.encode("ascii")
        elif name in _HEX:
            value = bytes.fromhex(value)
        elif value is not None and type(value) not in (str, int):
            raise ValueError(f"{name} is of an unknown shape")
        values.append(value)
    return tuple(values)


def _dump(content: Any, what: str, remedy: str = "") -> str:
    text = json.dumps(content, separators=(",", ":"))
    if len(text) > MOST_BYTES:
        why = f"{len(text)} bytes"
        raise TrustError(f"{what} is too large for an object of the API", why=why, remedy=remedy)
    return text


def _unreadable(what: str, error: Exception) -> TrustError:
    return TrustError(
        f"{what} can't be read",
        why=f"{type(error).__name__}: {error}",
        remedy="restore it from a backup; until then nothing is issued or revoked, and what nodes "
        "have goes on",
    )
