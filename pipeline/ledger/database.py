"""The ledger's file: SQLite in WAL mode, one writer, locked; a kill loses nothing that was committed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.errors import StoppedError, UsageError

SCHEMA_VERSION = 4
_READABLE_SCHEMAS = frozenset([2, 3, 4])
"""Of a ledger that is only read: what 3 and 4 add is looked for before it is used."""
CACHE_KIB = 32_768
CANNOT_EXIST = (FileNotFoundError, NotADirectoryError, FileExistsError, PermissionError)
"""A folder that cannot be made for one of these will not be made by waiting."""

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- What is settled on one target says nothing about another.
CREATE TABLE target (
    id INTEGER PRIMARY KEY, base_url TEXT NOT NULL, anchor TEXT NOT NULL, UNIQUE (base_url, anchor)
);
CREATE TABLE path (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);

-- One row per session and target, for ever: the truth over the nights.
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    target INTEGER NOT NULL, custom_id TEXT NOT NULL,
    state TEXT NOT NULL,             -- pending, sent, created, existing, rejected, failed, unknown
    session_id TEXT, version_id TEXT,
    trace_sha256 TEXT NOT NULL, payload_sha256 TEXT NOT NULL, facts BLOB NOT NULL, revision TEXT,
    http_status INTEGER, error_kind TEXT, error TEXT,
    settled_run INTEGER,             -- the run that settled it first
    seen_run INTEGER NOT NULL, seen_path INTEGER NOT NULL, seen_ordinal INTEGER NOT NULL, seen_revision TEXT,
    seen_sha256 TEXT NOT NULL,       -- of the trace seen last, sent or not
    extent TEXT,                     -- what it holds beside itself: null (nothing), turns, full (and spans)
    turn_prints BLOB, content_sha256 TEXT, spans_sha256 TEXT,   -- prints.py
    finish BLOB,                     -- the body that ended it
    is_changing INTEGER NOT NULL DEFAULT 0,  -- settled, and a change of it was begun
    sent_by INTEGER                  -- the process that may have sent a turn or span of it and not seen the answer
);
CREATE UNIQUE INDEX session_by_custom_id ON session (custom_id, target);

CREATE TABLE run (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
    target INTEGER NOT NULL, sources_key TEXT NOT NULL, mapping_sha256 TEXT NOT NULL, config_sha256 TEXT NOT NULL,
    started_at TEXT NOT NULL, finished_at TEXT, exit_code INTEGER,   -- both null while it works, or was killed
    folder TEXT NOT NULL, processes INTEGER NOT NULL DEFAULT 1,
    requests INTEGER NOT NULL DEFAULT 0, retries INTEGER NOT NULL DEFAULT 0,
    throttled INTEGER NOT NULL DEFAULT 0, bytes_sent INTEGER NOT NULL DEFAULT 0,
    peak_rss_bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE source (
    run INTEGER NOT NULL, path INTEGER NOT NULL, fingerprint TEXT NOT NULL, format TEXT,
    state TEXT NOT NULL,             -- unchanged, reading, limited, read, done
    records_read INTEGER NOT NULL DEFAULT 0, records_repaired INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, path)
) WITHOUT ROWID;

-- One row per session of a run: the manifest before it is written.
CREATE TABLE entry (
    run INTEGER NOT NULL, path INTEGER NOT NULL, ordinal INTEGER NOT NULL,
    custom_id TEXT NOT NULL, outcome TEXT NOT NULL, session_id TEXT, trace_id TEXT, conversation_id TEXT,
    format TEXT NOT NULL, position TEXT NOT NULL,
    records INTEGER NOT NULL, traces INTEGER NOT NULL, turns INTEGER NOT NULL, spans INTEGER NOT NULL,
    http_status INTEGER, attempts INTEGER NOT NULL DEFAULT 0, error_kind TEXT, error TEXT,
    payload_sha256 TEXT NOT NULL, first_sent_at TEXT, settled_at TEXT, latency_ms REAL,
    PRIMARY KEY (run, path, ordinal)
) WITHOUT ROWID;
CREATE TABLE reject (
    run INTEGER NOT NULL, path INTEGER NOT NULL, ordinal INTEGER NOT NULL, stage TEXT NOT NULL,
    position TEXT NOT NULL, error_kind TEXT NOT NULL, error TEXT NOT NULL, trace_id TEXT, format TEXT,
    record BLOB,                     -- null where it is not kept
    repeated INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, path, ordinal, stage)
) WITHOUT ROWID;
CREATE TABLE ignored (
    run INTEGER NOT NULL, path INTEGER NOT NULL, ordinal INTEGER NOT NULL, reason TEXT NOT NULL,
    records INTEGER NOT NULL, PRIMARY KEY (run, path, ordinal)
) WITHOUT ROWID;

CREATE TABLE done_file (
    target INTEGER NOT NULL, path INTEGER NOT NULL, mapping_sha256 TEXT NOT NULL, fingerprint TEXT NOT NULL,
    rejects INTEGER NOT NULL, records INTEGER NOT NULL,
    differing INTEGER NOT NULL,      -- sessions whose content on the server is another one, and was left so
    updatable INTEGER NOT NULL,      -- sessions that upload.on_change: update would send
    PRIMARY KEY (target, path, mapping_sha256)
) WITHOUT ROWID;

-- The limit that a target's API was found to have, for the next run to begin near it.
CREATE TABLE pace (target INTEGER PRIMARY KEY, per_second REAL NOT NULL);
"""
_SINCE_3 = """
-- Where the pieces of scattered traces lie, and the traces of conversations; scope: of target and mapping.
CREATE TABLE part_file (
    scope INTEGER NOT NULL, path INTEGER NOT NULL, fingerprint TEXT NOT NULL, format TEXT NOT NULL,
    is_scattered INTEGER NOT NULL,   -- records are pieces of traces; else whole traces, of conversations
    PRIMARY KEY (scope, path)
) WITHOUT ROWID;
CREATE TABLE part (
    trace BLOB NOT NULL,             -- assembly: trace_key, or conversation_key
    scope INTEGER NOT NULL, path INTEGER NOT NULL,
    places BLOB NOT NULL,            -- ordinal and identity of each record, 8 bytes each
    PRIMARY KEY (trace, scope, path)
) WITHOUT ROWID;
"""

_TO_4 = """
ALTER TABLE session ADD COLUMN extent TEXT;
ALTER TABLE session ADD COLUMN turn_prints BLOB;
ALTER TABLE session ADD COLUMN content_sha256 TEXT;
ALTER TABLE session ADD COLUMN spans_sha256 TEXT;
ALTER TABLE session ADD COLUMN finish BLOB;
ALTER TABLE session ADD COLUMN is_changing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN sent_by INTEGER;
"""
_SINCE_4 = """
-- A run has several where it was killed. What one sent may come to light until a while after alive_at.
CREATE TABLE process (
    number INTEGER PRIMARY KEY, run INTEGER NOT NULL,
    alive_at TEXT NOT NULL           -- when it was last known to send
);
"""

_ROLLBACK = """
-- What a rollback deletes, noted before it changes anything there; the outcome once the session is gone.
CREATE TABLE IF NOT EXISTS rollback (
    run INTEGER NOT NULL, session INTEGER NOT NULL, session_id TEXT NOT NULL,
    outcome TEXT,                    -- deleted, gone; null: under way
    PRIMARY KEY (run, session)
) WITHOUT ROWID;
"""
"""Made where it is missing, and no new schema: who does not know it reads and writes the ledger as before."""

IS_OPEN = "state NOT IN ('created', 'existing')"
_OPEN_SESSIONS_INDEX = f"CREATE INDEX IF NOT EXISTS session_open ON session (target, state) WHERE {IS_OPEN}"
"""Small however many are settled, so that counting what is open takes no time (1.5 µs a session, of 37 in all)."""


class LedgerLock:
    """One process at a time: an flock that the kernel drops when its holder dies, however it dies."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "ledger.lock"
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock, or raise StoppedError that names who holds it."""
        try:
            self._path.touch(mode=0o600)
            file = self._path.open("a+", encoding="utf-8")
        except OSError as error:
            raise StoppedError(f"{self._path}: cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another run"
            file.close()
            raise StoppedError(
                f"the ledger in {self._path.parent} is in use by {holder}; wait for it to end and run this again"
            ) from error
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back; the file stays, empty."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


class Database:
    """One connection, used by one thread at a time; every change is a transaction."""

    def __init__(self, connection: sqlite3.Connection, file: Path, *, has_past: bool, past_schema: int = 0) -> None:
        self.connection = connection
        self.past_schema = past_schema
        self.file = file
        """The ledger that outlives the run; of a shadow the one that it stands before."""
        self.has_past = has_past
        """Reads fall through to an older, attached, read-only ledger (plan)."""
        self.ledger_id = ledger_id_of(connection)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. A full, failing or read-only disk becomes StoppedError: nothing is sent unrecorded."""
        with _disk_errors():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:  # whatever ends it, a KeyboardInterrupt too: it goes on from here
                with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
                    self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")

    def close(self) -> None:
        """Leave the file whole: the log is folded into it."""
        self.connection.close()


@contextlib.contextmanager
def opened_ledger(state_dir: Path) -> Iterator[Database]:
    """The ledger in `state_dir`, made where it is missing, locked for this process.

    Raises StoppedError where another run holds it (named) or the disk refuses.
    """
    prepare_state_dir(state_dir)
    lock = LedgerLock(state_dir)
    lock.acquire()
    try:
        database = open_database(state_dir)
        try:
            yield database
        finally:
            database.close()
    finally:
        lock.release()


def open_database(state_dir: Path) -> Database:
    """Open (or make) `<state_dir>/ledger.sqlite`. The caller holds the lock."""
    file = state_dir / "ledger.sqlite"
    with _disk_errors():
        if not file.exists():
            file.touch(mode=0o600)
        connection = _connect(file.as_uri())
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        schema = connection.execute("PRAGMA user_version").fetchone()[0]
        if schema == 0:
            _create(connection, str(uuid.uuid4()))
        elif schema in (2, 3):
            added = _SINCE_3 if schema == 2 else ""
            connection.executescript(
                f"BEGIN IMMEDIATE;{added}{_TO_4}{_SINCE_4}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;"
            )
        try:
            _require_schema(connection, file, known=frozenset([SCHEMA_VERSION]))
        except UsageError:
            connection.close()
            raise
        connection.execute(_OPEN_SESSIONS_INDEX)
        connection.execute(_ROLLBACK)
        return Database(connection, file, has_past=False)


def open_shadow(state_dir: Path) -> Database:
    """A throw-away ledger in a temporary file that sees what the real one holds, and never writes to it."""
    with _disk_errors():
        connection = _connect("")
        connection.execute("PRAGMA synchronous = OFF")
        file = state_dir / "ledger.sqlite"
        has_past = file.exists() and file.stat().st_size > 0
        ledger_id = str(uuid.uuid4())
        if has_past:
            connection.execute("ATTACH DATABASE ? AS past", (f"{file.as_uri()}?mode=ro",))
            try:
                ledger_id = connection.execute("SELECT value FROM past.about WHERE key = 'ledger'").fetchone()[0]
            except sqlite3.OperationalError:  # made, and killed before its first commit
                connection.execute("DETACH DATABASE past")
                has_past = False
        if has_past:
            try:
                _require_schema(connection, file, schema="past")
            except UsageError:
                connection.close()
                raise
        _create(connection, ledger_id)
        past_schema = connection.execute("PRAGMA past.user_version").fetchone()[0] if has_past else 0
        return Database(connection, file, has_past=has_past, past_schema=past_schema)


@contextlib.contextmanager
def opened_shadow(state_dir: Path) -> Iterator[Database]:
    """See open_shadow."""
    database = open_shadow(state_dir)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def opened_for_reading(state_dir: Path) -> Iterator[sqlite3.Connection]:
    """The ledger as it stands, also while a run writes to it; raises UsageError where there is none."""
    file = require_ledger(state_dir)
    with _disk_errors():
        connection = _connect(f"{file.as_uri()}?mode=ro")
        try:
            _require_schema(connection, file)
            yield connection
        finally:
            connection.close()


def require_ledger(state_dir: Path) -> Path:
    """The ledger's file; UsageError where there is none."""
    file = state_dir / "ledger.sqlite"
    if not file.is_file() or file.stat().st_size == 0:
        raise UsageError(f"{file}: there is no ledger; the first run makes it. Is this the right state_dir?")
    return file


def ledger_id_of(connection: sqlite3.Connection) -> str:
    """The name that its marks carry."""
    return str(connection.execute("SELECT value FROM about WHERE key = 'ledger'").fetchone()[0])


def prepare_state_dir(state_dir: Path) -> None:
    """Make the state directory, readable by its owner only (it will hold prompts and answers)."""
    try:
        if not state_dir.exists():
            state_dir.mkdir(mode=0o700, parents=True)
        (state_dir / "runs").mkdir(mode=0o700, exist_ok=True)
    except CANNOT_EXIST as error:
        raise UsageError(
            f"{state_dir}: cannot keep the ledger here ({error.strerror}); name another folder as state_dir"
        ) from error
    except OSError as error:
        raise StoppedError(f"{state_dir}: cannot keep the ledger here ({error.strerror})") from error


def _connect(uri: str) -> sqlite3.Connection:
    # One thread at a time uses it, though not always the same one: the caller serialises.
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def _require_schema(
    connection: sqlite3.Connection, file: Path, *, schema: str = "main", known: frozenset[int] = _READABLE_SCHEMAS
) -> None:
    version = connection.execute(f"PRAGMA {schema}.user_version").fetchone()[0]
    if version not in known:
        raise UsageError(
            f"{file} was written by another version of trace-import (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); use that version, or another state_dir"
        )


def _create(connection: sqlite3.Connection, ledger_id: str) -> None:
    connection.executescript(
        f"BEGIN IMMEDIATE;{_SCHEMA}{_SINCE_3}{_SINCE_4}"
        f"INSERT INTO main.about VALUES ('ledger', {json.dumps(ledger_id).replace(chr(34), chr(39))});"
        f"PRAGMA user_version = {SCHEMA_VERSION};COMMIT;"
    )


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
            raise
        if "not a database" in str(error) or "malformed" in str(error):
            raise UsageError(
                f"the ledger is damaged ({error}). Move ledger.sqlite (and its -wal, -shm) out of the state directory "
                "and run again: nothing is doubled, the import finds its sessions by their marks"
            ) from error
        raise StoppedError(
            f"the ledger cannot be written ({error}); nothing more was sent. Make room or mend the disk and run again"
        ) from error
    except OSError as error:
        raise StoppedError(f"the ledger cannot be opened ({error.strerror}: {error.filename})") from error
