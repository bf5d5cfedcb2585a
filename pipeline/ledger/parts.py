"""Where the pieces of scattered traces lie, and the traces of conversations: an index that outlives a run.

A trace (or conversation) that goes on in tomorrow's file is rebuilt from all its pieces; files of earlier nights are
read again only where this index says that they hold some.
"""

from __future__ import annotations

import contextlib
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.errors import StoppedError
from pipeline.ledger.database import Database

_AT_ONCE = 500


class Place(NamedTuple):
    """Pieces of one trace in one file, by the ordinals of their records."""

    key: bytes
    path: str
    format: str
    fingerprint: str
    """Of the file when it was read."""
    ordinals: Sequence[int]


class PartIndex:
    """The reading side: a connection of its own, so that it never waits for the thread that writes the ledger."""

    def __init__(self, database: Database) -> None:
        self._file = database.file

    def find(self, keys: Iterable[Sequence[bytes]], *, without: frozenset[str]) -> Iterator[Place]:
        """Where earlier runs found pieces of these traces, but for the files named in `without`."""
        with self._opened() as connection:
            if connection is None:
                return
            for some in keys:
                for start in range(0, len(some), _AT_ONCE):
                    asked = some[start : start + _AT_ONCE]
                    marks = ", ".join("?" * len(asked))
                    rows = connection.execute(
                        "SELECT t.trace, p.path, f.format, f.fingerprint, t.ordinals FROM part t "
                        "JOIN path p ON p.id = t.path JOIN part_file f ON f.path = t.path "
                        f"WHERE t.trace IN ({marks})",
                        asked,
                    )
                    for key, path, format, fingerprint, blob in rows:
                        if path not in without:
                            ordinals = array("Q")
                            ordinals.frombytes(blob)
                            yield Place(key, path, format, fingerprint, ordinals)

    def formats(self) -> frozenset[str]:
        """Formats of which pieces were read in earlier runs that are no traces by themselves."""
        with self._opened() as connection:
            if connection is None:
                return frozenset()
            return frozenset(
                row[0] for row in connection.execute("SELECT DISTINCT format FROM part_file WHERE is_scattered")
            )

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        if not self._file.exists():
            yield None
            return
        try:
            with contextlib.closing(
                sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True, timeout=30)
            ) as connection:
                has_table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'part_file'").fetchone()
                yield connection if has_table else None
        except sqlite3.DatabaseError as error:
            raise StoppedError(f"{self._file}: cannot be read ({error}); run again") from error


def note_parts(
    connection: sqlite3.Connection, paths: Mapping[str, int], noted: Iterable[tuple[bytes, Mapping[str, Sequence[int]]]]
) -> None:
    """Write where the pieces of these traces lie, as part of the caller's transaction."""
    connection.executemany(
        "INSERT OR REPLACE INTO part (trace, path, ordinals) VALUES (?, ?, ?)",
        [
            (key, paths[source], array("Q", ordinals).tobytes())
            for key, by_source in noted
            for source, ordinals in by_source.items()
        ],
    )


def note_part_file(
    connection: sqlite3.Connection, path: int, fingerprint: str, format: str, is_scattered: bool
) -> None:
    """Write that this file holds pieces, and what it is like, before they are noted."""
    connection.execute(
        "INSERT OR REPLACE INTO part_file (path, fingerprint, format, is_scattered) VALUES (?, ?, ?, ?)",
        (path, fingerprint, format, is_scattered),
    )
