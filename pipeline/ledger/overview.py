"""What the ledger holds, for whoever asks: read only, without the lock, also while a run works."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.ledger.database import IS_OPEN, opened_for_reading

_COUNT_OPEN = f"SELECT target, state, count(*) FROM session WHERE {IS_OPEN} GROUP BY target, state"
_HOLDER = re.compile(r"process (\d+) on (.+)", re.DOTALL)


class Holder(NamedTuple):
    """The process that a run is, and the machine that it works on."""

    pid: int
    host: str


class RunView(NamedTuple):
    """A run as it stands."""

    id: str
    started_at: str
    finished_at: str | None
    state: Literal["working", "killed", "ended"]
    exit_code: int | None
    is_continued: bool
    outcomes: Mapping[str, int]
    rejects: int
    sessions_per_second: float | None
    """From the first request to the last answer; None where there were none, or several processes."""
    folder: str
    taken_back: int
    """Sessions of this run that a rollback deleted: the outcomes count them as the run left them."""


class TargetView(NamedTuple):
    """What is known of a target: sessions that are not settled, and the pace at which the next run begins."""

    base_url: str
    anchor: str
    """version:… or product:…"""
    open: Mapping[str, int]
    """By state: pending, sent (no answer was recorded), failed, unknown; those with 0 are left out."""
    rejected: int
    pace_per_second: float | None


class Overview(NamedTuple):
    """The ledger at one moment."""

    file: Path
    bytes: int
    sessions: int
    done_files: int
    holder: Holder | None
    """Who works with it now."""
    runs: tuple[RunView, ...]
    """The last ones, newest first."""
    targets: tuple[TargetView, ...]


def look_at(state_dir: Path, *, last_runs: int) -> Overview:
    """All of it, from one snapshot. Raises UsageError where there is no ledger."""
    holder = holder_of(state_dir)
    file = state_dir / "ledger.sqlite"
    with opened_for_reading(state_dir) as connection:
        connection.execute("BEGIN")  # one snapshot for all questions
        return Overview(
            file=file,
            bytes=sum(part.stat().st_size for part in (file, Path(f"{file}-wal")) if part.exists()),
            # Rows are never deleted, so that the highest id is their number; counting ten million takes seconds.
            sessions=connection.execute("SELECT coalesce(max(id), 0) FROM session").fetchone()[0],
            done_files=connection.execute("SELECT count(*) FROM done_file").fetchone()[0],
            holder=holder,
            runs=tuple(_runs(connection, last_runs, is_held=holder is not None)),
            targets=tuple(_targets(connection)),
        )


def holder_of(state_dir: Path) -> Holder | None:
    """Who holds the ledger's lock. Found out by reading alone: taking it, however briefly, could turn a run away."""
    file = state_dir / "ledger.lock"
    try:
        text, inode = file.read_text(encoding="utf-8"), file.stat().st_ino
    except (OSError, UnicodeDecodeError):
        return None
    match = _HOLDER.fullmatch(text.strip())
    if match is None:
        return None
    holder = Holder(int(match[1]), match[2])
    if holder.host == socket.gethostname() and not _holds(holder.pid, inode):
        return None  # it was killed
    return holder


def _holds(pid: int, inode: int) -> bool:
    try:
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:  # not Linux: alive is as much as can be known
        return _is_alive(pid)
    return re.search(rf"FLOCK +ADVISORY +WRITE +({pid}|0) \S+:{inode} ", locks) is not None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _runs(connection: sqlite3.Connection, count: int, *, is_held: bool) -> list[RunView]:
    working = connection.execute("SELECT value FROM about WHERE key = 'working_run'").fetchone()
    rows = connection.execute(
        "SELECT number, id, started_at, finished_at, exit_code, processes, folder FROM run "
        "ORDER BY coalesce(finished_at, 'works') DESC, number DESC LIMIT ?",
        (count,),
    ).fetchall()
    knows_rollbacks = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'rollback'").fetchone() is not None
    views = []
    for number, id, started_at, finished_at, exit_code, processes, folder in rows:
        is_working = is_held and finished_at is None and working == (str(number),)
        outcomes, answered, first, last = _outcomes(connection, number)
        rejects = connection.execute("SELECT count(*) FROM reject WHERE run = ?", (number,)).fetchone()[0]
        views.append(
            RunView(
                id=id,
                started_at=started_at,
                finished_at=finished_at,
                state="working" if is_working else "killed" if finished_at is None else "ended",
                exit_code=exit_code,
                is_continued=processes > 1,
                outcomes=outcomes,
                rejects=rejects,
                sessions_per_second=_per_second(answered, first, last) if processes == 1 else None,
                folder=folder,
                taken_back=_taken_back(connection, number) if knows_rollbacks else 0,
            )
        )
    return views


def _taken_back(connection: sqlite3.Connection, run: int) -> int:
    query = "SELECT count(*) FROM rollback WHERE run = ? AND outcome IS NOT NULL"
    return int(connection.execute(query, (run,)).fetchone()[0])


def _outcomes(connection: sqlite3.Connection, run: int) -> tuple[dict[str, int], int, str | None, str | None]:
    outcomes, answered, firsts, lasts = {}, 0, [], []
    rows = connection.execute(
        "SELECT outcome, count(*), count(settled_at), min(first_sent_at), max(settled_at) FROM entry WHERE run = ? "
        "GROUP BY outcome ORDER BY outcome",
        (run,),
    )
    for outcome, count, settled, first, last in rows:
        outcomes[outcome] = count
        answered += settled
        firsts += [first] if first is not None else []
        lasts += [last] if last is not None else []
    return outcomes, answered, min(firsts, default=None), max(lasts, default=None)


def _per_second(answered: int, first: str | None, last: str | None) -> float | None:
    if first is None or last is None:
        return None
    seconds = (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
    return round(answered / seconds, 2) if seconds > 0 else None


def _targets(connection: sqlite3.Connection) -> list[TargetView]:
    counts: dict[int, dict[str, int]] = {}
    for target, state, count in connection.execute(_COUNT_OPEN):
        counts.setdefault(target, {})[state] = count
    pace = dict(connection.execute("SELECT target, per_second FROM pace").fetchall())
    return [
        TargetView(
            base_url=base_url,
            anchor=anchor,
            open={state: count for state, count in counts.get(id, {}).items() if state != "rejected"},
            rejected=counts.get(id, {}).get("rejected", 0),
            pace_per_second=pace.get(id),
        )
        for id, base_url, anchor in connection.execute("SELECT id, base_url, anchor FROM target ORDER BY id")
    ]
