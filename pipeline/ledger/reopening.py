"""Settled sessions are opened again: the next run that meets their records sends them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.ledger.database import Database
from pipeline.ledger.runs import CONTINUED_EXIT_CODES

_CHOSEN = """
CREATE TEMP TABLE IF NOT EXISTS chosen (session INTEGER PRIMARY KEY);
CREATE TEMP TABLE IF NOT EXISTS chosen_entry (session INTEGER, run INTEGER, path INTEGER, ordinal INTEGER);
CREATE INDEX IF NOT EXISTS temp.chosen_entry_by_session ON chosen_entry (session);
CREATE TEMP TABLE IF NOT EXISTS given (session INTEGER);
DELETE FROM chosen;
DELETE FROM chosen_entry;
"""


class Reopening:
    """First say which, then open them, one by one or all at once.

    A row that is open is of no use where its file counts as done and is not read again, or where a run that goes on
    has charged its record already. So the files are forgotten first: a kill in between costs reading them once more.
    """

    def __init__(self, database: Database, target: int) -> None:
        self._database = database
        self._target = target
        database.connection.executescript(_CHOSEN)

    def choose(self, query: str, values: Sequence[object]) -> None:
        """The sessions whose row numbers the query gives; their files will be read again."""
        with self._database.transaction() as connection:
            connection.execute(f"INSERT INTO temp.chosen {query}", values)
            connection.execute(
                "INSERT INTO temp.chosen_entry SELECT c.session, e.run, e.path, e.ordinal "
                "FROM entry e JOIN run r ON r.number = e.run AND r.target = ? "
                "JOIN session s ON s.custom_id = e.custom_id AND s.target = r.target "
                "JOIN temp.chosen c ON c.session = s.id",
                (self._target,),
            )
            connection.execute(
                "DELETE FROM done_file WHERE target = ? AND path IN (SELECT path FROM temp.chosen_entry "
                "UNION SELECT s.seen_path FROM temp.chosen c JOIN session s ON s.id = c.session)",
                (self._target,),
            )
            marks = ", ".join("?" * len(CONTINUED_EXIT_CODES))
            connection.execute(
                "DELETE FROM temp.chosen_entry WHERE run NOT IN "
                f"(SELECT number FROM run WHERE finished_at IS NULL OR exit_code IN ({marks}))",
                CONTINUED_EXIT_CODES,
            )

    def choose_rows(self, rows: Sequence[int]) -> None:
        """The same of row numbers."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM temp.given")
            connection.executemany("INSERT INTO temp.given VALUES (?)", [(row,) for row in rows])
        self.choose("SELECT DISTINCT session FROM temp.given", ())

    def open(self, row: int) -> None:
        """Within the caller's transaction: this one is pending, in the runs that may go on, too."""
        connection = self._database.connection
        connection.execute(
            "UPDATE session SET state = 'pending', session_id = NULL, version_id = NULL, settled_run = NULL, "
            "http_status = NULL, error_kind = NULL, error = NULL, extent = NULL, turn_prints = NULL, "
            "content_sha256 = NULL, spans_sha256 = NULL, finish = NULL, is_changing = 0, sent_by = NULL WHERE id = ?",
            (row,),
        )
        connection.execute(
            "UPDATE entry SET outcome = 'pending', session_id = NULL, http_status = NULL, error_kind = NULL, "
            "error = NULL, settled_at = NULL WHERE outcome NOT IN ('duplicate', 'conflict') AND (run, path, ordinal) "
            "IN (SELECT run, path, ordinal FROM temp.chosen_entry WHERE session = ?)",
            (row,),
        )
