"""Readers cut files into records. They never judge what a record means, and never drop one.

opening.py     a file as blocks of bytes, decompressed
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
from pipeline.readers.opening import BLOCK_BYTES, open_blocks, starts_with
from pipeline.readers.parquet import read_parquet
from pipeline.readers.rejects import read_rejects
from pipeline.readers.sniffing import Content, content_of, peek

LINE_SUFFIXES = (".jsonl", ".ndjson")
ROW_SUFFIXES = (".csv", ".tsv")
EXPORT_SUFFIXES = (*LINE_SUFFIXES, *ROW_SUFFIXES, ".json", ".parquet", ".pq")
COMPRESSION_SUFFIXES = (".gz", ".zst", ".zstd", ".bz2", ".xz")


def is_export(path: str | Path) -> bool:
    """Whether a file in a folder is one to import, told from its name: `a.jsonl`, `a.jsonl.gz`, and `a.gz`."""
    name = Path(path).name.lower()
    bare = _bare_name(name)
    is_only_compressed = bare != name and "." not in bare
    return (bare.endswith(EXPORT_SUFFIXES) or is_only_compressed) and not name.startswith(".")


def read_records(
    path: str | Path, *, name: str, max_record_bytes: int, block_bytes: int = BLOCK_BYTES
) -> Iterator[Record]:
    """The records of one file, whatever its content is; `name` is their source.

    What cannot be read is a record with a problem. Raises UsageError where the file cannot be opened.
    """
    path = Path(path)
    if path.is_file() and starts_with(path, b"PAR1"):
        yield from read_parquet(path, name=name, max_record_bytes=max_record_bytes)
        return
    with open_blocks(path, block_bytes) as stream:
        head, is_all, blocks = peek(stream)
        content = content_of(head, is_all=is_all, named=_named(path.name))
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
    bare = _bare_name(name)
    if bare.endswith(LINE_SUFFIXES):
        return Content.LINES
    return Content.ROWS if bare.endswith(ROW_SUFFIXES) else None


def _bare_name(name: str) -> str:
    name = name.lower()
    for suffix in COMPRESSION_SUFFIXES:
        name = name.removesuffix(suffix)
    return name
