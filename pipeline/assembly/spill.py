"""Values under keys, kept until all are there and read back key by key; memory stays flat, whatever is put in.

What fits into memory stays there. The rest goes to files, chosen by the key's first byte, to which whole buffers are
appended; later one file after the other is gone through. Of a file that does not fit into memory, only the heads are
held, the bodies are read where they lie, so that the values of one key may be larger than memory.

Measured with 300,000 values of 1 KB (tests/benchmarks/assembly.py), µs of CPU a value, in and out: this 3.5, a table in
SQLite with an index 7.6.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from pipeline.errors import StoppedError

MEMORY_BYTES = 16 << 20
MAX_HEADS = 60_000
"""Held at once; of a file with more, a part of the keys at a time."""
_FILES = 256
_FRAME = struct.Struct("<16sII")
_COSTS = 200
"""Bytes that a value costs in memory beside its own."""


class Stored(NamedTuple):
    """One value: its head, and where its body lies."""

    head: bytes
    body: bytes | None
    file: int = -1
    offset: int = 0
    length: int = 0


class Spill:
    """Keys are digests of 16 bytes. Values come back under their key in the order in which they were added."""

    def __init__(self, folder: Path, *, name: str = "spill", memory_bytes: int = MEMORY_BYTES) -> None:
        self._folder = folder / f"{name}.scratch"
        self._memory_bytes = memory_bytes
        self._held: list[tuple[bytes, bytes, bytes]] = []
        self._size = 0
        self._counts = [0] * _FILES
        self._is_on_disk = False
        self._open_file = -1
        self._descriptor = -1

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._remove()

    def __len__(self) -> int:
        return len(self._held) + sum(self._counts)

    def add(self, key: bytes, head: bytes, body: bytes) -> None:
        """Keep a value. Raises StoppedError where the disk cannot take it."""
        self._held.append((key, head, body))
        self._size += len(head) + len(body) + _COSTS
        if self._size >= self._memory_bytes:
            self._flush()

    def distinct_keys(self) -> Iterator[list[bytes]]:
        """All keys, each once, in lists."""
        for group in self._tables(with_heads=False):
            yield list(group)

    def groups(self) -> Iterator[tuple[bytes, list[Stored]]]:
        """Each key with all its values; nothing may be added meanwhile."""
        for table in self._tables(with_heads=True):
            yield from table.items()

    def body(self, stored: Stored) -> bytes:
        """The body of a value, as long as this is open."""
        if stored.body is not None:
            return stored.body
        try:
            if self._open_file != stored.file:
                self._close()
                self._descriptor = os.open(self._path(stored.file), os.O_RDONLY)
                self._open_file = stored.file
            return os.pread(self._descriptor, stored.length, stored.offset)
        except OSError as error:
            raise self._cannot(error) from error

    # --- on disk ------------------------------------------------------------------------------------------

    def _tables(self, *, with_heads: bool) -> Iterator[dict[bytes, list[Stored]]]:
        if not self._is_on_disk:
            table: dict[bytes, list[Stored]] = {}
            for key, head, body in self._held:
                table.setdefault(key, []).append(Stored(head, body))
            yield table
            return
        self._flush()
        for file, count in enumerate(self._counts):
            passes = -(-count // MAX_HEADS)
            for turn in range(passes):
                yield self._read(file, turn, passes, with_heads=with_heads)

    def _read(self, file: int, turn: int, passes: int, *, with_heads: bool) -> dict[bytes, list[Stored]]:
        table: dict[bytes, list[Stored]] = {}
        at = 0
        try:
            with self._path(file).open("rb", buffering=1 << 18) as stream:
                with_bodies = with_heads and os.fstat(stream.fileno()).st_size <= self._memory_bytes
                while frame := stream.read(_FRAME.size):
                    key, head_length, length = _FRAME.unpack(frame)
                    at += _FRAME.size + head_length
                    if (key[1] << 8 | key[2]) % passes != turn:
                        stream.seek(head_length + length, os.SEEK_CUR)
                    else:
                        head = stream.read(head_length)
                        found = table.setdefault(key, [])
                        body = stream.read(length) if with_bodies else None
                        if with_heads:
                            found.append(Stored(head, body, file, at, length))
                        if body is None:
                            stream.seek(length, os.SEEK_CUR)
                    at += length
        except OSError as error:
            raise self._cannot(error) from error
        return table

    def _flush(self) -> None:
        buffers: dict[int, list[bytes]] = {}
        for key, head, body in self._held:
            buffers.setdefault(key[0], []).extend((_FRAME.pack(key, len(head), len(body)), head, body))
            self._counts[key[0]] += 1
        self._held.clear()
        self._size = 0
        try:
            if not self._is_on_disk:
                self._remove()
                self._folder.mkdir(mode=0o700)
                self._is_on_disk = True
            for file, pieces in buffers.items():
                descriptor = os.open(self._path(file), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                with os.fdopen(descriptor, "ab", buffering=0) as stream:
                    _write_all(stream.fileno(), b"".join(pieces))
        except OSError as error:
            raise self._cannot(error) from error

    def _path(self, file: int) -> Path:
        return self._folder / f"{file:02x}"

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._open_file = self._descriptor = -1

    def _remove(self) -> None:
        """Also what an earlier process left there when it was killed."""
        if self._folder.is_dir():
            for file in range(_FILES):
                self._path(file).unlink(missing_ok=True)
            self._folder.rmdir()

    def _cannot(self, error: OSError) -> StoppedError:
        return StoppedError(f"{self._folder}: cannot keep spans on disk ({error.strerror}); make room, run again")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
