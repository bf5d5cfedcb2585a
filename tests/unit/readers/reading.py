"""What the tests of the readers share: bytes in, records out, checked for what holds for all of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.models import Record
from pipeline.readers import read_records

MAX_RECORD_BYTES = 1 << 20


def read(
    content: bytes, file_name: str = "a.jsonl", *, max_record_bytes: int = MAX_RECORD_BYTES, block_bytes: int = 1 << 20
) -> list[Record]:
    """The records of a file with this content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file_name
        path.write_bytes(content)
        return read_path(path, max_record_bytes=max_record_bytes, block_bytes=block_bytes)


def read_path(path: Path, *, max_record_bytes: int = MAX_RECORD_BYTES, block_bytes: int = 1 << 20) -> list[Record]:
    """The records of a file; every record is right in itself, whatever the file holds."""
    records = list(read_records(path, name="src", max_record_bytes=max_record_bytes, block_bytes=block_bytes))
    assert [record.ordinal for record in records] == list(range(1, len(records) + 1))
    for record in records:
        assert record.source == "src"
        assert record.position
        if record.problem is not None:
            assert record.data is None
            assert record.problem.kind
            assert record.problem.error
    return records


def data(records: list[Record]) -> list[object]:
    """The values of records that can all be read."""
    assert [record.problem for record in records] == [None] * len(records)
    return [record.data for record in records]


def outline(records: list[Record]) -> list[tuple[str, object]]:
    """Position, and the value or the kind of problem."""
    return [(record.position, record.data if record.problem is None else record.problem.kind) for record in records]
