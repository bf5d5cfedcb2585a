"""Readers cut files into records. They never judge what a record means, and never drop one.

opening.py     a file as blocks of bytes, decompressed
places.py      where it lies                archives.py     members of zip and tar
storage.py     objects in S3 and elsewhere
sniffing.py    what those bytes are
jsonl.py       lines                      json_values.py   arrays and documents
parquet.py     rows (columns.py: types)   csv_rows.py      rows of CSV
rejects.py     what an earlier run rejected
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.models import Problem, Record
from pipeline.readers.csv_rows import delimiter_of, read_csv
from pipeline.readers.json_values import read_json_values
from pipeline.readers.jsonl import read_jsonl
from pipeline.readers.opening import (
    BLOCK_BYTES,
    LINE_SUFFIXES,
    ROW_SUFFIXES,
    BrokenStreamError,
    Place,
    bare_name,
    is_export,
    open_blocks,
    starts_with,
)
from pipeline.readers.parquet import read_parquet
from pipeline.readers.rejects import read_rejects
from pipeline.readers.sniffing import Content, content_of, peek

__all__ = ["is_export", "read_records"]

REMOTE_COLUMN_BYTES = 1 << 20
"""So much of a column is asked for at once: a request takes as long as a megabyte."""
PARQUET_IN_MEMORY_BYTES = 256 << 20
"""Parquet is read from its end, so one that comes as a stream (compressed once more, in an archive) is held whole."""


def read_records(
    place: str | Place, *, name: str, max_record_bytes: int, block_bytes: int = BLOCK_BYTES
) -> Iterator[Record]:
    """The records of one file, whatever its content is; `name` is their source.

    What cannot be read is a record with a problem. Raises UsageError where the file cannot be opened.
    """
    place = Path(place) if isinstance(place, str) else place
    if not isinstance(place, Path) and place.problem is not None:
        yield Record(name, 1, "file", None, b"", place.problem)
        return
    if isinstance(place, Path) and place.is_file() and starts_with(place, b"PAR1"):
        yield from read_parquet(place, name=name, max_record_bytes=max_record_bytes)
        return
    with open_blocks(place, block_bytes) as stream:
        head, is_all, blocks = peek(stream)
        if head.startswith(b"PAR1") and not isinstance(place, Path) and (file := place.open_ranges()) is not None:
            with file:
                yield from read_parquet(
                    file, name=name, max_record_bytes=max_record_bytes, column_buffer_bytes=REMOTE_COLUMN_BYTES
                )
            return
        if head.startswith(b"PAR1"):
            yield from _parquet_in_memory(blocks, name, max_record_bytes)
            return
        content = content_of(head, is_all=is_all, named=_named(place.name))
        if content is Content.LINES:
            yield from read_jsonl(blocks, name=name, max_record_bytes=max_record_bytes)
        elif content is Content.DOCUMENTS:
            yield from read_json_values(blocks, name=name, max_record_bytes=max_record_bytes)
        elif content is Content.ROWS:
            yield from read_csv(blocks, name=name, max_record_bytes=max_record_bytes, delimiter=delimiter_of(head))
        elif content is Content.REJECTS:
            yield from read_rejects(blocks, name=name, max_record_bytes=max_record_bytes)
        elif content is not Content.NOTHING:
            yield Record(name, 1, "file", None, b"", Problem("not_an_export", f"this file is {content}"))


def _named(name: str) -> Content | None:
    """What a name says about how the file is cut, where its content leaves that open."""
    bare = bare_name(name)
    if bare.endswith(LINE_SUFFIXES):
        return Content.LINES
    return Content.ROWS if bare.endswith(ROW_SUFFIXES) else None


def _parquet_in_memory(blocks: Iterator[bytes], name: str, max_record_bytes: int) -> Iterator[Record]:
    import pyarrow as pa  # noqa: PLC0415  (heavy: loads when used)

    pieces = []
    left = PARQUET_IN_MEMORY_BYTES
    problem = None
    try:
        for block in blocks:
            pieces.append(block)
            left -= len(block)
            if left < 0:
                text = f"a Parquet file of more than {PARQUET_IN_MEMORY_BYTES} bytes in an archive or a compressed file"
                problem = Problem("too_long", f"{text}; unpack it first")
                break
    except BrokenStreamError as error:
        problem = error.problem
    if problem is not None:
        yield Record(name, 1, "file", None, b"", problem)
        return
    yield from read_parquet(pa.BufferReader(b"".join(pieces)), name=name, max_record_bytes=max_record_bytes)
