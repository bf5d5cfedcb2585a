"""A sequence whose items lie in a temporary file: as long as one likes, for 12 bytes of memory an item.

It is filled once, and read by any thread after that. The file has no name, and is gone with the sequence.
"""

from __future__ import annotations

import errno
import os
import pickle
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar, overload

import msgspec

from pipeline.errors import StoppedError

T = TypeVar("T")
BUFFER_BYTES = 1 << 18


class Codec(NamedTuple):
    """How an item becomes bytes, and what it was again."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


# Our own values in our own file, which nobody else can open: pickle reads no stranger's data.
ANYTHING = Codec(lambda item: pickle.dumps(item, protocol=5), pickle.loads)


def codec_of(kind: type[msgspec.Struct]) -> Codec:
    """Several times faster than ANYTHING, for structs whose fields are of known types."""
    return Codec(msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(kind).decode)


class OnDisk(Sequence[T]):
    """Reads like a tuple. `append`, and putting another item in a place, raise StoppedError where the disk is full.

    `type(it) is OnDisk` tells it from others ten times faster than `isinstance`, which asks an abstract base class.
    """

    def __init__(self, folder: Path, codec: Codec = ANYTHING) -> None:
        self.folder = folder
        self._codec = codec
        self._starts = array("Q")
        self._lengths = array("I")
        self._unwritten = bytearray()
        self._written = 0
        """Bytes in the file."""
        self._last: tuple[int, T] | None = None
        """The item that was read last: many readers come back to it."""
        try:
            self._file, name = tempfile.mkstemp(prefix="sequence-", suffix=".scratch", dir=folder)
            weakref.finalize(self, os.close, self._file)
            Path(name).unlink()
        except OSError as error:
            raise self._cannot(error) from error

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        if isinstance(index, slice):
            return tuple([self._read(place) for place in range(*index.indices(len(self)))])
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        last = self._last
        if last is None or last[0] != place:
            last = self._last = (place, self._read(place))
        return last[1]

    def __iter__(self) -> Iterator[T]:
        for place in range(len(self)):
            yield self._read(place)

    def append(self, item: T) -> None:
        """Add it at the end."""
        self._starts.append(0)
        self._lengths.append(0)
        self[len(self) - 1] = item

    def __setitem__(self, index: int, item: T) -> None:
        encoded = self._codec.encode(item)
        place = range(len(self))[index]
        self._starts[place] = self._written + len(self._unwritten)
        self._lengths[place] = len(encoded)
        self._unwritten += encoded
        self._last = None
        if len(self._unwritten) >= BUFFER_BYTES:
            self.flush()

    def extend(self, items: Iterable[T]) -> None:
        """Add them at the end."""
        for item in items:
            self.append(item)

    def sort_by(self, keys: Sequence[int]) -> None:
        """Bring the items into the order of their keys; those with equal ones stay as they are."""
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._starts = array("Q", [self._starts[place] for place in order])
        self._lengths = array("I", [self._lengths[place] for place in order])
        self._last = None

    def _read(self, place: int) -> T:
        start, length = self._starts[place], self._lengths[place]
        if start >= self._written:
            first = start - self._written
            encoded = bytes(self._unwritten[first : first + length])
        else:
            try:
                encoded = os.pread(self._file, length, start)
            except OSError as error:
                raise self._cannot(error) from error
        item: T = self._codec.decode(encoded)
        return item

    def flush(self) -> None:
        """Nothing of it waits in memory any more."""
        with memoryview(self._unwritten) as view:
            done = 0
            try:
                while done < len(view):
                    done += os.pwrite(self._file, view[done:], self._written + done)
            except OSError as error:
                raise self._cannot(error) from error
        self._written += len(self._unwritten)
        self._unwritten = bytearray()

    def _cannot(self, error: OSError) -> StoppedError:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return StoppedError("too many files are open for long conversations; raise `ulimit -n` and run again")
        return StoppedError(
            f"{self.folder}: cannot keep a long conversation on disk ({error.strerror}); make room, run again"
        )


Filling: TypeAlias = list[T] | OnDisk[T]
"""A sequence while it is filled."""


def sequence_in(folder: Path | None, codec: Codec = ANYTHING) -> Filling[Any]:
    """An empty one: on disk in this folder, or a list."""
    return [] if folder is None else OnDisk(folder, codec)


def beside(sequence: Sequence[Any], codec: Codec = ANYTHING) -> Filling[Any]:
    """An empty one: on disk where this one is, else a list."""
    return sequence_in(sequence.folder if type(sequence) is OnDisk else None, codec)


def filled(sequence: Filling[T]) -> Sequence[T]:
    """Nothing is added any more: a list becomes a tuple."""
    if isinstance(sequence, list):
        return tuple(sequence)
    sequence.flush()
    return sequence
