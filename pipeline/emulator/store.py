"""The state: products, versions, sessions and the log, in one SQLite file or, without one, a temporary file.

All that changes within one turn of the event loop is committed together, and no answer leaves before its
commit: `await store.settled()`. Nothing is fsynced, so a kill -9 loses nothing and a power cut may.
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

Row = tuple[Any, ...]

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
CREATE TABLE IF NOT EXISTS log (
    n INTEGER PRIMARY KEY, time REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, query TEXT NOT NULL,
    bytes INTEGER NOT NULL, custom_id TEXT, status INTEGER, fault TEXT, session_id TEXT, stored TEXT
);
"""
TEMPORARY = ""  # SQLite's own: unnamed, spilled to disk when it grows, gone when closed
CACHE_KIB = 65_536
TABLES = ("product", "version", "session", "log")
LOG_INSERT = "INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Store:
    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(
            path or TEMPORARY, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=1
        )
        self._database.execute("PRAGMA page_size = 8192")
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._database.execute(f"PRAGMA journal_mode = {'WAL' if path else 'MEMORY'}")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")  # a second emulator on the file fails at once
        self._database.executescript(SCHEMA)
        self._is_dirty = False
        self._log: list[Row] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._requests = int(self.one("SELECT coalesce(max(n), 0) FROM log")[0])

    def next_request_number(self) -> int:
        self._requests += 1
        return self._requests

    def rows(self, sql: str, values: tuple[Any, ...] | list[Any] = ()) -> list[Row]:
        return self._database.execute(sql, values).fetchall()

    def row(self, sql: str, values: tuple[Any, ...] | list[Any] = ()) -> Row | None:
        found: Row | None = self._database.execute(sql, values).fetchone()
        return found

    def one(self, sql: str, values: tuple[Any, ...] | list[Any] = ()) -> Row:
        """The row of a query that always has one."""
        found = self.row(sql, values)
        assert found is not None
        return found

    def change(self, sql: str, values: tuple[Any, ...] | list[Any] = ()) -> int:
        """Part of the commit to come; gives the number of rows changed. sqlite3.IntegrityError: not done."""
        self._begin()
        return self._database.execute(sql, values).rowcount

    def log(self, entry: Row) -> None:
        """Written in the same commit as what the request changed. A number logged twice keeps the last."""
        self._log.append(entry)

    async def settled(self) -> None:
        """Returns once all changes and log entries up to now are committed."""
        if not self._is_dirty and not self._log:
            return
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self.commit)
        committed = loop.create_future()
        self._waiting.append(committed)
        await committed

    def commit(self) -> None:
        if self._log:
            self._begin()
            self._database.executemany(LOG_INSERT, self._log)
            self._log.clear()
        if self._is_dirty:
            self._database.execute("COMMIT")
            self._is_dirty = False
        waiting, self._waiting = self._waiting, []
        for committed in waiting:
            if not committed.done():
                committed.set_result(None)

    def clear(self) -> None:
        self.commit()
        for table in TABLES:
            self.change(f"DELETE FROM {table}")
        self._requests = 0

    def close(self) -> None:
        self.commit()
        self._database.close()

    def _begin(self) -> None:
        if not self._is_dirty:
            self._database.execute("BEGIN IMMEDIATE")
            self._is_dirty = True
