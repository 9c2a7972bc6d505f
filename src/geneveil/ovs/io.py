"""The connection to OVSDB, in a thread of its own.

The IDL replaces its copy of the database within one `run()`, so between two runs the copy is
complete. Until the first complete copy, and whenever the connection is down, a reader gets an
error: an empty answer would look like a node without peers.
"""

import logging
import threading
from collections.abc import Callable

import ovs.db.idl
import ovs.poller

from geneveil.model.errors import DaemonError
from geneveil.model.tunnel import Bridge, OvsSnapshot
from geneveil.ovs.wire import CHASSIS_ID, CONDITIONS, SCHEMA, build_snapshot, parse_interface

LOOK_AGAIN_MILLISECONDS = 1000
"""The IDL does not say when its connection went down: look at it this often."""

_log = logging.getLogger("geneveil.ovs")


class OvsdbWatch:
    """Keeps the latest complete picture of one OVSDB server."""

    def __init__(self, remote: str, wake: Callable[[], None]) -> None:
        self._remote = remote
        self._wake = wake
        self._lock = threading.Lock()
        self._latest: OvsSnapshot | str = "no answer yet"  # or why there is none
        self._thread = threading.Thread(target=self._run, name="ovsdb", daemon=True)

    def start(self) -> None:
        """Start watching; goes on until the process ends."""
        self._thread.start()

    def read(self) -> OvsSnapshot:
        """The latest complete picture, or DaemonError."""
        with self._lock:
            latest = self._latest
        if isinstance(latest, str):
            raise DaemonError(
                f"Open vSwitch's database does not answer at {self._remote}",
                why=latest,
                remedy="start ovsdb-server; what is encrypted stays so meanwhile",
            )
        return latest

    def _run(self) -> None:
        while True:
            try:
                self._watch()
            except Exception as error:  # noqa: BLE001, RUF100 - whatever the IDL raises: start anew
                _log.warning("the OVSDB client failed: %s: %s", type(error).__name__, error)
                self._publish(f"{type(error).__name__}: {error}")
                threading.Event().wait(LOOK_AGAIN_MILLISECONDS / 1000)

    def _watch(self) -> None:
        helper = ovs.db.idl.SchemaHelper(schema_json=SCHEMA)
        helper.register_all()
        idl = ovs.db.idl.Idl(self._remote, helper)
        for table, condition in CONDITIONS.items():
            idl.cond_change(table, condition)
        picture: OvsSnapshot | str = ""
        seen = -1
        while True:
            idl.run()
            # Most rounds only look at the connection: a node may have hundreds of rows.
            if idl.change_seqno != seen or isinstance(picture, str) or not _is_connected(idl):
                picture, seen = _picture(idl), idl.change_seqno
            self._publish(picture)
            poller = ovs.poller.Poller()
            idl.wait(poller)
            poller.timer_wait(LOOK_AGAIN_MILLISECONDS)
            poller.block()

    def _publish(self, picture: OvsSnapshot | str) -> None:
        with self._lock:
            changed = self._latest != picture
            self._latest = picture
        if changed:
            self._wake()


def _is_connected(idl: ovs.db.idl.Idl) -> bool:
    # The IDL keeps no public word for it; its session does, and has since 2010.
    return bool(idl.has_ever_connected() and idl._session.is_connected())


def _picture(idl: ovs.db.idl.Idl) -> OvsSnapshot | str:
    if not _is_connected(idl):
        return "not connected"
    switches = list(idl.tables["Open_vSwitch"].rows.values())
    if not switches:
        return "the database is not initialised"
    rows = idl.tables["Interface"].rows.values()
    ports = idl.tables["Port"].rows.values()
    chassis_ids = {port.name: port.external_ids.get(CHASSIS_ID, "") for port in ports}
    return build_snapshot(
        switches[0].external_ids,
        [
            parse_interface(
                row.name,
                row.type,
                row.options,
                row.external_ids,
                row.mtu,
                chassis_ids.get(row.name, ""),
            )
            for row in rows
        ],
        [Bridge(row.name, row.datapath_type) for row in idl.tables["Bridge"].rows.values()],
        switches[0].other_config,
    )
