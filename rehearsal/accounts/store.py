"""The accounts behind the stand-in: what exists in them, kept in one SQLite file that both providers share."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FAULTS = {
    "rate-limit": "429 Too Many Requests: rate limited, please wait and throttle your requests",
    "server-error": "500 Internal Server Error",
    "timeout-after-create": "context deadline exceeded while awaiting the response headers",
    "no-answer-after-create": "context deadline exceeded while awaiting the response headers",
}
"""Faults that can be asked for, and what a call then fails with."""

AFTER_CREATE = frozenset({"timeout-after-create", "no-answer-after-create"})
"""Those that come when the thing is made already."""

NO_ANSWER_SECONDS = 600
"""How long a call without an answer waits for one: time to kill the update meanwhile."""

_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    type TEXT, scope TEXT, id TEXT, inputs TEXT NOT NULL, computed TEXT NOT NULL, PRIMARY KEY (type, scope, id)
);
CREATE TABLE IF NOT EXISTS faults (type TEXT, operation TEXT, fault TEXT, times INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Record:
    """Something that exists in an account: what it was made with, and what the cloud added.

    `scope` is the zone or account that the id is unique in, empty for a tailnet. Secrets are in the clear here, as
    they are on the cloud's own side.
    """

    type: str
    scope: str
    id: str
    inputs: dict[str, Any]
    computed: dict[str, Any] = field(default_factory=dict)


def scope_of(properties: Mapping[str, Any]) -> str:
    """The zone, account or nothing that these properties belong to."""
    return str(properties.get("zoneId") or properties.get("accountId") or "")


class Account:
    """The accounts within one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, type_: str, id_: str, scope: str | None = None) -> Record | None:
        """The record of an id, in whatever scope unless one is given."""
        return next((r for r in self.all(type_, scope) if r.id == id_), None)

    def all(self, type_: str | None = None, scope: str | None = None) -> list[Record]:
        """All records, of a type and scope if given."""
        rows = self._connection.execute(
            "SELECT type, scope, id, inputs, computed FROM records"
            " WHERE type = coalesce(?, type) AND scope = coalesce(?, scope) ORDER BY type, scope, id",
            (type_, scope),
        )
        return [Record(row[0], row[1], row[2], json.loads(row[3]), json.loads(row[4])) for row in rows]

    def put(self, record: Record) -> None:
        """Store a record, in place of one with its key."""
        self._connection.execute(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)",
            (record.type, record.scope, record.id, json.dumps(record.inputs), json.dumps(record.computed)),
        )

    def remove(self, record: Record) -> None:
        """Drop a record; one that is gone already is fine."""
        self._connection.execute(
            "DELETE FROM records WHERE type = ? AND scope = ? AND id = ?", (record.type, record.scope, record.id)
        )

    def ask_for_fault(self, type_: str, operation: str, fault: str, times: int) -> None:
        """Let the next `times` operations (`create`, `read`, `update` or `delete`) on a type fail."""
        self._connection.execute("INSERT INTO faults VALUES (?, ?, ?, ?)", (type_, operation, fault, times))

    def take_fault(self, type_: str, operation: str) -> str | None:
        """The fault that is due for this operation, counted off, or None."""
        row = self._connection.execute(
            "SELECT rowid, fault FROM faults WHERE type = ? AND operation = ? AND times > 0 LIMIT 1", (type_, operation)
        ).fetchone()
        if row:
            self._connection.execute("UPDATE faults SET times = times - 1 WHERE rowid = ?", row[:1])
        return row[1] if row else None


class Accounts:
    """The file with the accounts, made at first use and readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def transaction(self) -> Iterator[Account]:
        """One transaction; it is undone when the block raises. Others wait for it, up to 30 s."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch(0o600)
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                yield Account(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
