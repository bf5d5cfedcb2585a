"""A ledger as years of nights leave it, written straight into its tables: settled sessions, done files, past runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from pipeline.ledger.database import opened_ledger

FACTS_BYTES = 80
"""Of a trace with two turns and some spans: 20 statements of 4 bytes."""
ROWS_AT_ONCE = 250_000
_SESSION_INDEX = "CREATE UNIQUE INDEX session_by_custom_id ON session (custom_id, target)"
_HASH = "lower(hex(randomblob(32)))"


def add_settled_sessions(state_dir: Path, count: int, *, base_url: str, anchor: str = "version:ver_123") -> None:
    """So many created sessions of one target, under ids as Langfuse makes them (UUIDs: in no order)."""
    with opened_ledger(state_dir) as database:
        connection = database.connection
        target = _target(connection, base_url, anchor)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA temp_store = FILE")
        connection.execute("DROP INDEX session_by_custom_id")  # an index is made in one go afterwards, sorted
        for first in range(0, count, ROWS_AT_ONCE):
            with database.transaction():
                connection.execute(
                    f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?), "
                    f"h(i, hash) AS MATERIALIZED (SELECT i, {_HASH} FROM n) "
                    "INSERT INTO session (target, custom_id, state, session_id, version_id, trace_sha256, "
                    "payload_sha256, facts, revision, http_status, settled_run, seen_run, seen_path, seen_ordinal, "
                    "seen_revision, seen_sha256) "
                    "SELECT ?, 'langfuse:' || lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' || "
                    "hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(6))), 'created', "
                    f"'session_' || lower(hex(randomblob(12))), 'ver_123', hash, {_HASH}, randomblob({FACTS_BYTES}), "
                    "'2026-08-22T08:00:02.000000Z', 201, 1 + i / 100000, 1 + i / 100000, 1 + i / 20000, i % 20000, "
                    "'2026-08-22T08:00:02.000000Z', hash FROM h",
                    (min(first + ROWS_AT_ONCE, count), target),
                )
        connection.execute(_SESSION_INDEX)


def add_run(state_dir: Path, rows: int, *, base_url: str, files: int = 50, anchor: str = "version:ver_123") -> None:
    """A run that created so many sessions and ended, and lacks its manifest."""
    with opened_ledger(state_dir) as database:
        connection = database.connection
        target = _target(connection, base_url, anchor)
        connection.execute("PRAGMA synchronous = OFF")
        with database.transaction():
            number = connection.execute(
                "INSERT INTO run (id, target, sources_key, mapping_sha256, config_sha256, started_at, folder) VALUES "
                "('run-' || (SELECT coalesce(max(number), 0) + 1 FROM run), ?, 's', 'm', 'c', ?, ?)",
                (target, "2026-08-22T08:00:00.000000Z", str(state_dir / "runs" / "big")),
            ).lastrowid
            connection.executemany(
                "INSERT OR IGNORE INTO path VALUES (?, ?)", [(n + 1, f"/exports/day-{n}.jsonl") for n in range(files)]
            )
            connection.executemany(
                "INSERT INTO source (run, path, fingerprint, format, state, records_read) "
                "VALUES (?, ?, 'f', 'langfuse', 'done', ?)",
                [(number, n + 1, rows // files) for n in range(files)],
            )
            each = rows // files
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?) "
                "INSERT INTO entry (run, path, ordinal, custom_id, outcome, session_id, trace_id, conversation_id, "
                "format, position, records, traces, turns, spans, http_status, attempts, payload_sha256, "
                "first_sent_at, settled_at, latency_ms) "
                f"SELECT ?, 1 + i / {each}, 1 + i % {each}, 'langfuse:' || hex(randomblob(16)), 'created', "
                "'session_' || hex(randomblob(12)), hex(randomblob(16)), hex(randomblob(16)), 'langfuse', "
                f"'line ' || (1 + i % {each}), 1, 1, 2, 5, 201, 1, {_HASH}, '2026-08-22T08:00:00.000000Z', "
                "'2026-08-22T08:00:00.100000Z', 52.5 FROM n",
                (rows, number),
            )


def add_done_files(state_dir: Path, done: Sequence[tuple[str, str]], *, base_url: str, mapping_sha256: str) -> None:
    """These files (path, fingerprint) are done."""
    with opened_ledger(state_dir) as database, database.transaction() as connection:
        target = _target(connection, base_url, "version:ver_123")
        connection.executemany("INSERT OR IGNORE INTO path (path) VALUES (?)", [(path,) for path, _ in done])
        connection.executemany(
            "INSERT INTO done_file (target, path, mapping_sha256, fingerprint, rejects, records, differing, updatable) "
            "SELECT ?, id, ?, ?, 0, 1, 0, 0 FROM path WHERE path = ?",
            [(target, mapping_sha256, mark, path) for path, mark in done],
        )


def _target(connection: sqlite3.Connection, base_url: str, anchor: str) -> int:
    connection.execute("INSERT OR IGNORE INTO target (base_url, anchor) VALUES (?, ?)", (base_url, anchor))
    query = "SELECT id FROM target WHERE base_url = ? AND anchor = ?"
    return int(connection.execute(query, (base_url, anchor)).fetchone()[0])
