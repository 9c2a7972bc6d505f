"""A `Store` whose durable truth is API objects.

The rows live in memory, in SQLite, so that everything that decides uses the very same tables as in
standalone. An outermost transaction is believed only after every object that it changed has been
written, each over the very version that was read: whoever lost the lead unknowingly gets a 409.

A write that failed may have been done. So after any failure the store is stale: it refuses all
further work, and whoever owns it reads everything anew.

Writes of one transaction: chassis' ledgers first (at once, they do not depend on one another), the
Secret last. A kill in between leaves certificates or revocations that the Secret's generation does
not tell of yet; the next leader's first look makes that good, because it compares what is.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from geneveil.kube.errors import ApiRefusedError, ConflictError, MissingError
from geneveil.kube.kinds import CONFIG_MAPS, SECRETS
from geneveil.kube.port import Document, Kind, KubePort, Selection
from geneveil.model.clock import Clock
from geneveil.model.errors import DaemonError, GeneveilError, TrustError
from geneveil.operator.kubernetes.bindings import Bindings
from geneveil.operator.kubernetes.changes import change_script
from geneveil.operator.kubernetes.forgetting import Past, find_forgotten, find_past, is_over
from geneveil.operator.kubernetes.ledger import (
    AUDIT,
    CA_SECRET,
    CERTIFICATES,
    CLUSTER_TABLES,
    LEDGER_PREFIX,
    LOG_CONFIG_MAP,
    MOST_LOG_ENTRIES,
    NODES,
    Binding,
    ChassisLedger,
    ClusterState,
    Row,
    check_authorities,
    ledger_document,
    ledger_name,
    log_document,
    parse_ledger,
    parse_log,
    parse_state,
    state_document,
)
from geneveil.operator.store import Store
from geneveil.pki.keys import PrivateKey, encode_key

WRITERS = 8


@dataclass(frozen=True)
class Place:
    """Where the objects are.

    Attributes:
        may_write: asked before each write: False ends the transaction.
    """

    port: KubePort
    namespace: str
    may_write: Callable[[], bool] = lambda: True


class KubeStore(Store):
    """The rows of one cluster; not safe for several threads.

    Args:
        clock: the API server's, as far as it is known; see `forgetting`.

    Attributes:
        believed_at: the latest moment of a leader's clock that was believed; None for none yet.
    """

    def __init__(self, place: Place, clock: Clock) -> None:
        super().__init__(Path(f"{place.namespace}/{CA_SECRET}"), uri="file::memory:")
        self._place, self._clock = place, clock
        self._versions: dict[str, str] = {}
        self._bindings = Bindings()
        self.keys: dict[int, bytes] = {}
        self.heard_wish = ""
        self.believed_at: datetime | None = None
        self.is_stale = False
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="ledger")
        self._told_seq = 0
        self._logged_seq = 0

    def close(self) -> None:
        self._writers.shutdown(wait=False)
        super().close()

    def load(self) -> bool:
        """Read every object, as of now; once, before anything else.

        Returns:
            False if nothing was ever sealed here.
        Raises:
            TrustError: an object can't be read, or ledgers are there and no Secret is.
        """
        port, namespace = self._place.port, self._place.namespace
        secret = port.find(SECRETS, CA_SECRET, namespace)
        # by name, not by label: whoever takes a label away makes no revocation forgotten
        documents = [
            one
            for one in port.list_all(Selection(CONFIG_MAPS, namespace)).items
            if str(one["metadata"]["name"]).startswith(LEDGER_PREFIX)
            and one["metadata"]["name"] != LOG_CONFIG_MAP
        ]
        if secret is None:
            if documents:
                raise TrustError(
                    f"the Secret {namespace}/{CA_SECRET} is gone",
                    why=f"{len(documents)} chassis have certificates of the authority in it",
                    remedy="restore it from a backup; another authority would cut all nodes off",
                )
            self._watch_changes()
            return False
        self._fill(secret, documents)
        log = port.find(CONFIG_MAPS, LOG_CONFIG_MAP, namespace)
        if log is not None:
            self._insert("audit", AUDIT, parse_log(log))
            self._note(log)
        ((self._told_seq,),) = self.read_rows("SELECT coalesce(max(seq), 0) FROM audit")
        self._logged_seq = self._told_seq
        self._watch_changes()
        return True

    def stage_key(self, authority_id: int, key: PrivateKey) -> None:
        """Put an authority's key into the Secret, with the transaction that makes it known."""
        self.keys[authority_id] = encode_key(key)
        self._mark_state()

    def drop_keys(self, authority_ids: Iterable[int]) -> None:
        """Take keys out of the Secret; those that are gone are no error."""
        gone = [number for number in authority_ids if number in self.keys]
        if not gone:
            return
        with self.transaction():
            for number in gone:
                del self.keys[number]
            self._mark_state()

    def hear_wish(self, text: str) -> None:
        """Remember a person's wish for a roll-over as heard; inside a transaction."""
        self.heard_wish = text
        self._mark_state()

    def note_believed(self, at: datetime) -> None:
        """Keep the latest moment that was believed, for whoever leads next; in a transaction."""
        self.believed_at = at
        self._mark_state()

    def bind(self, chassis: str, binding: Binding) -> None:
        """Remember which Node a chassis is; inside a transaction."""
        if self._bindings.stage(chassis, binding):
            self.write_row("INSERT OR IGNORE INTO changed VALUES (?)", (chassis,))

    def find_binding(self, chassis: str) -> Binding | None:
        """The Node that a chassis is, as the open transaction has it."""
        return self._bindings.find(chassis)

    def chassis_of(self, node: str) -> tuple[str, ...]:
        """Every chassis that a Node is or was, ascending, as the open transaction has it."""
        return self._bindings.chassis_of(node)

    def nodes_spelled(self, chassis: str) -> tuple[str, ...]:
        """Nodes that are a chassis of this name in other letters: for IKE the same name."""
        return self._bindings.nodes_spelled(chassis)

    @property
    def bindings(self) -> dict[str, Binding]:
        """Chassis -> Node, as it is durable."""
        return self._bindings.known

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: also of what is not in the tables."""
        staged, keys = self._bindings.staged, dict(self.keys)
        heard_wish, believed_at = self.heard_wish, self.believed_at
        try:
            with super().transaction():
                yield
        except BaseException:
            self._bindings.staged, self.keys = staged, keys
            self.heard_wish, self.believed_at = heard_wish, believed_at
            raise

    def write_through(self) -> None:
        """Write every object that the transaction changed, or fail and be stale."""
        if self.is_stale:
            raise DaemonError("the operator's state is being read anew", remedy="try again")
        chassis = [str(row[0]) for row in self.read_rows("SELECT chassis FROM changed")]
        is_state = bool(self.read_rows("SELECT 1 FROM changed_state"))
        if not chassis and not is_state:
            return
        try:
            namespace, past = self._place.namespace, self._find_past()
            for name in chassis:
                self._forget(name, past)
            documents = [ledger_document(self._ledger(name), namespace) for name in chassis]
            tasks = [self._writers.submit(self._put, CONFIG_MAPS, one) for one in documents]
            for task in tasks:
                with suppress(GeneveilError):
                    task.result()  # wait for all; then say what the first one said
            for task in tasks:
                task.result()
            if is_state:
                self._put(SECRETS, state_document(self._state(), namespace))
        except BaseException:
            self.is_stale = True
            raise
        self._bindings.commit()
        self.write_row("DELETE FROM changed", ())
        self.write_row("DELETE FROM changed_state", ())

    def count_revoked(self, authority_id: int) -> tuple[int, int]:
        """How many certificates of an authority are revoked; and of the chassis with the most."""
        rows = self.read_rows(
            "SELECT count(*) FROM certificates WHERE authority_id = ? AND revoked_at IS NOT NULL"
            " GROUP BY chassis",
            (authority_id,),
        )
        counts = [int(count) for (count,) in rows]
        return sum(counts), max(counts, default=0)

    def forget_gone(self, is_there: Callable[[str], bool], most: int) -> tuple[str, ...]:
        """Delete the objects of chassis whose Node is gone and whose certificates are all over.

        One that a person revoked is remembered: it comes back by a person's word alone.

        Args:
            is_there: whether there is a Node of this name.
            most: so many at most.
        Returns:
            Those that were forgotten.
        Raises:
            ApiRefusedError: the operator may not; nothing was changed.
            GeneveilError: an object is not as it was read: the store is to be read anew.
        """
        past = self._find_past()
        gone: list[str] = []
        for chassis, binding in self.bindings.items():
            if len(gone) < most and not is_there(binding.node) and self._is_over(chassis, past):
                gone.append(chassis)
        for chassis in gone:
            self._drop(chassis)
        return tuple(gone)

    def _is_over(self, chassis: str, past: Past) -> bool:
        if not is_over(self.find_certificates_of(chassis), past):
            return False
        revoked = "SELECT 1 FROM nodes WHERE chassis = ? AND standing = 'revoked'"
        return not self.read_rows(revoked, (chassis,))

    def _drop(self, chassis: str) -> None:
        name = ledger_name(chassis)
        if self.is_stale or not self._place.may_write():
            raise DaemonError("this operator leads no more", remedy="the leader goes on")
        try:
            self._place.port.delete(
                CONFIG_MAPS, name, self._place.namespace, version=self._versions.get(name, "")
            )
        except ApiRefusedError:
            raise
        except BaseException:
            self.is_stale = True
            raise
        with self.transaction():
            for table in ("certificates", "nodes"):
                self.write_row(f"DELETE FROM {table} WHERE chassis = ?", (chassis,))  # noqa: S608
        self._bindings.forget(chassis)
        self._versions.pop(name, None)

    def take_told(self) -> tuple[Row, ...]:
        """Entries of the log since the last call, for the operator's own log lines."""
        rows = self.read_rows(
            f"SELECT {', '.join(AUDIT)} FROM audit WHERE seq > ? ORDER BY seq",  # noqa: S608
            (self._told_seq,),
        )
        if rows:
            self._told_seq = rows[-1][0]
        return tuple(rows)

    def write_log(self) -> None:
        """Write the log's newest entries, if there are new ones.

        Raises:
            ConflictError, MissingError: it is not as it was read: the store is to be read anew.
        """
        if self.is_stale:
            return
        rows = self.read_rows(f"SELECT {', '.join(AUDIT)} FROM audit ORDER BY seq")  # noqa: S608
        if rows and rows[-1][0] > self._logged_seq:
            try:
                self._put(CONFIG_MAPS, log_document(rows, self._place.namespace))
            except (ConflictError, MissingError):
                # another leads, or somebody had a hand in it: what else is not as it was read?
                self.is_stale = True
                raise
            self._logged_seq = rows[-1][0]
            # what was told and is too old for the object is needed no more: a node that is refused
            # all day long does not fill the memory
            oldest = min(self._told_seq, self._logged_seq - MOST_LOG_ENTRIES)
            self.write_row("DELETE FROM audit WHERE seq <= ?", (oldest,))

    def _fill(self, secret: Document, documents: Iterable[Document]) -> None:
        state = parse_state(secret)
        self._note(secret)
        self.keys, self.heard_wish = dict(state.keys), state.heard_wish
        self.believed_at = state.believed_at
        with self._db:  # begins nothing by itself: these rows are written nowhere else
            self.write_row("DELETE FROM trust", ())
            for table, columns in CLUSTER_TABLES.items():
                self._insert(table, columns, state.tables[table])
            for document in documents:
                ledger = parse_ledger(document)
                check_authorities(ledger, state)
                self._note(document)
                if ledger.binding is not None:
                    self._bindings.load(ledger.chassis, ledger.binding)
                self._insert("certificates", CERTIFICATES, ledger.certificates)
                if ledger.standing is not None:
                    self._insert("nodes", NODES, (ledger.standing,))

    def _insert(self, table: str, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
        places = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608
        for row in rows:
            self.write_row(statement, row)

    def _watch_changes(self) -> None:
        # the log itself is this process' output; the rows are a copy of its newest entries
        self._db.executescript("DROP TRIGGER audit_is_never_deleted;\n" + change_script())

    def _mark_state(self) -> None:
        self.write_row("INSERT OR IGNORE INTO changed_state VALUES (1)", ())

    def _ledger(self, chassis: str) -> ChassisLedger:
        certificates = self.read_rows(
            f"SELECT {', '.join(CERTIFICATES)} FROM certificates"  # noqa: S608
            " WHERE chassis = ? ORDER BY rowid",
            (chassis,),
        )
        standing = self.read_rows("SELECT * FROM nodes WHERE chassis = ?", (chassis,))
        binding = self.find_binding(chassis)
        return ChassisLedger(
            chassis, binding, tuple(certificates), standing[0] if standing else None
        )

    def _state(self) -> ClusterState:
        tables = {
            table: tuple(self.read_rows(f"SELECT {', '.join(columns)} FROM {table}"))  # noqa: S608
            for table, columns in CLUSTER_TABLES.items()
        }
        return ClusterState(tables, self.keys, self.heard_wish, self.believed_at)

    def _find_past(self) -> Past:
        return find_past(self.believed_at, self._clock.now(), self.read_authorities())

    def _forget(self, chassis: str, past: Past) -> None:
        for serial in find_forgotten(self.find_certificates_of(chassis), past):
            self.write_row("DELETE FROM certificates WHERE serial = ?", (serial,))

    def _put(self, kind: Kind, document: Document) -> None:
        if not self._place.may_write():
            raise DaemonError("this operator leads no more", remedy="the leader goes on")
        name = document["metadata"]["name"]
        version = self._versions.get(name, "")
        if version:
            document["metadata"]["resourceVersion"] = version
            self._note(self._place.port.replace(kind, document))
        else:
            self._note(self._place.port.create(kind, document))

    def _note(self, document: Document) -> None:
        metadata = document["metadata"]
        self._versions[str(metadata["name"])] = str(metadata["resourceVersion"])


def load_store(place: Place, clock: Clock) -> KubeStore | None:
    """The store of a sealed cluster; None if nothing was ever sealed.

    Raises:
        GeneveilError: something can't be read.
    """
    store = KubeStore(place, clock)
    try:
        if store.load():
            return store
    except BaseException:
        store.close()
        raise
    store.close()
    return None
