"""Where the pieces of scattered traces lie, and the traces of conversations: an index that outlives a run.

A trace (or conversation) that goes on in tomorrow's file is rebuilt from all its pieces; files of earlier nights are
read again only where this index says that they hold some. It is kept per target and mapping, as done files are: what
one of them took from a file says nothing about another.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from pipeline.errors import StoppedError
from pipeline.ledger.database import Database

_AT_ONCE = 500
_PLACE = struct.Struct("<QQ")

Places = Mapping[int, int]
"""By ordinal of the record, which piece it is: see `identity`."""


class Found(NamedTuple):
    """Pieces of one trace in one file."""

    key: bytes
    path: str
    format: str
    fingerprint: str
    """Of the file when it was read."""
    places: Places


def identity(text: str | bytes) -> int:
    """Tells pieces of one trace apart: of the id that a piece has in its trace, or of its content."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def scope_of(target: int, mapping_sha256: str) -> int:
    """The number under which the index keeps what was read for this target with this mapping."""
    digest = hashlib.blake2b(f"{target}\0{mapping_sha256}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class PartIndex:
    """The reading side: a connection of its own, so that it never waits for the thread that writes the ledger."""

    def __init__(self, database: Database, scope: int) -> None:
        self._file = database.file
        self._scope = scope
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> PartIndex:
        if self._file.exists():
            try:
                # The reading thread is not always the same one, but there is one at a time.
                self._connection = sqlite3.connect(
                    f"{self._file.as_uri()}?mode=ro", uri=True, timeout=30, check_same_thread=False
                )
                has_any = self._query("SELECT 1 FROM sqlite_master WHERE name = 'part_file'", ())
                if not has_any or not self._query("SELECT 1 FROM part_file WHERE scope = ? LIMIT 1", (self._scope,)):
                    self.close()
            except sqlite3.DatabaseError as error:
                raise self._cannot(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back; nothing is found any more."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def find(self, keys: Iterable[Sequence[bytes]], *, without: frozenset[str]) -> Iterator[Found]:
        """Where earlier runs found pieces of these traces, but for the files named in `without`."""
        if self._connection is None:
            return
        for some in keys:
            for start in range(0, len(some), _AT_ONCE):
                for found in self._find(some[start : start + _AT_ONCE]):
                    if found.path not in without:
                        yield found

    def lost(self, key: bytes, present: Set[int]) -> str | None:
        """A file that held pieces of this trace which are not among those that are there now; None: all are."""
        found = self._find([key]) if self._connection is not None else []
        return next((each.path for each in found if not set(each.places.values()) <= present), None)

    def formats(self) -> frozenset[str]:
        """Formats of which pieces were read in earlier runs that are no traces by themselves."""
        if self._connection is None:
            return frozenset()
        rows = self._query("SELECT DISTINCT format FROM part_file WHERE is_scattered AND scope = ?", (self._scope,))
        return frozenset(row[0] for row in rows)

    def files(self) -> frozenset[str]:
        """Those whose records were read as pieces: all that they hold is in the index."""
        if self._connection is None:
            return frozenset()
        query = "SELECT p.path FROM part_file f JOIN path p ON p.id = f.path WHERE f.is_scattered AND f.scope = ?"
        return frozenset(row[0] for row in self._query(query, (self._scope,)))

    def _find(self, keys: Sequence[bytes]) -> list[Found]:
        marks = ", ".join("?" * len(keys))
        rows = self._query(
            "SELECT t.trace, p.path, f.format, f.fingerprint, t.places FROM part t JOIN path p ON p.id = t.path "
            f"JOIN part_file f ON f.scope = t.scope AND f.path = t.path WHERE t.trace IN ({marks}) AND t.scope = ?",
            (*keys, self._scope),
        )
        return [
            Found(key, path, format, fingerprint, dict(_PLACE.iter_unpack(blob)))
            for key, path, format, fingerprint, blob in rows
        ]

    def _query(self, text: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        assert self._connection is not None  # the caller has looked
        try:
            return self._connection.execute(text, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._cannot(error) from error

    def _cannot(self, error: sqlite3.DatabaseError) -> StoppedError:
        return StoppedError(f"{self._file}: cannot be read ({error}); run again")


def note_parts(
    connection: sqlite3.Connection,
    scope: int,
    paths: Mapping[str, int],
    noted: Iterable[tuple[bytes, Mapping[str, Places]]],
) -> None:
    """Write where the pieces of these traces lie, as part of the caller's transaction."""
    connection.executemany(
        "INSERT OR REPLACE INTO part (trace, scope, path, places) VALUES (?, ?, ?, ?)",
        [
            (key, scope, paths[source], b"".join([_PLACE.pack(*place) for place in places.items()]))
            for key, by_source in noted
            for source, places in by_source.items()
        ],
    )


def note_part_file(
    connection: sqlite3.Connection, scope: int, path: int, fingerprint: str, format: str, is_scattered: bool
) -> None:
    """Write that this file holds pieces, and what it is like, before they are noted."""
    connection.execute(
        "INSERT OR REPLACE INTO part_file (scope, path, fingerprint, format, is_scattered) VALUES (?, ?, ?, ?, ?)",
        (scope, path, fingerprint, format, is_scattered),
    )
