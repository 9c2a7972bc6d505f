"""VICI messages to and from values. Pure; no secret stays behind.

VICI values are texts (bytes on the way back), lists of them and sections (dicts). The client
library turns any object into text without asking, so every value is made a text here, on purpose.
Source: src/libcharon/plugins/vici/README.md of strongSwan; swanctl.conf(5) for the fields.
"""

from collections.abc import Mapping
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, TypeAlias

from geneveil.model.connection import (
    CHILD_REKEY_SECONDS,
    DPD_SECONDS,
    ESP_PROPOSALS,
    IKE_PROPOSALS,
    IKE_REKEY_SECONDS,
    REPLAY_WINDOW_PACKETS,
    ChildName,
    ChildSa,
    Connection,
    Direction,
    Identity,
    IkeSa,
    ObservedConnection,
)
from geneveil.model.errors import DaemonError

Message: TypeAlias = dict[str, Any]


IKE_OVER_SECONDS = 1440
"""How long after its rekeying was due an IKE_SA may live: a tenth of the rekeying time, as
swanctl.conf(5) has it."""

SALTS = 997


def encode_connection(connection: Connection, identity: Identity, salt: int = 0) -> Message:
    """The `load-conn` message of one connection.

    Args:
        salt: makes this connection differ from the one that an existing IKE_SA was made with, so
            that charon puts a new child into a new IKE_SA: it reuses any IKE_SA whose whole
            configuration is equal (`checkout_by_config` in ike_sa_manager.c of strongSwan).
            It goes where nothing notices: into the spread of the rekeying time and the
            patience with one that fails.

    Start and close actions stay `none`: this node's agent says who initiates and when, and the
    guard holds back traffic meanwhile. A trap policy would make crossing initiations, and an
    acquire that fails would block its flow.

    `unique = never`: two nodes that initiate at the same moment would, with `replace`, each close
    the other's SA. And with `no` a charon that was restarted would say INITIAL_CONTACT (RFC 7296
    §2.4), upon which its peer closes the old SAs before it has new ones, although both kernels
    carry on with them. An IKE_SA whose other end is gone is found by asking it, or closed as a
    double.

    `revocation` of the peer stays relaxed: a certificate that stands on a loaded CRL is refused,
    also when that CRL is past its nextUpdate; with no CRL at all nobody is refused. Strict would
    end the whole cluster's traffic some weeks after its operator went away.
    """
    children = {str(child): _encode_child(child, connection) for child in connection.children}
    return {
        connection.name: {
            "version": "2",
            "local_addrs": [connection.local_ip],
            "remote_addrs": [connection.remote_ip],
            "proposals": list(IKE_PROPOSALS),
            "encap": "yes" if connection.force_encapsulation else "no",
            "mobike": "no",  # an underlay address that changes is another connection
            "fragmentation": "yes",
            "dpd_delay": f"{DPD_SECONDS}s",
            "keyingtries": "1",  # trying again is the agent's decision
            "unique": "never",
            "reauth_time": "0s",
            "rekey_time": f"{IKE_REKEY_SECONDS}s",
            "over_time": f"{IKE_OVER_SECONDS + salt % SALTS}s",
            "rand_time": f"{IKE_OVER_SECONDS + salt // SALTS % SALTS}s",
            "send_cert": "always",
            "send_certreq": "yes",
            "local": {
                "auth": "pubkey",
                "id": _fqdn(connection.local_chassis),
                "certs": [identity.certificate_der],
            },
            "remote": {
                "auth": "pubkey",
                "id": _fqdn(connection.remote_chassis),
                "cacerts": list(identity.trust_bundle_der),
            },
            "children": children,
        }
    }


def encode_initiate(connection: str, child: ChildName) -> Message:
    """The `initiate` message; a negative timeout makes charon answer before the outcome."""
    return {"ike": connection, "child": str(child), "timeout": "-1", "init-limits": "no"}


def encode_terminate(ike_unique_id: int, at_once: bool = False) -> Message:
    """The `terminate` message for one IKE_SA, not waited for.

    With `at_once` the SA is gone whether or not the peer answers.
    """
    force = "yes" if at_once else "no"
    return {"ike-id": str(ike_unique_id), "timeout": "-1", "force": force}


def encode_terminate_child(child_unique_id: int) -> Message:
    """The `terminate` message for one CHILD_SA, not waited for."""
    return {"child-id": str(child_unique_id), "timeout": "-1"}


def encode_rekey_child(child_unique_id: int) -> Message:
    """The `rekey` message for one CHILD_SA; charon answers before the outcome."""
    return {"child-id": str(child_unique_id)}


def fingerprint(certificate_der: bytes) -> str:
    """SHA-256 of a certificate, hexadecimal."""
    return sha256(certificate_der).hexdigest()


def parse_connection(event: Mapping[str, Any]) -> ObservedConnection:
    """One `list-conn` event."""
    try:
        ((name, body),) = event.items()
        remote = next(s for key, s in body.items() if key.startswith("remote-"))
        return ObservedConnection(
            name=name,
            local_ips=_texts(body["local_addrs"]),
            remote_ips=_texts(body["remote_addrs"]),
            remote_id=_text(remote.get("id", b"")),
            children=tuple(sorted(body.get("children", {}))),
        )
    except (KeyError, ValueError, StopIteration, AttributeError, TypeError) as error:
        raise _unexpected("connection", error) from None


def parse_ike_sa(event: Mapping[str, Any]) -> IkeSa:
    """One `list-sa` event: an IKE_SA with its children."""
    try:
        ((name, body),) = event.items()
        children = (_parse_child(child) for child in body.get("child-sas", {}).values())
        return IkeSa(
            connection=name,
            unique_id=int(body["uniqueid"]),
            state=_text(body["state"]),
            is_initiator=_text(body.get("initiator", b"no")) == "yes",
            local_ip=_text(body["local-host"]),
            remote_ip=_text(body["remote-host"]),
            remote_id=_text(body.get("remote-id", b"")),
            established_seconds=_seconds(body, "established"),
            rekey_seconds=_seconds(body, "rekey-time"),
            children=tuple(sorted(children, key=lambda c: (c.name, c.unique_id))),
            tasks=_texts(body.get("tasks-active", []) + body.get("tasks-queued", [])),
            is_nat_faked=_text(body.get("nat-fake", b"no")) == "yes",
        )
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise _unexpected("IKE_SA", error) from None


def parse_certificate(event: Mapping[str, Any]) -> str:
    """The fingerprint in one `list-cert` event."""
    try:
        return fingerprint(bytes(event["data"]))
    except (KeyError, TypeError) as error:
        raise _unexpected("certificate", error) from None


def parse_key_ids(answer: Mapping[str, Any]) -> frozenset[str]:
    """The ids in the answer to `get-keys`, or to `get-shared`."""
    try:
        return frozenset(_texts(answer["keys"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise _unexpected("list of keys", error) from None


def parse_version(answer: Mapping[str, Any]) -> str:
    """The version number in the answer to `version`."""
    try:
        return _text(answer["version"])
    except (KeyError, AttributeError) as error:
        raise _unexpected("version", error) from None


def _encode_child(child: ChildName, connection: Connection) -> Message:
    local, remote = _host(connection.local_ip), _host(connection.remote_ip)
    # Geneve's source port is a hash of the inner flow: only the destination port is known.
    port = f"[udp/{child.port}]"
    inbound = child.direction is Direction.IN
    return {
        "mode": "transport",
        "local_ts": [local + (port if inbound else "[udp]")],
        "remote_ts": [remote + ("[udp]" if inbound else port)],
        "esp_proposals": list(ESP_PROPOSALS),
        "policies": "yes",
        "reqid": str(connection.reqid(child)),
        "rekey_time": f"{CHILD_REKEY_SECONDS}s",
        # No hard limit: the kernel counts SAs' lives by the wall clock (xfrm_timer_handler), and a
        # clock that is set forward in an SA's first second would end it with nothing in its place.
        # The soft limit replaces it; a peer that is dead is found by asking it.
        "life_time": "0s",
        "replay_window": str(REPLAY_WINDOW_PACKETS),
        "start_action": "none",
        "close_action": "none",
        "dpd_action": "clear",
    }


def _parse_child(body: Mapping[str, Any]) -> ChildSa:
    return ChildSa(
        name=_text(body["name"]),
        unique_id=int(body["uniqueid"]),
        state=_text(body["state"]),
        mode=_text(body["mode"]),
        spi_in=int(_text(body.get("spi-in", b"0")), 16),
        spi_out=int(_text(body.get("spi-out", b"0")), 16),
        cipher=_text(body.get("encr-alg", b"")),
        key_bits=int(body.get("encr-keysize", 0)),
        esn=_text(body.get("esn", b"0")) in ("1", "yes"),
        encapsulated=_text(body.get("encap", b"no")) == "yes",
        bytes_in=int(body.get("bytes-in", 0)),
        bytes_out=int(body.get("bytes-out", 0)),
        packets_in=int(body.get("packets-in", 0)),
        packets_out=int(body.get("packets-out", 0)),
        installed_seconds=int(body.get("install-time", 0)),
        rekey_seconds=_seconds(body, "rekey-time"),
    )


def _host(address: str) -> str:
    return f"{address}/{ip_address(address).max_prefixlen}"


def _fqdn(chassis: str) -> str:
    # Without the prefix charon guesses the type of an identity from its text.
    return f"fqdn:{chassis}"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _texts(values: list[bytes]) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)


def _seconds(body: Mapping[str, Any], key: str) -> int | None:
    return int(body[key]) if key in body else None


def _unexpected(what: str, error: Exception) -> DaemonError:
    return DaemonError(
        f"charon described a {what} in a way that is not understood",
        why=f"{type(error).__name__}: {error}",
        remedy="strongSwan 5.9 to 6.0 are known to work",
    )
