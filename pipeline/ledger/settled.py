"""What the ledger says is on the server, page by page: read only, without the lock, also while a run works."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import UsageError
from pipeline.ledger.runs import RunRow
from pipeline.prints import PRINT_BYTES

PAGE = 500
RUNS_NAMED = 5
_IS_SETTLED = "s.state IN ('created', 'existing')"
_COLUMNS = "s.id, s.custom_id, s.state, s.session_id, s.version_id, s.payload_sha256, s.error_kind"
_CONTENT_COLUMNS = (
    "s.extent, s.turn_prints, s.finish, s.is_changing, "
    # Told by the run that saw it last, while that is remembered, and unless it left the session as it was.
    "(SELECT e.spans FROM entry e WHERE e.run = s.seen_run AND e.path = s.seen_path AND e.ordinal = s.seen_ordinal "
    "AND s.extent = 'full' AND s.error_kind IS NOT 'spans_rejected' AND (e.outcome = 'created' "
    "OR (e.outcome = 'changed' AND e.error_kind IN ('updated', 'completed', 'recreated')) "
    "OR (e.outcome = 'skipped' AND e.error_kind IS NOT 'mapping_changed')))"
)
_NO_CONTENT = "NULL, NULL, NULL, 0, NULL"


class Settled(NamedTuple):
    """A session that was settled; the order of the fields is that of the queries that read it."""

    row: int
    custom_id: str
    state: str
    """created, or existing: the server had it, and not from this ledger."""
    session_id: str | None
    """None: the server refuses a second one, and shows none."""
    version_id: str
    payload_sha256: str
    """Of what it holds, or of what was to be sent; empty where nobody knows."""
    error_kind: str | None
    extent: str | None = None
    """turns, or full: it holds them (and spans); None: nothing of ours beside itself."""
    turn_prints: bytes | None = None
    finish: bytes | None = None
    """The body that ended it."""
    is_changing: int = 0
    """A change of it was begun: what it holds by now nobody knows."""
    spans: int | None = None
    """How many were imported, where that is known."""

    @property
    def turns(self) -> int:
        """How many were imported."""
        return len(self.turn_prints or b"") // PRINT_BYTES


def settled_columns(connection: sqlite3.Connection) -> str:
    """The fields of Settled; a ledger before schema 4, which is only read, knows nothing of contents."""
    schema = connection.execute("PRAGMA user_version").fetchone()[0]
    return f"{_COLUMNS}, {_CONTENT_COLUMNS if schema >= 4 else _NO_CONTENT}"


def target_of(connection: sqlite3.Connection, base_url: str, anchor: str) -> int:
    """The number of a target that was imported to. Raises UsageError that names those there are."""
    row = connection.execute("SELECT id FROM target WHERE base_url = ? AND anchor = ?", (base_url, anchor)).fetchone()
    if row is None:
        known = [f"{url} {name}" for url, name in connection.execute("SELECT base_url, anchor FROM target")]
        raise UsageError(
            f"this ledger has imported nothing to {base_url} {anchor}"
            + (f"; it knows {', '.join(known)}" if known else "")
        )
    return int(row[0])


def find_run(connection: sqlite3.Connection, target: int, run_id: str | None) -> RunRow:
    """The run of that id, or the last one, on this target. Raises UsageError that names some there are."""
    rows = connection.execute(
        "SELECT number, id, folder, started_at, processes > 1 FROM run WHERE target = ? AND (? IS NULL OR id = ?) "
        "ORDER BY number DESC LIMIT 1",
        (target, run_id, run_id),
    ).fetchall()
    if not rows:
        query = "SELECT id FROM run WHERE target = ? ORDER BY number DESC LIMIT ?"
        known = [id for (id,) in connection.execute(query, (target, RUNS_NAMED))]
        raise UsageError(
            f"there is no run {run_id or ''} on this target; "
            + (f"the last ones are {', '.join(known)}" if known else "there was none")
            + " (keep_runs says how many are remembered)"
        )
    number, id, folder, started_at, is_continued = rows[0]
    return RunRow(number, id, Path(folder), started_at, bool(is_continued))


def settled_sessions(connection: sqlite3.Connection, target: int, run: RunRow | None) -> Iterator[list[Settled]]:
    """All that is settled on the target, or what the run had to do with.

    A query a page, and no long one: while it lasts, the log of a run that works cannot be folded into its file.
    """
    if run is not None:
        yield from _of_run(connection, target, run)
        return
    last = 0
    where = f"s.id > ? AND s.target = ? AND {_IS_SETTLED}"
    query = f"SELECT {settled_columns(connection)} FROM session s WHERE {where} ORDER BY s.id LIMIT ?"
    while rows := connection.execute(query, (last, target, PAGE)).fetchall():
        last = rows[-1][0]
        yield [Settled(*row) for row in rows]


def _of_run(connection: sqlite3.Connection, target: int, run: RunRow) -> Iterator[list[Settled]]:
    place = (0, 0)
    query = (
        f"SELECT e.path, e.ordinal, {settled_columns(connection)} FROM entry e "
        "JOIN session s ON s.custom_id = e.custom_id AND s.target = ? "
        f"WHERE e.run = ? AND (e.path, e.ordinal) > (?, ?) AND {_IS_SETTLED} "
        # Their custom id is that of an entry before them.
        "AND e.outcome NOT IN ('duplicate', 'conflict') ORDER BY e.path, e.ordinal LIMIT ?"
    )
    while rows := connection.execute(query, (target, run.number, *place, PAGE)).fetchall():
        place = rows[-1][:2]
        yield [Settled(*row[2:]) for row in rows]


def settled_session(connection: sqlite3.Connection, row: int) -> Settled | None:
    """As it stands now; None where it is no longer settled."""
    query = f"SELECT {settled_columns(connection)} FROM session s WHERE s.id = ? AND {_IS_SETTLED}"
    found = connection.execute(query, (row,)).fetchone()
    return Settled(*found) if found is not None else None


def last_settled_at(connection: sqlite3.Connection, run: RunRow | None) -> str | None:
    """When the newest of them was: what the API shows may lag behind for a while after that."""
    where, values = ("WHERE run = ?", (run.number,)) if run is not None else ("", ())
    moment: str | None = connection.execute(f"SELECT max(settled_at) FROM entry {where}", values).fetchone()[0]
    return moment


def last_sent_at(connection: sqlite3.Connection, run: RunRow) -> str | None:
    """When the run was last known to send; what it sent may show for a while after that."""
    moments = [last_settled_at(connection, run)]
    moments += connection.execute("SELECT max(alive_at) FROM process WHERE run = ?", (run.number,)).fetchone()
    return max((moment for moment in moments if moment is not None), default=None)


def open_sessions(connection: sqlite3.Connection, target: int, run: RunRow | None) -> int:
    """How many are not settled, and so not compared: pending, in flight, failed, rejected."""
    which, values = ("AND seen_run = ?", (target, run.number)) if run is not None else ("", (target,))
    query = f"SELECT count(*) FROM session WHERE target = ? AND state NOT IN ('created', 'existing') {which}"
    return int(connection.execute(query, values).fetchone()[0])


def found_per_second(connection: sqlite3.Connection, target: int) -> float | None:
    """The limit that the API was found to have."""
    row = connection.execute("SELECT per_second FROM pace WHERE target = ?", (target,)).fetchone()
    return float(row[0]) if row is not None else None
