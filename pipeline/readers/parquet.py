"""Parquet as records: one row, one record, in batches bounded by bytes, also inside one huge row group.

Pages are streamed through a small buffer for each column; without it pyarrow holds the whole column chunk. A
page itself must be held: writers look at its size only every 1,024 values, so rows of 100 KB make pages of 100 MB.
Peak RSS with one row group of 1 GB (tests/benchmarks/memory_of_readers.py): rows of 3 KB 124 MB; rows of 1 MB in
small pages 154 MB; pages of 50 MB 239 MB; pages of 500 MB 952 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pipeline.models import Problem, Record
from pipeline.readers.jsonl import too_long_problem
from pipeline.readers.opening import open_file
from pipeline.readers.rows import row_record

BATCH_BYTES = 2 << 20
_BATCH_ROWS = 128
_COLUMN_BUFFER_BYTES = 64 << 10
_MOST_LOST_ROWS = 10_000_000
"""More unreadable rows in one row group come from a corrupt count: the rest of them shares one record."""


def read_parquet(
    file_or_path: Any,
    *,
    name: str,
    max_record_bytes: int,
    batch_bytes: int = BATCH_BYTES,
    column_buffer_bytes: int = _COLUMN_BUFFER_BYTES,
) -> Iterator[Record]:
    """The rows of a Parquet file, given by its path or open; those that cannot be read carry a problem."""
    import pyarrow as pa  # noqa: PLC0415  (heavy: loads when used)
    import pyarrow.parquet as pq  # noqa: PLC0415

    if isinstance(file_or_path, Path):
        open_file(file_or_path).close()  # what is missing is a UsageError; errors after this are about the content
    broken = (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError)
    try:
        file = pq.ParquetFile(
            str(file_or_path) if isinstance(file_or_path, Path) else file_or_path,
            pre_buffer=False,
            buffer_size=column_buffer_bytes,
            coerce_int96_timestamp_unit="us",
        )
        names = list(file.schema_arrow.names)
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
    except broken as error:
        problem = _corrupt("the Parquet footer cannot be read", error)
        yield Record(name, 1, "file", None, b"", problem)
        return
    row = 0
    with file:
        for index, group in enumerate(groups):
            end = row + max(group.num_rows, 0)
            problem = Problem("corrupt", "the row group holds fewer rows than it states")
            try:
                for batch in _batches(file, index, group, batch_bytes):
                    for record in _records(batch, names, name, row):
                        row = record.ordinal
                        is_too_long = len(record.raw) > max_record_bytes
                        yield _too_long(record, max_record_bytes) if is_too_long else record
            except broken as error:
                problem = _corrupt("the rest of the row group cannot be read", error)
            for record in _lost(name, row, end, problem):
                row = record.ordinal
                yield record


def _corrupt(what: str, error: Exception) -> Problem:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return Problem("corrupt", f"{what} ({reason})")


def _too_long(record: Record, max_bytes: int) -> Record:
    return replace(record, data=None, raw=b"", problem=too_long_problem("row", max_bytes))


def _lost(name: str, row: int, end: int, problem: Problem) -> Iterator[Record]:
    for number in range(row + 1, min(end, row + _MOST_LOST_ROWS) + 1):
        yield Record(name, number, f"row {number}", None, b"", problem)
    if end > row + _MOST_LOST_ROWS:
        number = row + _MOST_LOST_ROWS + 1
        yield Record(name, number, f"rows {number} to {end}", None, b"", problem)


def _batches(file: Any, index: int, group: Any, batch_bytes: int) -> Iterator[Any]:
    """A row group in batches of about `batch_bytes`; where the footer's sizes mislead, with fewer rows."""
    row_bytes = max(group.total_byte_size, 1) / max(group.num_rows, 1)
    rows = int(min(max(batch_bytes / row_bytes, 1), _BATCH_ROWS))
    done = 0
    while True:
        position = 0
        for batch in file.iter_batches(batch_size=rows, row_groups=[index], use_threads=False):
            position += batch.num_rows
            if position <= done:
                continue
            yield batch.slice(max(batch.num_rows - (position - done), 0))
            done = position
            if batch.nbytes > 4 * batch_bytes and rows > 1:  # a dictionary hid how long the values are
                rows = max(int(rows * batch_bytes / batch.nbytes), 1)
                break
        else:
            return


def _records(batch: Any, names: list[str], name: str, row: int) -> Iterator[Record]:
    """The rows of a batch, converted by column; one by one where some value needs to be replaced or refused."""
    from pipeline.readers.columns import DirtyError, values_of  # noqa: PLC0415  (needs pyarrow)

    try:
        columns = [values_of(column, None) for column in batch.columns]
    except (DirtyError, UnicodeDecodeError):
        for number in range(batch.num_rows):
            yield _record(batch.slice(number, 1), names, name, row + number + 1)
        return
    rows = zip(*columns, strict=True) if columns else [()] * batch.num_rows
    for number, values in enumerate(rows, row + 1):
        yield row_record(dict(zip(names, values, strict=True)), {}, name, number, f"row {number}")


def _record(one_row: Any, names: list[str], name: str, number: int) -> Record:
    from pipeline.readers.columns import values_of  # noqa: PLC0415  (needs pyarrow)

    repairs: dict[str, int] = {}
    data = {}
    for column_name, column in zip(names, one_row.columns, strict=True):
        try:
            data[column_name] = values_of(column, repairs)[0]
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            problem = Problem("not_utf8", f"column {column_name} is not UTF-8 (byte 0x{byte:02x})")
            return Record(name, number, f"row {number}", None, b"", problem)
    return row_record(data, repairs, name, number, f"row {number}")
