"""The rejects of a run: each record that goes nowhere, with the reason."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from pipeline.ledger.database import Database
from pipeline.models import Part, Reject, SessionImport

MAX_KEPT_RECORD = 1_048_576
"""Bytes of a record that the rejects keep; of a longer one only the position."""

UNREADABLE = "unreadable"
"""The kind of what could not be read, and so may hold anything: that is news every night."""


class Rejects:
    """Written inside the transactions of the others."""

    def __init__(
        self,
        database: Database,
        *,
        run: int,
        target: int,
        paths: Mapping[str, int],
        retry_rejected: bool,
        keep_records: bool,
        is_new: bool,
    ) -> None:
        self._database = database
        self._run = run
        self._target = target
        self._paths = paths
        self._retry_rejected = retry_rejected
        self._keep_records = keep_records
        self._last_reading: dict[int, int] | None = None
        """By path: the last run before this one that read the file, once somebody asks."""
        self.has_of_upload = not is_new
        """Are there any that a later outcome could make untrue? A run that goes on may have some."""

    def write_parts(
        self,
        connection: sqlite3.Connection,
        session: SessionImport,
        kind: str | None,
        error: str | None,
        *,
        repeated: bool,
    ) -> None:
        for part in session.parts:
            reject = Reject(part, "upload", kind or "rejected", error or "", session.trace_id, session.format)
            self.write(connection, reject, repeated=repeated)

    def was_written_before(self, connection: sqlite3.Connection, reject: Reject) -> bool:
        """Did the last run with this mapping that read this file reject the record for the same reason? No news, then.

        Forgotten with the rows of that run.
        """
        if self._retry_rejected or reject.kind == UNREADABLE:
            return False
        schema = "past" if self._database.has_past else "main"
        if self._last_reading is None:
            query = (
                f"SELECT s.path, max(s.run) FROM {schema}.source s JOIN {schema}.run r ON r.number = s.run "
                "WHERE r.target = ? AND s.state != 'unchanged' AND (s.run < ? OR ?) "
                "AND r.mapping_sha256 = (SELECT mapping_sha256 FROM main.run WHERE number = ?) GROUP BY s.path"
            )
            values = (self._target, self._run, self._database.has_past, self._run)
            self._last_reading = dict(connection.execute(query, values).fetchall())
        part = reject.part
        path = self._paths[part.source]
        row = connection.execute(
            f"SELECT error_kind, position, record FROM {schema}.reject "
            "WHERE run = ? AND path = ? AND ordinal = ? AND stage = ?",
            (self._last_reading.get(path), path, part.ordinal, reject.stage),
        ).fetchone()
        return row is not None and tuple(row) == (reject.kind, part.position, self._kept(part))

    def _kept(self, part: Part) -> bytes | None:
        return part.raw if self._keep_records and 0 < len(part.raw) <= MAX_KEPT_RECORD else None

    def write(self, connection: sqlite3.Connection, reject: Reject, *, repeated: bool) -> None:
        part = reject.part
        self.has_of_upload |= reject.stage == "upload"
        connection.execute(
            "INSERT OR REPLACE INTO reject (run, path, ordinal, stage, position, error_kind, error, trace_id, format, "
            "record, repeated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._run,
                self._paths[part.source],
                part.ordinal,
                reject.stage,
                part.position,
                reject.kind,
                reject.error,
                reject.trace_id,
                reject.format,
                self._kept(part),
                repeated,
            ),
        )
