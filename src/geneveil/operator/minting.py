"""Making join tokens.

The secret exists here and in the printed token; the store keeps its hash.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from geneveil.enroll.port import JoinToken
from geneveil.enroll.wire import is_operator_url
from geneveil.model.cluster import Mode
from geneveil.model.errors import ConfigError, RefusedError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.cluster import SealedCluster, authority_certificate
from geneveil.operator.records import AuthorityRecord, NodeRecord, Standing
from geneveil.operator.store import Store
from geneveil.operator.token_voiding import void_other_tokens
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.authority import key_pin
from geneveil.pki.keys import PublicKey
from geneveil.pki.tokens import (
    IDENTIFIER_BYTES,
    SECRET_BYTES,
    TokenRecord,
    check_name,
    hash_secret,
)

MIN_EXPIRY = timedelta(seconds=1)
MAX_EXPIRY = timedelta(days=30)
_DURATION = re.compile(r"([0-9]{1,7})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class TokenWish:
    """What a person asks for.

    Attributes:
        expires: from now.
        url: of the operator, to travel in the token; empty for the configured one.
        readmit: let a node back that was revoked or removed.
    """

    chassis: str
    expires: timedelta
    url: str = ""
    readmit: bool = False


class MadeToken(NamedTuple):
    """A token that was just made.

    Attributes:
        voided: identifiers of older unspent tokens of the chassis, which are void now.
    """

    token: JoinToken
    record: TokenRecord
    voided: tuple[str, ...]


def parse_expiry(text: str) -> timedelta:
    """Read `90s`, `30m`, `1h` or `7d`: at least a second, at most 30 days.

    Raises:
        ConfigError: anything else.
    """
    match = _DURATION.fullmatch(text)
    span = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not MIN_EXPIRY <= span <= MAX_EXPIRY:
        raise ConfigError(
            f"--expires {text!r} is no time to expiry", remedy="write 30m, 1h or 7d; at most 30d"
        )
    return span


def make_tokens(
    store: Store,
    cluster: SealedCluster,
    wishes: Sequence[TokenWish],
    now: datetime,
    draw: Callable[[int], bytes],
) -> list[MadeToken]:
    """Make a token for each wish and remember its hash; all or none, durable when this returns.

    Older tokens of the same chassis that were not spent are void from then on.

    Raises:
        RefusedError: IPsec is off, no chassis may have this name, or a chassis is named twice;
            the reason word says which.
        ConfigError: the URL is none.
    """
    if cluster.settings.mode is Mode.DISABLED:
        raise RefusedError(
            "ipsec-disabled", "there is nothing to join", why="this cluster has IPsec off"
        )
    asked = [wish.chassis for wish in wishes]
    for chassis in asked:
        if asked.count(chassis) > 1:
            raise RefusedError(
                "node-repeated",
                f"{chassis} is named {asked.count(chassis)} times",
                why="a chassis has one good token at a time",
                remedy="name each node once",
            )
    with store.transaction():
        made, names = [], list(store.read_chassis_names())
        for wish in wishes:
            made.append(_make_token(store, cluster, wish, now, draw, tuple(names)))
            names.append(wish.chassis)
        return made


def _make_token(
    store: Store,
    cluster: SealedCluster,
    wish: TokenWish,
    now: datetime,
    draw: Callable[[int], bytes],
    names: tuple[str, ...],
) -> MadeToken:
    if wish.url and not is_operator_url(wish.url):
        raise ConfigError(f"--url {wish.url!r} is no URL", remedy="write https://host:9443")
    finding = check_name(wish.chassis, cluster.server_names, names)
    if finding is not None:
        raise RefusedError(finding.reason.value, finding.message)
    _check_standing(store, wish, now)
    pinned = cluster.serving_authority(now)
    token = JoinToken(
        chassis=wish.chassis,
        identifier=draw(IDENTIFIER_BYTES),
        secret=draw(SECRET_BYTES),
        ca_pin=authority_pin(pinned),
        url=wish.url or default_url(cluster),
    )
    record = TokenRecord(
        identifier=token.identifier.hex(),
        secret_sha256=hash_secret(token.secret),
        chassis=wish.chassis,
        created_at=now,
        expires_at=now + wish.expires,
        authority_id=pinned.authority_id,
    )
    why = f"the newer token {record.identifier} was made"
    voided = void_other_tokens(store, wish.chassis, why, now)
    store.add_token(record)
    detail = f"token {record.identifier}, expires {record.expires_at:%Y-%m-%dT%H:%M:%SZ}"
    event = AuditEvent(Event.TOKEN_MADE, chassis=wish.chassis, detail=detail)
    store.append_audit(event, now)
    return MadeToken(token, record, voided)


def _check_standing(store: Store, wish: TokenWish, now: datetime) -> None:
    tables = TrustTables(store)
    node = tables.find_node(wish.chassis)
    if node is None or not node.is_shut_out:
        if wish.readmit:
            raise RefusedError(
                "node-not-revoked",
                f"{wish.chassis} was neither revoked nor removed",
                remedy="leave out --readmit",
            )
        return
    if not wish.readmit:
        raise RefusedError(
            "node-revoked",
            f"{wish.chassis} was {node.standing.value} at "
            f"{node.changed_at:%Y-%m-%dT%H:%M:%SZ} ({node.reason})",
            remedy=f"to let it back: geneveil operator token {wish.chassis} --readmit",
        )
    tables.put_node(NodeRecord(wish.chassis, Standing.READMITTED, node.reason, now))
    event = AuditEvent(
        Event.NODE_READMITTED,
        chassis=wish.chassis,
        detail=f"it was {node.standing.value} at {node.changed_at:%Y-%m-%dT%H:%M:%SZ}",
    )
    store.append_audit(event, now)


def authority_pin(record: AuthorityRecord) -> bytes:
    """What tokens say about an authority."""
    key = authority_certificate(record).public_key()
    if not isinstance(key, PublicKey):
        raise TypeError("an authority's key is ECDSA or RSA")
    return key_pin(key)


def default_url(cluster: SealedCluster) -> str:
    """The first configured name with the configured port; empty if no name is configured."""
    section = cluster.config.spec.operator
    if not section.names:
        return ""
    name, port = section.names[0], section.listen.rpartition(":")[2]
    return f"https://[{name}]:{port}" if ":" in name else f"https://{name}:{port}"
