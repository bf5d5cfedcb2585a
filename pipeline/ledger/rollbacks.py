"""A rollback in the ledger: what the run created, what is noted before it is deleted, and how that ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pipeline.ledger.database import Database
from pipeline.ledger.reopening import Reopening
from pipeline.ledger.runs import RunRow
from pipeline.ledger.settled import PAGE, Settled, settled_columns

_CREATED = "s.target = ? AND s.state = 'created' AND s.settled_run = ?"
_IN_DOUBT = "s.target = ? AND s.state IN ('sent', 'unknown') AND s.seen_run = ?"
"""Of a run that was stopped most of these are there, with a part of their turns."""


class RollbackLedger:
    """For one run on one target."""

    def __init__(self, database: Database, target: int, run: RunRow) -> None:
        self._database = database
        self._connection = database.connection
        self._target = target
        self._run = run.number
        self._reopening = Reopening(database, target)

    def created(self) -> Iterator[list[Settled]]:
        """The sessions that the run created and that are not taken back yet, page by page."""
        return self._pages(_CREATED)

    def doubtful(self) -> Iterator[list[Settled]]:
        """The sessions of the run that may be on the server: nobody has settled them."""
        return self._pages(_IN_DOUBT)

    def _pages(self, which: str) -> Iterator[list[Settled]]:
        last = 0
        columns = settled_columns(self._connection)
        query = f"SELECT {columns} FROM session s WHERE s.id > ? AND {which} ORDER BY s.id LIMIT ?"
        while rows := self._connection.execute(query, (last, self._target, self._run, PAGE)).fetchall():
            last = rows[-1][0]
            yield [Settled(*row) for row in rows]

    def updated(self) -> list[str]:
        """Custom ids of sessions that the run changed or added turns to, or began to: what they held before is nowhere.

        Others' sessions that it completed are among them, and those that it replaced by new ones.
        """
        rows = self._connection.execute(
            "SELECT e.custom_id FROM entry e JOIN session s ON s.custom_id = e.custom_id AND s.target = ? "
            "WHERE e.run = ? AND ("
            "(e.outcome = 'changed' AND e.error_kind IN ('updated', 'completed', 'recreated') "
            "AND s.settled_run IS NOT e.run) OR (e.outcome = 'existing' AND e.error_kind = 'completed') "
            "OR (s.is_changing AND s.seen_run = e.run)) ORDER BY e.path, e.ordinal",
            (self._target, self._run),
        )
        return [custom_id for (custom_id,) in rows]

    def in_doubt(self) -> int:
        """How many of these there are: the next import finds out about them."""
        query = f"SELECT count(*) FROM session s WHERE {_IN_DOUBT}"
        return int(self._connection.execute(query, (self._target, self._run)).fetchone()[0])

    def taken_back(self) -> int:
        """How many were taken back, by all rollbacks of this run."""
        query = "SELECT count(*) FROM rollback WHERE run = ? AND outcome IS NOT NULL"
        return int(self._connection.execute(query, (self._run,)).fetchone()[0])

    def begin(self) -> None:
        """Before anything is deleted: the files of these sessions are to be read again."""
        for which in (_CREATED, _IN_DOUBT):
            self._reopening.choose(f"SELECT s.id FROM session s WHERE {which}", (self._target, self._run))

    def intended_id(self, session: Settled) -> str | None:
        """The session that an earlier rollback, which broke off, meant to delete."""
        row = self._connection.execute(
            "SELECT session_id FROM rollback WHERE run = ? AND session = ? AND outcome IS NULL",
            (self._run, session.row),
        ).fetchone()
        return row[0] if row is not None else None

    def intend(self, session: Settled) -> None:
        """Written before the first request that changes it."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO rollback (run, session, session_id) VALUES (?, ?, ?)",
                (self._run, session.row, session.session_id),
            )

    def end(self, session: Settled, outcome: Literal["deleted", "gone"]) -> None:
        """It is not there any more: its row is open again, in the same commit."""
        with self._database.transaction() as connection:
            self._reopening.open(session.row)
            connection.execute(
                "INSERT OR REPLACE INTO rollback (run, session, session_id, outcome) VALUES (?, ?, ?, ?)",
                (self._run, session.row, session.session_id, outcome),
            )
