"""The part of the operator's memory that says whom to trust: roll-over, CRLs, revocations,
confirmations. A view on a `Store`, inside whose transactions all writing happens.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from geneveil.enroll.port import WatchState
from geneveil.operator.records import Confirmation, NodeRecord, Standing, TrustRecord
from geneveil.operator.store import Store, to_seconds, to_time
from geneveil.pki.crl import KEPT_AFTER_END, RevocationReason, RevokedCertificate
from geneveil.pki.rollover import Phase

RESTORE_STEP = 2**32
"""How far generations and CRL numbers jump when a state is restored from a backup: more than any
cluster makes between a backup and the loss of what came after it, so that what a node has seen
since then is never seen again with another meaning."""


@dataclass(frozen=True)
class CrlRecord:
    """The newest list of an authority."""

    authority_id: int
    number: int
    crl_pem: bytes


class TrustTables:
    """Reads and writes what changes about trust."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> TrustRecord:
        """The row that there is one of."""
        ((generation, epoch, phase, since, reason, wave_seconds, requested_at),) = (
            self._store.read_rows(
                "SELECT generation, epoch, phase, phase_since, phase_reason, wave_seconds,"
                " requested_at FROM trust"
            )
        )
        return TrustRecord(
            generation=generation,
            epoch=epoch,
            phase=Phase(phase),
            phase_since=to_time(since),
            phase_reason=reason,
            wave=timedelta(seconds=wave_seconds),
            requested_at=None if requested_at is None else to_time(requested_at),
        )

    def read_generation(self) -> int:
        """The generation alone; cheap enough to ask several times a second."""
        ((generation,),) = self._store.read_rows("SELECT generation FROM trust")
        return int(generation)

    def bump(self) -> None:
        """Begin a new generation: what nodes are told has changed."""
        self._store.write_row("UPDATE trust SET generation = generation + 1", ())

    def set_phase(self, phase: Phase, since: datetime, reason: str) -> None:
        """Enter a phase; a request for a roll-over is met by the first one."""
        self._store.write_row(
            "UPDATE trust SET phase = ?, phase_since = ?, phase_reason = ?, requested_at = NULL,"
            " generation = generation + 1",
            (phase.value, to_seconds(since), reason),
        )

    def request_rotation(self, at: datetime) -> None:
        """Remember that a person wants a roll-over. Bumps, so that the operator looks at once."""
        self._store.write_row(
            "UPDATE trust SET requested_at = ?, generation = generation + 1", (to_seconds(at),)
        )

    def set_wave(self, wave: timedelta) -> None:
        """Over how long nodes renew in a roll-over."""
        self._store.write_row("UPDATE trust SET wave_seconds = ?", (int(wave.total_seconds()),))

    def begin_epoch(self) -> None:
        """Go on far above what nodes may have seen; see `RESTORE_STEP`."""
        self._store.write_row(
            "UPDATE trust SET epoch = epoch + 1, generation = generation + ?", (RESTORE_STEP,)
        )
        # the list itself is old; the next one takes the number that follows
        self._store.write_row("UPDATE crls SET number = number + ?, crl_pem = x''", (RESTORE_STEP,))
        self._store.write_row("DELETE FROM confirmations", ())

    def set_signing(self, authority_id: int) -> None:
        """New certificates come from this authority."""
        self._store.write_row("UPDATE authorities SET is_signing = 0 WHERE is_signing = 1", ())
        self._store.write_row(
            "UPDATE authorities SET is_signing = 1 WHERE authority_id = ?", (authority_id,)
        )

    def retire_authority(self, authority_id: int, at: datetime) -> None:
        """Take an authority out of the trust bundle."""
        self._store.write_row(
            "UPDATE authorities SET retired_at = ? WHERE authority_id = ?",
            (to_seconds(at), authority_id),
        )

    def read_crls(self) -> tuple[CrlRecord, ...]:
        """The newest list of each authority that ever had one."""
        rows = self._store.read_rows(
            "SELECT authority_id, number, crl_pem FROM crls ORDER BY authority_id"
        )
        return tuple(CrlRecord(*row) for row in rows)

    def put_crl(self, record: CrlRecord) -> None:
        """Replace an authority's list; a number that does not grow is an error."""
        self._store.write_row(
            "INSERT INTO crls VALUES (?, ?, ?) ON CONFLICT (authority_id)"
            " DO UPDATE SET number = excluded.number, crl_pem = excluded.crl_pem",
            (record.authority_id, record.number, record.crl_pem),
        )

    def read_revoked(self, authority_id: int) -> tuple[RevokedCertificate, ...]:
        """Every certificate of an authority that was revoked."""
        rows = self._store.read_rows(
            "SELECT serial, revoked_at, not_after, revocation_reason FROM certificates"
            " WHERE authority_id = ? AND revoked_at IS NOT NULL",
            (authority_id,),
        )
        return tuple(
            RevokedCertificate(serial, to_time(at), to_time(end), RevocationReason(reason))
            for serial, at, end, reason in rows
        )

    def read_revoked_chassis(self, now: datetime) -> tuple[str, ...]:
        """Chassis with a revoked certificate and with no other; one that ended counts as long as a
        CRL keeps it.
        """
        ended_before = to_seconds(now - KEPT_AFTER_END)
        rows = self._store.read_rows(
            "SELECT DISTINCT chassis FROM certificates WHERE kind = 'node'"
            " AND revoked_at IS NOT NULL AND not_after > ? EXCEPT SELECT chassis FROM certificates"
            " WHERE kind = 'node' AND revoked_at IS NULL AND not_after > ? ORDER BY chassis",
            (ended_before, ended_before),
        )
        return tuple(str(row[0]) for row in rows)

    def read_expired_chassis(
        self, ended_before: datetime, retired_before: datetime
    ) -> tuple[str, ...]:
        """Chassis whose every certificate ended before a time, whether or not it was revoked.

        Args:
            retired_before: none whose authorities all left the bundle before this.
        """
        rows = self._store.read_rows(
            "SELECT chassis FROM certificates JOIN authorities USING (authority_id)"
            " WHERE kind = 'node' GROUP BY chassis HAVING max(not_after) < ?"
            " AND max(coalesce(retired_at, ?)) >= ? ORDER BY chassis",
            (to_seconds(ended_before), to_seconds(ended_before), to_seconds(retired_before)),
        )
        return tuple(str(row[0]) for row in rows)

    def read_valid_certificates(self, now: datetime) -> dict[str, tuple[tuple[str, int], ...]]:
        """Chassis -> (serial, authority_id) of each certificate of it that is neither revoked nor
        ended, in the order of issue; chassis ascending.
        """
        rows = self._store.read_rows(
            "SELECT chassis, serial, authority_id FROM certificates WHERE kind = 'node'"
            " AND revoked_at IS NULL AND not_after > ? ORDER BY chassis, rowid",
            (to_seconds(now),),
        )
        found: dict[str, tuple[tuple[str, int], ...]] = {}
        for chassis, serial, authority_id in rows:
            found[chassis] = (*found.get(chassis, ()), (serial, authority_id))
        return found

    def revoke_certificates(self, chassis: str, reason: RevocationReason, at: datetime) -> int:
        """Revoke every certificate of a node that was not revoked before; says how many."""
        return self._store.write_row(
            "UPDATE certificates SET revoked_at = ?, revocation_reason = ?"
            " WHERE chassis = ? AND kind = 'node' AND revoked_at IS NULL",
            (to_seconds(at), reason.value, chassis),
        )

    def void_tokens(self, chassis: str, at: datetime) -> int:
        """Take the worth of every unspent token of a node; says how many."""
        return self._store.write_row(
            "UPDATE tokens SET voided_at = ? WHERE chassis = ? AND serial = ''"
            " AND voided_at IS NULL",
            (to_seconds(at), chassis),
        )

    def supersede_tokens(self, chassis: str, at: datetime) -> tuple[str, ...]:
        """Take the worth of every unspent token of a node; says which, in the order of making.

        Those that have expired too: a clock that is set back does not make them good again.
        """
        rows = self._store.read_rows(
            "SELECT identifier FROM tokens WHERE chassis = ? AND serial = ''"
            " AND voided_at IS NULL ORDER BY rowid",
            (chassis,),
        )
        self.void_tokens(chassis, at)
        return tuple(str(row[0]) for row in rows)

    def count_unspent_tokens(self, authority_id: int, before: datetime, now: datetime) -> int:
        """Tokens that pin an authority, were made before a time and can still be spent."""
        ((count,),) = self._store.read_rows(
            "SELECT count(*) FROM tokens WHERE authority_id = ? AND created_at <= ?"
            " AND serial = '' AND voided_at IS NULL AND expires_at > ?",
            (authority_id, to_seconds(before), to_seconds(now)),
        )
        return int(count)

    def put_node(self, record: NodeRecord) -> None:
        """Remember what was said about a chassis."""
        self._store.write_row(
            "INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?)",
            (record.chassis, record.standing.value, record.reason, to_seconds(record.changed_at)),
        )

    def find_node(self, chassis: str) -> NodeRecord | None:
        """What was said about a chassis; None for most."""
        rows = self._store.read_rows("SELECT * FROM nodes WHERE chassis = ?", (chassis,))
        return _node(*rows[0]) if rows else None

    def read_nodes(self) -> tuple[NodeRecord, ...]:
        """Every chassis that was ever revoked or removed."""
        rows = self._store.read_rows("SELECT * FROM nodes ORDER BY chassis")
        return tuple(_node(*row) for row in rows)

    def put_confirmations(self, confirmations: Iterable[Confirmation]) -> None:
        """Replace what nodes said last."""
        for one in confirmations:
            state = one.state
            self._store.write_row(
                "INSERT OR REPLACE INTO confirmations VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    one.chassis,
                    state.generation,
                    json.dumps(state.trusts),
                    json.dumps(state.crls),
                    state.serial,
                    json.dumps(state.in_use),
                    to_seconds(one.seen_at),
                ),
            )

    def read_confirmations(self) -> tuple[Confirmation, ...]:
        """What each node said last."""
        rows = self._store.read_rows("SELECT * FROM confirmations ORDER BY chassis")
        return tuple(
            Confirmation(
                chassis=chassis,
                state=WatchState(
                    generation=generation,
                    trusts=tuple(json.loads(trusts)),
                    crls=tuple((name, number) for name, number in json.loads(crls)),
                    serial=serial,
                    in_use=tuple(json.loads(in_use)),
                ),
                seen_at=to_time(seen_at),
            )
            for chassis, generation, trusts, crls, serial, in_use, seen_at in rows
        )


def _node(chassis: str, standing: str, reason: str, changed_at: int) -> NodeRecord:
    return NodeRecord(chassis, Standing(standing), reason, to_time(changed_at))
