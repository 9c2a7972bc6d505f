"""Which objects a transaction changes: kept by triggers beside the rows, rolled back with them."""

from geneveil.operator.kubernetes.ledger import CLUSTER_TABLES

_TABLES = """
CREATE TEMP TABLE changed (chassis TEXT PRIMARY KEY);
CREATE TEMP TABLE changed_state (id INTEGER PRIMARY KEY);
"""
_VERBS = ("INSERT", "UPDATE")


def change_script() -> str:
    """The SQL that begins it: tables `changed` and `changed_state`, and what fills them."""
    script = [_TABLES]
    for table in ("certificates", "nodes"):
        script += [_trigger(table, verb, "changed", "NEW.chassis") for verb in _VERBS]
    for table in CLUSTER_TABLES:
        script += [_trigger(table, verb, "changed_state", "1") for verb in _VERBS]
    return "".join(script)


def _trigger(table: str, verb: str, changes: str, value: str) -> str:
    # no OR IGNORE: SQLite lets the statement that fires a trigger overrule it, an upsert with ABORT
    note = (
        f"INSERT INTO {changes} SELECT {value}"  # noqa: S608
        f" WHERE {value} NOT IN (SELECT * FROM {changes});"
    )
    return f"CREATE TEMP TRIGGER {table}_{verb} AFTER {verb} ON {table} BEGIN {note} END;\n"
