"""Runs in the ledger: begun or continued, their sources, what they add up to, and how they end."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.ledger.admission import PARTS_MISSING
from pipeline.ledger.database import IS_OPEN, Database

CONTINUED_EXIT_CODES = (75, 130, 143)
"""A run that ended so, or was killed, goes on under the same id."""
_NOTE_WORKING_RUN = "INSERT OR REPLACE INTO about (key, value) VALUES ('working_run', ?)"
"""Of several runs without an end, the one that works now; the others were killed."""

_ROWS_FORGOTTEN_AT_ONCE = {"entry": 20_000, "ignored": 20_000, "reject": 500}
"""By table; rejects hold up to 1 MiB each."""


class RunRow(NamedTuple):
    """A run that was begun or is continued."""

    number: int
    id: str
    folder: Path
    started_at: str
    is_continued: bool


class SourceRow(NamedTuple):
    """A file in a run: `state` is unchanged (done on an earlier night), reading, limited (so far as --limit goes), read
    or done."""

    path: str
    fingerprint: str
    format: str | None
    state: str
    records_read: int
    records_repaired: int


class DoneFile(NamedTuple):
    """What a file was like when it was done."""

    fingerprint: str
    rejects: int
    differing: int
    """Sessions whose content on the server is another one, and was left so."""


class Totals(NamedTuple):
    """What a run adds up to; computed from its rows, never kept beside them."""

    records_read: int
    records_repaired: int
    records_rejected: int
    records_ignored: Mapping[str, int]
    records_in_sessions: int
    traces: int
    sessions: int
    outcomes: Mapping[str, int]
    new_rejects: int
    """Lines of rejects.jsonl that are not merely repeated from an earlier run."""
    requests: int
    retries: int
    throttled: int
    bytes_sent: int
    details: Mapping[str, Mapping[str, int]] = {}
    """By outcome, how many sessions have which error_kind."""
    turns: int = 0
    spans: int = 0
    """In all sessions, sent or not."""
    rejects: Mapping[tuple[str, str], int] = {}
    """Lines of rejects.jsonl by file and error_kind."""


class RunLedger:
    """Runs and files, for one target."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection = database.connection

    def target(self, base_url: str, anchor: str) -> int:
        """The number of a target: normalised base URL and "version:…" or "product:…"."""
        schema = "past." if self._database.has_past else ""
        query = "SELECT id FROM {}target WHERE base_url = ? AND anchor = ?"
        row = self._connection.execute(query.format(schema or "main."), (base_url, anchor)).fetchone()
        if row is not None:
            return int(row[0])
        with self._database.transaction() as connection:
            if self._database.has_past:  # a number that no target of the real ledger has
                highest = connection.execute("SELECT coalesce(max(id), 0) FROM past.target").fetchone()[0]
                connection.execute("INSERT INTO main.target VALUES (?, ?, ?)", (highest + 1, base_url, anchor))
                return int(highest) + 1
            cursor = connection.execute("INSERT INTO main.target (base_url, anchor) VALUES (?, ?)", (base_url, anchor))
            return int(cursor.lastrowid or 0)

    def found_per_second(self, target: int) -> float | None:
        """The limit that an earlier run found there, if one did."""
        row = self._one("SELECT per_second FROM pace WHERE target = ?", (target,))
        return float(row[0]) if row is not None else None

    def path_ids(self, paths: Sequence[str]) -> dict[str, int]:
        """A number for each path, the same for ever."""
        with self._database.transaction() as connection:
            if self._database.has_past:
                connection.executemany(
                    "INSERT OR IGNORE INTO main.path SELECT id, path FROM past.path WHERE path = ?",
                    [(path,) for path in paths],
                )
                highest = connection.execute("SELECT coalesce(max(id), 0) FROM past.path").fetchone()[0]
                connection.execute("INSERT OR IGNORE INTO main.path VALUES (?, '')", (highest + 1,))
            connection.executemany("INSERT OR IGNORE INTO main.path (path) VALUES (?)", [(path,) for path in paths])
            return {
                path: connection.execute("SELECT id FROM main.path WHERE path = ?", (path,)).fetchone()[0]
                for path in paths
            }

    def done_files(
        self,
        target: int,
        mapping_sha256: str,
        *,
        without_rejects: bool,
        without_updatable: bool = False,
        without_differing: bool = False,
    ) -> dict[str, DoneFile]:
        """Files whose every record is settled, ignored or rejected, by path."""
        schema = "past" if self._database.has_past else "main"
        query = (
            f"SELECT p.path, d.fingerprint, d.rejects, d.differing FROM {schema}.done_file d "
            f"JOIN {schema}.path p ON p.id = d.path WHERE d.target = ? AND d.mapping_sha256 = ?"
        )
        if without_rejects:
            query += " AND d.rejects = 0"
        if without_updatable:
            query += " AND d.updatable = 0"
        if without_differing:
            query += " AND d.differing = 0"
        rows = self._connection.execute(query, (target, mapping_sha256))
        return {path: DoneFile(*row) for path, *row in rows}

    # --- begin and end ------------------------------------------------------------------------------------

    def find_interrupted(self, target: int, sources_key: str, mapping_sha256: str) -> RunRow | None:
        """The last run of this job, if it was killed or stopped and may go on."""
        schema = "past" if self._database.has_past else "main"
        row = self._connection.execute(
            f"SELECT number, id, folder, started_at, finished_at, exit_code FROM {schema}.run "
            "WHERE target = ? AND sources_key = ? AND mapping_sha256 = ? ORDER BY number DESC LIMIT 1",
            (target, sources_key, mapping_sha256),
        ).fetchone()
        if row is None or (row[4] is not None and row[5] not in CONTINUED_EXIT_CODES):
            return None
        if self._database.has_past:
            self._bring_over(row[0], ("run", "source"))
        return RunRow(row[0], row[1], Path(row[2]), row[3], is_continued=True)

    def _bring_over(self, number: int, tables: Sequence[str]) -> None:
        """What the real ledger holds of a run, and the shadow now holds too."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO main.path SELECT id, path FROM past.path "
                "WHERE id IN (SELECT path FROM past.source WHERE run = ?)",
                (number,),
            )
            for table in tables:
                key = "number" if table == "run" else "run"
                # By name: an older ledger has fewer of them.
                columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA past.table_info({table})"))
                connection.execute(
                    f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM past.{table} WHERE {key} = ?",
                    (number,),
                )

    def is_killed(self, run: RunRow) -> bool:
        """Has this run no end?"""
        return bool(self._one("SELECT finished_at IS NULL FROM run WHERE number = ?", (run.number,))[0])

    def folders_without_end(self) -> list[Path]:
        """Of all runs that were killed, for whatever target; and of the one that works."""
        rows = self._connection.execute("SELECT DISTINCT folder FROM run WHERE finished_at IS NULL")
        return [Path(folder) for (folder,) in rows]

    def begin(
        self,
        *,
        run_id: str,
        folder: Path,
        target: int,
        sources_key: str,
        mapping_sha256: str,
        config_sha256: str,
        started_at: str,
    ) -> RunRow:
        """A new run."""
        with self._database.transaction() as connection:
            number = None  # the next one
            if self._database.has_past:  # the sessions of the real ledger name its runs: this is none of them
                number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM past.run").fetchone()[0]
            cursor = connection.execute(
                "INSERT INTO run (number, id, target, sources_key, mapping_sha256, config_sha256, started_at, folder) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, run_id, target, sources_key, mapping_sha256, config_sha256, started_at, str(folder)),
            )
            number = int(cursor.lastrowid or 0)
            connection.execute(_NOTE_WORKING_RUN, (str(number),))
        return RunRow(number, run_id, folder, started_at, is_continued=False)

    def go_on(self, run: RunRow, *, folder: Path, config_sha256: str) -> RunRow:
        """An interrupted run works again."""
        if self._database.has_past:
            self._bring_over(run.number, ("entry", "reject", "ignored"))
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE run SET finished_at = NULL, exit_code = NULL, processes = processes + 1, folder = ?, "
                "config_sha256 = ? WHERE number = ?",
                (str(folder), config_sha256, run.number),
            )
            connection.execute(_NOTE_WORKING_RUN, (str(run.number),))
        return run._replace(folder=folder)

    def finish(self, run: RunRow, *, exit_code: int, finished_at: str, peak_rss_bytes: int) -> None:
        """The run has ended, and its manifest stands."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE run SET finished_at = ?, exit_code = ?, peak_rss_bytes = max(peak_rss_bytes, ?) "
                "WHERE number = ?",
                (finished_at, exit_code, peak_rss_bytes, run.number),
            )

    def plan_pending(self, run: RunRow) -> None:
        """The end of a dry run: what would be sent is planned."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE entry SET outcome = 'planned' WHERE run = ? AND outcome = 'pending'", (run.number,)
            )

    # --- old runs -----------------------------------------------------------------------------------------

    def old_runs(self, current: RunRow, *, keep: int) -> list[RunRow]:
        """All but the `keep` runs that ended last, and as many that were interrupted and may still go on.

        `current` is none of them however long ago it began, and neither is the newest: its number would be given
        to the next run, and what was seen in the old one would count as seen in the new. A rollback that is under
        way needs its run, too.
        """
        exempt = {current.number, self._one("SELECT max(number) FROM run", ())[0]}
        exempt |= {run for (run,) in self._connection.execute("SELECT run FROM rollback WHERE outcome IS NULL")}
        marks = ", ".join("?" * len(CONTINUED_EXIT_CODES))
        rows = self._connection.execute(
            f"SELECT finished_at IS NULL OR exit_code IN ({marks}), number, id, folder, started_at, processes > 1 "
            "FROM run ORDER BY coalesce(finished_at, started_at) DESC, number DESC",
            CONTINUED_EXIT_CODES,
        ).fetchall()
        ended = [RunRow(row[0], row[1], Path(row[2]), *row[3:]) for is_open, *row in rows if not is_open]
        interrupted = [RunRow(row[0], row[1], Path(row[2]), *row[3:]) for is_open, *row in rows if is_open]
        return [run for run in ended[keep:] + interrupted[keep:] if run.number not in exempt]

    def forget(self, run: RunRow) -> None:
        """Delete the rows of a run; its sessions stay known. In many small transactions: one that breaks off leaves
        the run, and the next time it is forgotten to the end."""
        for table, rows_at_once in _ROWS_FORGOTTEN_AT_ONCE.items():
            while self._forget_some(table, run.number, rows_at_once):
                pass
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM source WHERE run = ?", (run.number,))
            connection.execute("DELETE FROM rollback WHERE run = ?", (run.number,))
            connection.execute("DELETE FROM process WHERE run = ?", (run.number,))
            connection.execute("DELETE FROM run WHERE number = ?", (run.number,))

    def _forget_some(self, table: str, run: int, count: int) -> bool:
        """The first `count` rows, in the order in which they lie on disk; are there more?"""
        with self._database.transaction() as connection:
            last = connection.execute(
                f"SELECT path, ordinal FROM {table} WHERE run = ? ORDER BY path, ordinal LIMIT 1 OFFSET ?",
                (run, count - 1),
            ).fetchone()
            if last is None:
                connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
                return False
            connection.execute(f"DELETE FROM {table} WHERE run = ? AND (path, ordinal) <= (?, ?)", (run, *last))
            return True

    # --- sources ------------------------------------------------------------------------------------------

    def add_sources(self, run: RunRow, rows: Sequence[tuple[int, str, str | None, str]]) -> None:
        """Note files of this run (path, fingerprint, format, state); one that was noted before keeps its counts."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO source (run, path, fingerprint, format, state) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (run, path) DO UPDATE SET format = excluded.format, state = excluded.state",
                [(run.number, *row) for row in rows],
            )

    def sources(self, run: RunRow) -> list[SourceRow]:
        """The files of a run, in their order."""
        rows = self._connection.execute(
            "SELECT p.path, s.fingerprint, s.format, s.state, s.records_read, s.records_repaired "
            "FROM source s JOIN path p ON p.id = s.path WHERE s.run = ? ORDER BY p.path",
            (run.number,),
        )
        return [SourceRow(*row) for row in rows]

    def mark_done(
        self, run: RunRow, files: Mapping[int, str], *, target: int, mapping_sha256: str, keeps_first: bool
    ) -> list[int]:
        """Note wholly read files (path → fingerprint) as done, unless a record in them is open; returns which are."""
        open_outcomes = ["pending", "failed", "unknown", "held"] + ([] if keeps_first else ["conflict"])
        marks = ", ".join("?" * len(open_outcomes))
        done = []
        with self._database.transaction() as connection:
            for path, fingerprint in files.items():
                is_open = connection.execute(
                    "SELECT 1 FROM entry WHERE run = ? AND path = ? "
                    f"AND (outcome IN ({marks}) OR error_kind = '{PARTS_MISSING}') LIMIT 1",
                    (run.number, path, *open_outcomes),
                ).fetchone()
                if is_open:
                    continue
                rejects = connection.execute(
                    "SELECT count(*) FROM reject WHERE run = ? AND path = ?", (run.number, path)
                ).fetchone()[0]
                differing, updatable = connection.execute(
                    "SELECT coalesce(sum(e.error_kind != 'mapping_changed'), 0), "
                    "coalesce(sum(e.error_kind != 'other_payload' AND s.state = 'created'), 0) "
                    "FROM entry e JOIN session s ON s.custom_id = e.custom_id AND s.target = ? "
                    "WHERE e.run = ? AND e.path = ? "
                    "AND e.error_kind IN ('reported', 'other_payload', 'mapping_changed', 'turns_differ')",
                    (target, run.number, path),
                ).fetchone()
                connection.execute(
                    "INSERT OR REPLACE INTO done_file "
                    "(target, path, mapping_sha256, fingerprint, rejects, records, differing, updatable) "
                    "SELECT ?, ?, ?, ?, ?, records_read, ?, ? FROM source WHERE run = ? AND path = ?",
                    (target, path, mapping_sha256, fingerprint, rejects, differing, updatable, run.number, path),
                )
                connection.execute("UPDATE source SET state = 'done' WHERE run = ? AND path = ?", (run.number, path))
                done.append(path)
        return done

    def forget_done(self, paths: Sequence[int], *, target: int, mapping_sha256: str) -> None:
        """These files are read again, by this run and, should it not come to their end, by the next one."""
        with self._database.transaction() as connection:
            connection.executemany(
                "DELETE FROM main.done_file WHERE target = ? AND path = ? AND mapping_sha256 = ?",
                [(target, path, mapping_sha256) for path in paths],
            )

    def records_read(self, run: RunRow) -> int:
        """Records of this run that earlier processes read."""
        return int(self._one("SELECT coalesce(sum(records_read), 0) FROM source WHERE run = ?", (run.number,))[0])

    def open_elsewhere(self, run: RunRow, target: int) -> dict[str, int]:
        """Sessions on this target that are not settled and were not seen in this run, by the file they were seen in."""
        rows = self._connection.execute(
            "SELECT p.path, count(*) FROM main.session s JOIN main.path p ON p.id = s.seen_path "
            f"WHERE s.target = ? AND {IS_OPEN.replace('state', 's.state')} "
            "AND s.state != 'rejected' AND s.seen_run < ? GROUP BY p.path",
            (target, run.number),
        )
        return dict(rows.fetchall())

    def is_complete(self, run: RunRow) -> bool:
        """Was every file of this run read to its end, and is no session of it pending?"""
        unread = self._one("SELECT 1 FROM source WHERE run = ? AND state = 'reading' LIMIT 1", (run.number,))
        pending = self._one("SELECT 1 FROM entry WHERE run = ? AND outcome = 'pending' LIMIT 1", (run.number,))
        return unread is None and pending is None

    # --- results ------------------------------------------------------------------------------------------

    def totals(self, run: RunRow) -> Totals:
        """Add a run up."""
        one = self._one
        number = (run.number,)
        read, repaired = one(
            "SELECT coalesce(sum(records_read), 0), coalesce(sum(records_repaired), 0) FROM source WHERE run = ?",
            number,
        )
        rejected, new_rejects = one(
            "SELECT coalesce(sum(stage != 'upload'), 0), coalesce(sum(repeated = 0), 0) FROM reject WHERE run = ?",
            number,
        )
        sessions, records, traces, turns, spans = one(
            "SELECT count(*), coalesce(sum(records), 0), coalesce(sum(traces), 0), coalesce(sum(turns), 0), "
            "coalesce(sum(spans), 0) FROM entry WHERE run = ?",
            number,
        )
        # Counted here: SQLite would sort all rows for it, in memory that grows with them.
        kinds = Counter(self._connection.execute("SELECT outcome, error_kind FROM entry WHERE run = ?", number))
        outcomes: Counter[str] = Counter()
        details: dict[str, dict[str, int]] = {}
        for (outcome, kind), count in sorted(kinds.items(), key=lambda item: (item[0][0], item[0][1] or "")):
            outcomes[outcome] += count
            if kind is not None:
                details.setdefault(outcome, {})[kind] = count
        traffic = one("SELECT requests, retries, throttled, bytes_sent FROM run WHERE number = ?", number)
        return Totals(
            records_read=read,
            records_repaired=repaired,
            records_rejected=rejected,
            records_ignored=dict(
                self._connection.execute(
                    "SELECT reason, sum(records) FROM ignored WHERE run = ? GROUP BY reason", number
                ).fetchall()
            ),
            records_in_sessions=records,
            traces=traces,
            sessions=sessions,
            outcomes=dict(outcomes),
            new_rejects=new_rejects,
            requests=traffic[0],
            retries=traffic[1],
            throttled=traffic[2],
            bytes_sent=traffic[3],
            details=details,
            turns=turns,
            spans=spans,
            rejects=self._counted_rejects(run),
        )

    def _counted_rejects(self, run: RunRow) -> dict[tuple[str, str], int]:
        counts = Counter(self._connection.execute("SELECT path, error_kind FROM reject WHERE run = ?", (run.number,)))
        names = {path: self._one("SELECT path FROM path WHERE id = ?", (path,))[0] for path, _ in counts}
        return {(names[path], kind): count for (path, kind), count in counts.items()}

    def entries(self, run: RunRow) -> sqlite3.Cursor:
        """The rows of the manifest, in the order of the input; the columns are named as in the manifest."""
        return self._connection.execute(
            "SELECT r.id AS run_id, e.custom_id, e.outcome, e.session_id, e.trace_id, e.conversation_id, e.format, "
            "p.path AS source, e.position, e.records, e.traces, e.turns, e.spans, e.http_status, e.attempts, "
            "e.error_kind, e.error, e.payload_sha256, e.first_sent_at, e.settled_at, e.latency_ms "
            "FROM entry e JOIN path p ON p.id = e.path JOIN run r ON r.number = e.run "
            "WHERE e.run = ? ORDER BY e.path, e.ordinal",
            (run.number,),
        )

    def rejects(self, run: RunRow) -> sqlite3.Cursor:
        """The rows of the rejects file: source, position, stage, error_kind, error, trace_id, format, record."""
        return self._connection.execute(
            "SELECT p.path, j.position, j.stage, j.error_kind, j.error, j.trace_id, j.format, j.record "
            "FROM reject j JOIN path p ON p.id = j.path WHERE j.run = ? ORDER BY j.path, j.ordinal",
            (run.number,),
        )

    def _one(self, query: str, parameters: tuple[Any, ...]) -> Any:
        return self._connection.execute(query, parameters).fetchone()
