"""The state, from products to spans, and the log: in one SQLite file or, without one, a temporary file.

All that changes within one turn of the event loop is committed together, and no answer leaves before its
commit: `await store.settled()`. Nothing is fsynced, so a kill -9 loses nothing and a power cut may.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

from pipeline.emulator.schema import TABLES, prepare

Row = tuple[Any, ...]

TEMPORARY = ""  # SQLite's own: unnamed, spilled to disk when it grows, gone when closed
CACHE_KIB = 65_536
LOG_COLUMNS = (
    "n",
    "time",
    "method",
    "path",
    "query",
    "bytes",
    "custom_id",
    "status",
    "fault",
    "session_id",
    "stored",
    "turn_ids",
    "spans",
    "rejected_spans",
)
LOG_INSERT = f"INSERT OR REPLACE INTO log ({', '.join(LOG_COLUMNS)}) VALUES ({', '.join('?' * len(LOG_COLUMNS))})"


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
        prepare(self._database)
        self._is_dirty = False
        self._log: list[Row] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._requests = int(self.one("SELECT coalesce(max(n), 0) FROM log")[0])
        self._forward_ms = int(self.one("SELECT coalesce(max(forward_ms), 0) FROM clock")[0])

    def now_ms(self) -> int:
        """The time of the emulated world: the real one, moved forward where nobody can wait."""
        return time.time_ns() // 1_000_000 + self._forward_ms

    def forward(self, milliseconds: int) -> None:
        """So much time has passed; a restart does not turn it back."""
        self._forward_ms += milliseconds
        self.change("DELETE FROM clock")
        self.change("INSERT INTO clock VALUES (?)", (self._forward_ms,))

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
        self._forward_ms = 0

    def close(self) -> None:
        self.commit()
        self._database.close()

    def _begin(self) -> None:
        if not self._is_dirty:
            self._database.execute("BEGIN IMMEDIATE")
            self._is_dirty = True
