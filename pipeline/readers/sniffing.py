"""What a file holds, told from its beginning: lines, JSON documents, our own rejects, or no export at all."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from enum import Enum, auto

from pipeline.json_text import NotJsonError, decode
from pipeline.readers.csv_rows import delimiter_of
from pipeline.readers.opening import BrokenStreamError
from pipeline.readers.rejects import is_reject

_HEAD_BYTES = 64 << 10
_LONGEST_HEAD_BYTES = 4 << 20
"""So far the end of the first line is looked for: a line of rejects.jsonl can hold a record of 1 MiB."""


class Content(Enum):
    """How a file is to be cut."""

    NOTHING = auto()
    LINES = auto()
    DOCUMENTS = auto()
    ROWS = auto()
    REJECTS = auto()


def peek(blocks: Iterator[bytes]) -> tuple[bytes, bool, Iterator[bytes]]:
    """The beginning of a stream, whether it is all of it, and the whole stream again."""
    taken: list[bytes] = []
    size = 0
    has_newline = False
    broken: BrokenStreamError | None = None
    is_all = False
    try:
        while size < _HEAD_BYTES or (not has_newline and size < _LONGEST_HEAD_BYTES):
            block = next(blocks, None)
            if block is None:
                is_all = True
                break
            taken.append(block)
            size += len(block)
            has_newline = has_newline or b"\n" in block.lstrip()
    except BrokenStreamError as error:
        broken = error

    def again() -> Iterator[bytes]:
        while taken:
            yield taken.pop(0)
        if broken is not None:
            raise broken
        yield from blocks

    return b"".join(taken), is_all, again()


def content_of(head: bytes, *, is_all: bool, named: Content | None) -> Content | str:
    """How to cut the file that begins with `head`; a sentence where it is no export that we can read.

    `named` is what its name says (LINES, ROWS), where it says anything.
    """
    foreign = _foreign(head)
    if foreign:
        return foreign
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\x1e")
    if not text:
        return Content.NOTHING if is_all else Content.LINES
    lines = text.split(b"\n", 20)
    if not is_all or len(lines) > 20:
        lines = lines[:-1] or lines  # the last one is not whole
    if is_reject(_object(lines[0])):
        return Content.REJECTS
    if named is Content.LINES:
        return Content.LINES
    if text.startswith(b"[") and named is not Content.ROWS:
        return Content.DOCUMENTS
    if text.startswith(b"{"):
        is_lines = (not is_all and b"\n" not in text) or any(_object(line) is not None for line in lines[:2])
        return Content.LINES if is_lines else Content.DOCUMENTS
    if named is Content.ROWS and not text.startswith((b"<", b"{")) and b"\0" not in lines[0]:
        return Content.ROWS
    if any(_object(line) is not None for line in lines):
        return Content.LINES
    if _is_csv(lines):
        return Content.ROWS
    return _no_json(text)


def _object(line: bytes) -> dict[str, object] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        value = decode(line).value
    except NotJsonError:
        return None
    return value if isinstance(value, dict) else None


_MAGICS = (
    (b"\xff\xfe", "UTF-16 or UTF-32 text; convert it first: iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text; convert it first: iconv -f UTF-16 -t UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32 text; convert it first: iconv -f UTF-32 -t UTF-8"),
    (b"PK\x03\x04", "a zip archive; call it .zip, and its members are read"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; decompress it first: lz4 -d"),
    (b"\xff\x06\x00\x00sNaPpY", "compressed with snappy; decompress it first"),
    (b"\x1f\x9d", "compressed with compress (.Z); decompress it first: gzip -d"),
    (b"\x1f\x8b", "compressed twice; decompress it once first: gzip -d"),
    (b"\x28\xb5\x2f\xfd", "compressed twice; decompress it once first: zstd -d"),
    (b"PARE", "an encrypted Parquet file; export it without encryption"),
    (b"Obj\x01", "an Avro file; export JSON Lines or Parquet instead"),
    (b"ORC", "an ORC file; export JSON Lines or Parquet instead"),
    (b"ARROW1", "an Arrow file; write it as Parquet instead"),
    (b"FEA1", "a Feather file; write it as Parquet instead"),
    (b"SQLite format 3\0", "a SQLite database; export its rows as JSON Lines instead"),
    (b"%PDF", "a PDF document"),
)
_CSV_HEADER = re.compile(rb"""["\w .()/-]+(?:[,;\t]["\w .()/-]*)+\r?""")


def _foreign(head: bytes) -> str:
    if head[257:262] == b"ustar":
        return "a tar archive; call it .tar (.tar.gz, …), and its members are read"
    return next((what for magic, what in _MAGICS if head.startswith(magic)), "")


def _is_csv(lines: list[bytes]) -> bool:
    """A header of plain names, and as many cells in the row below it."""
    if len(lines) < 2 or not _CSV_HEADER.fullmatch(lines[0]):
        return False
    texts = [line.decode("utf-8", "replace") for line in lines[:2]]
    header, row = csv.reader(texts, delimiter=delimiter_of(lines[0]))
    return len(header) == len(row)


def _no_json(text: bytes) -> str:
    if text.startswith(b"<"):
        return "HTML or XML; export JSON Lines or Parquet instead"
    if b"\0" in text:
        return "binary data of no format that we know"
    return "neither JSON, JSON Lines, CSV nor Parquet"
