"""Readers cut files into records. They never judge what a record means, and never drop one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.models import Record
from pipeline.readers.jsonl import read_jsonl
from pipeline.readers.opening import BLOCK_BYTES, open_blocks, open_file

def read_records(path: str | Path, *, name: str, max_record_bytes: int, block_bytes: int = BLOCK_BYTES) -> Iterator[Record]:
    path = Path(path)
    with open_blocks(path, block_bytes) as blocks:
        yield from read_jsonl(blocks, name=name, max_record_bytes=max_record_bytes)
