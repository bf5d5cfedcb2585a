"""The tables of the store, and what brings a file of an older emulator up to them.

`turn` is what the API calls an inference result, `span` what its routes call a trace. A text of JSON holds what is
only ever shown (`fields`); what is asked for by filters and rules has a column.
"""

from __future__ import annotations

import sqlite3

TABLES = ("product", "version", "session", "turn", "span", "log", "clock")
SCHEMA = """
CREATE TABLE IF NOT EXISTS product (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, fields TEXT NOT NULL,
    created_at INTEGER NOT NULL, deleted_at INTEGER
);
CREATE TABLE IF NOT EXISTS version (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, product_id TEXT NOT NULL, name TEXT NOT NULL,
    number INTEGER NOT NULL, fields TEXT NOT NULL, created_at INTEGER NOT NULL, deleted_at INTEGER,
    UNIQUE (product_id, number)
);
CREATE TABLE IF NOT EXISTS session (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, custom_id TEXT, custom_key TEXT,
    version_id TEXT NOT NULL, product_id TEXT NOT NULL, test_case_id TEXT, user_id TEXT, run_id TEXT,
    is_production INTEGER NOT NULL, status TEXT NOT NULL, stopping_reason TEXT, error TEXT,
    context BLOB, metadata BLOB, created_at INTEGER NOT NULL, deleted_at INTEGER, visible_at REAL NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS one_session_per_custom_id
    ON session (custom_key, version_id) WHERE custom_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS session_by_time ON session (created_at);
CREATE TABLE IF NOT EXISTS turn (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, session_id TEXT NOT NULL, position INTEGER NOT NULL,
    status TEXT NOT NULL, user_id TEXT, error TEXT, fields BLOB NOT NULL,
    created_at INTEGER NOT NULL, deleted_at INTEGER, visible_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS turn_of_session ON turn (session_id, position);
CREATE INDEX IF NOT EXISTS turn_by_time ON turn (session_id, created_at);
CREATE TABLE IF NOT EXISTS span (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, turn_id TEXT NOT NULL, session_id TEXT NOT NULL,
    name TEXT NOT NULL, type TEXT NOT NULL, start_time INTEGER, fields BLOB NOT NULL, of_context INTEGER NOT NULL,
    created_at INTEGER NOT NULL, deleted_at INTEGER, visible_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS span_of_turn ON span (turn_id);
CREATE INDEX IF NOT EXISTS span_by_time ON span (session_id, created_at);
CREATE TABLE IF NOT EXISTS log (
    n INTEGER PRIMARY KEY, time REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, query TEXT NOT NULL,
    bytes INTEGER NOT NULL, custom_id TEXT, status INTEGER, fault TEXT, session_id TEXT, stored TEXT
);
CREATE TABLE IF NOT EXISTS clock (forward_ms INTEGER NOT NULL);
"""
ADDED = {
    "session": {"active_at": "INTEGER"},  # null: when it was created
    "log": {"turn_ids": "TEXT", "spans": "INTEGER", "rejected_spans": "INTEGER"},
}
INDEXES_OF_ADDED = """
CREATE INDEX IF NOT EXISTS open_session
    ON session (product_id, coalesce(active_at, created_at)) WHERE status = 'PENDING';
"""


def prepare(database: sqlite3.Connection) -> None:
    database.executescript(SCHEMA)
    for table, columns in ADDED.items():
        there = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        for column, kind in columns.items():
            if column not in there:
                database.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    database.executescript(INDEXES_OF_ADDED)
