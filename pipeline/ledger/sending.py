"""What is sent of the sessions, in the ledger: intended before it leaves, settled after."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from pipeline.ledger.admission import SPANS_REJECTED
from pipeline.ledger.database import Database
from pipeline.ledger.rejects import Rejects
from pipeline.ledger.settling import (
    NO_TRAFFIC,
    SETTLE_ENTRY,
    Change,
    Send,
    Settlement,
    Traffic,
    change_of,
    entry_values,
    session_values,
    settle_session,
)
from pipeline.models import Outcome, Reject


class Sending:
    """For one run on one target. `open_records`: by path, those whose sessions are on their way."""

    def __init__(
        self,
        database: Database,
        rejects: Rejects,
        *,
        run: int,
        target: int,
        paths: Mapping[str, int],
        open_records: Counter[int],
    ) -> None:
        self._database = database
        self._rejects = rejects
        self._run = run
        self._target = target
        self._paths = paths
        self._open_records = open_records
        self._process: int | None = None
        """The number of this one, once it sends."""

    def intend(self, sends: Sequence[Send], version_id: str, alive_at: str | None = None) -> None:
        """Write that these are about to leave, where to and when: before their first byte does."""
        with self._database.transaction() as connection:
            if alive_at is not None:
                self._note_alive(connection, alive_at)
            connection.executemany(
                "UPDATE session SET state = 'sent', version_id = ? "
                "WHERE id = ? AND state NOT IN ('created', 'existing')",
                [(send.version_id or version_id, send.row) for send in sends],
            )
            changing = [send for send in sends if send.action != "create" and send.session.content is not None]
            connection.executemany(
                "UPDATE session SET is_changing = 1 WHERE id = ? AND state IN ('created', 'existing')",
                [(send.row,) for send in changing],
            )
            # Until it is through, no run may pass over their files, whatever it imports.
            connection.executemany(
                "DELETE FROM done_file WHERE target = ? AND path = ?",
                {(self._target, self._paths[part.source]) for send in changing for part in send.session.parts},
            )

    def withdraw(self, sends: Sequence[Send]) -> None:
        """Take an intent back: these did not leave, and are what they were before."""
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE session SET state = ? WHERE id = ? AND state = 'sent'",
                [
                    (send.state if send.state not in (None, "rejected") else "pending", send.row)
                    for send in sends
                    if send.action == "create"
                ],
            )
            connection.executemany(
                "UPDATE session SET is_changing = ? WHERE id = ? AND state IN ('created', 'existing')",
                [(send.before.is_changing, send.row) for send in sends if send.action != "create"],
            )

    def begin_content(self, rows: Iterable[int], alive_at: str) -> None:
        """Write that turns or spans of these are about to leave: nothing but a look tells whether they were stored."""
        with self._database.transaction() as connection:
            self._note_alive(connection, alive_at)
            connection.executemany(
                "UPDATE session SET sent_by = ?, "
                "state = CASE WHEN state IN ('created', 'existing') THEN state ELSE 'sent' END WHERE id = ?",
                [(self._process, row) for row in rows],
            )

    def _note_alive(self, connection: sqlite3.Connection, alive_at: str) -> None:
        update = "UPDATE process SET alive_at = ? WHERE number = ?"
        if not connection.execute(update, (alive_at, self._process)).rowcount:  # its first word, if that stands
            insert = "INSERT INTO process (run, alive_at) VALUES (?, ?)"
            self._process = connection.execute(insert, (self._run, alive_at)).lastrowid

    def settle(
        self,
        settlements: Sequence[Settlement],
        traffic: Traffic = NO_TRAFFIC,
        found_per_second: float | None = None,
        alive_at: str | None = None,
    ) -> None:
        """Write how these ended: the session's row and the run's row change together, or not at all.

        `found_per_second`: the API's limit, where it is known better than before; `alive_at`: now.
        """
        with self._database.transaction() as connection:
            for change, alike in groupby(settlements, change_of):
                self._settle_alike(connection, change, list(alike))
            connection.execute(
                "UPDATE run SET requests = requests + ?, retries = retries + ?, throttled = throttled + ?, "
                "bytes_sent = bytes_sent + ? WHERE number = ?",
                (*traffic, self._run),
            )
            if alive_at is not None:
                self._note_alive(connection, alive_at)
            if found_per_second is not None:
                connection.execute("INSERT OR REPLACE INTO pace VALUES (?, ?)", (self._target, found_per_second))
        for settlement in settlements:
            if settlement.outcome is not Outcome.PENDING:
                parts = settlement.send.session.parts
                self._open_records.subtract(self._paths[part.source] for part in parts)

    def _settle_alike(self, connection: sqlite3.Connection, change: Change, settlements: list[Settlement]) -> None:
        """Settlements in a row that change the same columns: one statement serves them all."""
        run = self._run
        if change.is_refused:
            for done in settlements:
                if connection.execute(SETTLE_ENTRY, entry_values(done, run)).rowcount:
                    self._rejects.write_parts(
                        connection, done.send.session, done.error_kind, done.error, repeated=False
                    )
                # else it was superseded on the way
        else:
            connection.executemany(SETTLE_ENTRY, [entry_values(done, run) for done in settlements])
            if self._rejects.has_of_upload:
                connection.executemany(
                    "DELETE FROM reject WHERE run = ? AND path = ? AND ordinal = ? AND stage = 'upload'",
                    (
                        (run, self._paths[part.source], part.ordinal)
                        for done in settlements
                        for part in done.send.session.parts
                    ),
                )
        if change.has_refused_spans:
            for done in settlements:
                reject = _rejected_spans(done)
                self._rejects.write(connection, reject, repeated=False)
        connection.executemany(settle_session(change), [session_values(done, change, run) for done in settlements])


def _rejected_spans(done: Settlement) -> Reject:
    """They came from some of the session's records; nobody knows any more from which."""
    session = done.send.session
    return Reject(
        session.parts[0], "upload", SPANS_REJECTED, done.refused_spans or "", session.trace_id, session.format
    )
