"""A source as a stream of byte blocks, decompressed by what it holds and not by what it is called.

gzip, zstd, bz2 and xz, also several members one after the other; and the OpenTelemetry collector's framed zstd
(file exporter with `compression: zstd`: for each message 4 bytes of big-endian length and a zstd frame), where
each frame becomes one line. A stream that breaks yields all bytes that can be had, then BrokenStreamError.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import zstandard
from isal import igzip_lib

from pipeline.errors import TraceImportError, UsageError
from pipeline.models import Problem

LINE_SUFFIXES = (".jsonl", ".ndjson")
ROW_SUFFIXES = (".csv", ".tsv")
EXPORT_SUFFIXES = (*LINE_SUFFIXES, *ROW_SUFFIXES, ".json", ".parquet", ".pq")
COMPRESSION_SUFFIXES = (".gz", ".zst", ".zstd", ".bz2", ".xz")
BLOCK_BYTES = 1 << 20
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_FEED_BYTES = 4096
"""Compressed bytes handed to a decompressor at once: bounds what a zstd bomb can make of them (64 MB)."""


class Kept(Protocol):
    """What lies in an archive or in storage, and knows how it is opened; its text is its name in the manifest."""

    @property
    def name(self) -> str:
        """Its last part."""

    @property
    def size(self) -> int:
        """In bytes, about."""

    @property
    def mark(self) -> str:
        """Its fingerprint when it was found."""

    @property
    def order(self) -> tuple[tuple[str, ...], int]:
        """Where it stands among all."""

    @property
    def problem(self) -> Problem | None:
        """Why nobody tries to read it."""

    def fingerprint_now(self) -> str:
        """Another one whenever its content is."""

    def open_stream(self) -> BinaryIO:
        """Its content, to be read once."""

    def open_ranges(self) -> BinaryIO | None:
        """Its content for somebody who seeks; None where that cannot be."""


Place = Path | Kept
"""Where a source lies."""


def is_export(path: str | Path) -> bool:
    """Whether a file in a folder is one to import, told from its name: `a.jsonl`, `a.jsonl.gz`, and `a.gz`."""
    name = Path(path).name.lower()
    bare = bare_name(name)
    is_only_compressed = bare != name and "." not in bare
    return (bare.endswith(EXPORT_SUFFIXES) or is_only_compressed) and not name.startswith(".")


def bare_name(name: str) -> str:
    """In lower case, and without what tells the compression."""
    name = name.lower()
    for suffix in COMPRESSION_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


class BrokenStreamError(TraceImportError):
    """The bytes end before they should; `kind` is truncated, corrupt, unreadable or too_much."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason

    @property
    def problem(self) -> Problem:
        """What a reader tells about it."""
        before = "was read, and its end may be damaged" if self.kind == "corrupt" else "was read"
        return Problem(self.kind, f"{self.reason}; what stands before {before}")


@contextmanager
def open_blocks(place: Place, block_bytes: int = BLOCK_BYTES) -> Iterator[Iterator[bytes]]:
    """The content of a file in blocks. Raises UsageError where the file cannot be opened."""
    with open_file(place) as file:
        yield _blocks(file, block_bytes)


def _blocks(file: BinaryIO, block_bytes: int) -> Iterator[bytes]:
    head = _read(file, 16)
    codec = _codec_of(head)
    if codec is not None:
        yield from _decompress(file, codec, head)
    elif _is_framed(head):
        yield from _unframe(file, head)
    else:
        yield from _plain(file, head, block_bytes)


def starts_with(path: Place, magic: bytes) -> bool:
    """Whether a file begins with these bytes. Raises UsageError where it cannot be opened."""
    with open_file(path) as file:
        try:
            return file.read(len(magic)) == magic
        except OSError:  # the reader will meet it again, and tell
            return False


def open_file(path: Place) -> BinaryIO:
    """Open a source for reading; what stands in the way becomes a UsageError that names the way out."""
    if not isinstance(path, Path):
        return path.open_stream()
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; check the path or the pattern in source.paths") from None
    except IsADirectoryError:
        raise UsageError(f'{path} is a folder; name its files, for example "{path}/**/*.jsonl"') from None
    except PermissionError:
        raise UsageError(f"{path}: no permission to read it; change its mode or owner") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be opened: {error.strerror}") from error


def _read(file: BinaryIO, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise BrokenStreamError("unreadable", f"reading failed: {error.strerror}") from error


def _plain(file: BinaryIO, head: bytes, block_bytes: int) -> Iterator[bytes]:
    block = head + _read(file, max(block_bytes - len(head), 0))
    while block:
        yield block
        block = _read(file, block_bytes)


# --- compressed -------------------------------------------------------------------------------------------


class _Codec(NamedTuple):
    name: str
    is_start: Callable[[bytes], bool]
    new: Callable[[], Any]
    errors: tuple[Any, ...]
    is_bounded: bool = True
    """Its decompress() takes a maximal length."""


def _starts_zstd(head: bytes) -> bool:
    is_skippable = len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F
    return head[:4] == _ZSTD_MAGIC or is_skippable


_CODECS = (
    _Codec(
        "gzip",
        lambda head: head[:2] == b"\x1f\x8b",
        lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
        (igzip_lib.IsalError,),
    ),
    _Codec(
        "zstd",
        _starts_zstd,
        lambda: zstandard.ZstdDecompressor().decompressobj(),
        (zstandard.ZstdError,),
        is_bounded=False,
    ),
    _Codec("bzip2", lambda head: head[:3] == b"BZh", bz2.BZ2Decompressor, (OSError, ValueError)),
    _Codec("xz", lambda head: head[:6] == b"\xfd7zXZ\0", lzma.LZMADecompressor, (lzma.LZMAError,)),
)


def _codec_of(head: bytes) -> _Codec | None:
    return next((codec for codec in _CODECS if codec.is_start(head)), None)


class _Feed:
    """The compressed bytes in order, with a place to put back what a member did not use."""

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self.file = file
        self.offset = 0
        self._kept = head

    def take(self) -> bytes:
        data, self._kept = self._kept or _read(self.file, _FEED_BYTES), b""
        self.offset += len(data)
        return data

    def put_back(self, data: bytes) -> None:
        self._kept = data + self._kept
        self.offset -= len(data)

    def take_exactly(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end."""
        data = b""
        while len(data) < size and (more := self.take()):
            data += more
        self.put_back(data[size:])
        return data[:size]

    def next_head(self) -> bytes:
        """The first bytes of what comes next; zeros, with which tapes fill their blocks, are passed over."""
        head = b""
        while data := self.take():
            head = (head + data).lstrip(b"\0")
            if len(head) >= 6:
                break
        self.put_back(head)
        return head


def _decompress(file: BinaryIO, codec: _Codec, head: bytes) -> Iterator[bytes]:
    """The content of all members of a file, of which `head` has been read already."""
    feed = _Feed(file, head)
    while head := feed.next_head():
        if not codec.is_start(head):
            raise BrokenStreamError("corrupt", f"something else follows the end of the {codec.name} data")
        start, delivered = feed.offset, 0
        decompressor = codec.new()
        while not decompressor.eof:
            data = feed.take()
            if not data:
                raise BrokenStreamError("truncated", f"the {codec.name} data ends too early, it was cut off")
            try:
                for block in _pour(decompressor, data, codec):
                    delivered += len(block)
                    yield block
            except codec.errors as error:
                yield from _salvage(file, codec, start, feed.offset - len(data), delivered)
                raise BrokenStreamError("corrupt", f"the {codec.name} data is corrupt ({error})") from None
        feed.put_back(decompressor.unused_data)


def _pour(decompressor: Any, data: bytes, codec: _Codec) -> Iterator[bytes]:
    if not codec.is_bounded:
        yield decompressor.decompress(data)
        return
    yield decompressor.decompress(data, BLOCK_BYTES)
    while not (decompressor.eof or decompressor.needs_input):
        yield decompressor.decompress(b"", BLOCK_BYTES)


def _salvage(file: BinaryIO, codec: _Codec, start: int, broken_at: int, delivered: int) -> Iterator[bytes]:
    """What a member holds between what was `delivered` and the byte that cannot be decompressed.

    A decompressor that fails keeps what it had: so the member is read again, byte by byte where it fails.
    """
    try:
        file.seek(start)
    except OSError:  # a pipe
        return
    decompressor = codec.new()
    position = start
    while True:
        data = _read(file, min(_FEED_BYTES, broken_at - position) if position < broken_at else 1)
        position += len(data)
        if not data or decompressor.eof:
            return
        try:
            for block in _pour(decompressor, data, codec):
                yield block[delivered:]
                delivered = max(delivered - len(block), 0)
        except codec.errors:
            return


# --- framed zstd ------------------------------------------------------------------------------------------


def _is_framed(head: bytes) -> bool:
    return head[4:8] == _ZSTD_MAGIC and len(head) >= 8


def _unframe(file: BinaryIO, head: bytes) -> Iterator[bytes]:
    """The collector's messages, one a line; a corrupt frame is a line that says so, and the next ones go on."""
    feed = _Feed(file, head)
    while size_bytes := feed.take_exactly(4):
        left = int.from_bytes(size_bytes, "big")
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        problem = ""
        while left and (data := feed.take_exactly(min(left, _FEED_BYTES))):
            left -= len(data)
            if not problem and not decompressor.eof:
                try:
                    yield decompressor.decompress(data).replace(b"\n", b" ")
                except zstandard.ZstdError as error:
                    problem = str(error)
        if left or len(size_bytes) < 4:
            raise BrokenStreamError("truncated", "the framed zstd data ends too early, it was cut off")
        if problem or not decompressor.eof:
            yield f"<corrupt zstd frame: {problem or 'incomplete'}>".encode()
        yield b"\n"
