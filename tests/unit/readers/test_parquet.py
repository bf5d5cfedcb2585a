"""Rows to records."""

from __future__ import annotations

import gzip
import json
import random
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.readers.parquet import read_parquet
from tests.unit.readers.reading import data, outline, read, read_path


def column(array: Any) -> Any:
    return pa.table({"c": array})


def write(path: Path, table: Any, **options: Any) -> Path:
    pq.write_table(table, path, **options)
    return path


def values_of(folder: Path, array: Any) -> list[object]:
    records = read_path(write(folder / "a.parquet", column(array)))
    return [record.data["c"] for record in records]


def test_a_row_is_a_record_with_its_json_and_place(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "n": [1, 2**60], "m": [{"x.y": [1]}, None]})
    records = read_path(write(tmp_path / "a.parquet", table))
    assert outline(records) == [
        ("row 1", {"id": "a", "n": 1, "m": {"x.y": [1]}}),
        ("row 2", {"id": "b", "n": 2**60, "m": None}),
    ]
    assert records[1].raw == b'{"id":"b","m":null,"n":"1152921504606846976"}'


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    assert len(read_path(write(tmp_path / "a.jsonl", column([1, 2, 3])))) == 3


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array(["a", None]), ["a", None]),
        (pa.array(["a", None], pa.large_string()), ["a", None]),
        (pa.array(["a", None], pa.string_view()), ["a", None]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.array([b"text", b"\xff", None]), ["text", "/w==", None]),
        (pa.array([b"ab", b"\xff\x00"], pa.binary(2)), ["ab", "/wA="]),
        (pa.array([True, None]), [True, None]),
        (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
        (pa.array([1.5, None], pa.float16()), [1.5, None]),
        (pa.nulls(2), [None, None]),
        (pa.array([datetime(2026, 8, 22, 8)]), ["2026-08-22T08:00:00.000000Z"]),
        (pa.array([datetime(2026, 8, 22, 8, tzinfo=UTC)]), ["2026-08-22T08:00:00.000000Z"]),
        (pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns")), ["2023-11-14T22:13:20.123456Z", None]),
        (pa.array([1], pa.timestamp("s", "Europe/Berlin")), ["1970-01-01T00:00:01.000000Z"]),
        (pa.array([1], pa.timestamp("ms", "Mars/Olympus")), ["1970-01-01T00:00:00.001000Z"]),
        (pa.array([2**62], pa.timestamp("us")), [2**62]),
        (pa.array([date(2026, 8, 22), None]), ["2026-08-22", None]),
        (pa.array([10**7], pa.int32()).cast(pa.date32()), ["29349-01-26"]),
        (pa.array([time(1, 2, 3)]), ["01:02:03"]),
        (pa.array([1_234_567], pa.time64("ns")), ["00:00:00.001234"]),
        (pa.array([timedelta(seconds=1.5)]), [1.5]),
        (pa.array([1_500_000_001], pa.duration("ns")), [1.5]),
        (pa.array([Decimal("1.10"), Decimal("3.00")]), [1.1, 3]),
        (pa.array([[1, 2], None, []]), [[1, 2], None, []]),
        (pa.array([[1], None], pa.large_list(pa.int64())), [[1], None]),
        (pa.array([[1, 2], None], pa.list_(pa.int64(), 2)), [[1, 2], None]),
        (pa.array([[1, 2], None], pa.list_view(pa.int64())), [[1, 2], None]),
        (
            pa.array([[("k", "v"), ("k2", None)], None, []], pa.map_(pa.string(), pa.string())),
            [{"k": "v", "k2": None}, None, {}],
        ),
        (pa.array([[(1, [("a", 0.5)])]], pa.map_(pa.int64(), pa.map_(pa.string(), pa.float64()))), [{"1": {"a": 0.5}}]),
        (
            pa.array([[{"role": "user", "at": datetime(2026, 1, 1), "x": None}], None]),
            [[{"role": "user", "at": "2026-01-01T00:00:00.000000Z", "x": None}], None],
        ),
        (pa.array([uuid.UUID(int=1).bytes], pa.binary(16)).cast(pa.uuid()), [str(uuid.UUID(int=1))]),
        (pa.array(['{"a":1}'], pa.json_()), ['{"a":1}']),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_every_type_becomes_json(tmp_path: Path, array: Any, expected: list[object]) -> None:
    assert values_of(tmp_path, array) == expected


def test_nested_rows_over_many_batches(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": str(number),
            "messages": [{"role": "user", "parts": [str(number)] * (number % 3)}] * (number % 4) or None,
        }
        for number in range(1_000)
    ]
    path = write(tmp_path / "a.parquet", pa.Table.from_pylist(rows), row_group_size=300)
    assert data(read_path(path)) == rows


def test_int96_timestamps_do_not_overflow(tmp_path: Path) -> None:
    far = pa.array([datetime(9000, 1, 1)], pa.timestamp("us"))
    path = write(tmp_path / "a.parquet", column(far), use_deprecated_int96_timestamps=True)
    assert data(read_path(path)) == [{"c": "9000-01-01T00:00:00.000000Z"}]


def test_nan_and_nul_are_replaced_and_counted_in_their_row(tmp_path: Path) -> None:
    table = pa.table(
        {"f": [1.5, float("nan"), float("inf")], "s": ["a\0b\0", "c", "\\u0000"], "n": [[0.5], [float("nan")], None]}
    )
    records = read_path(write(tmp_path / "a.parquet", table))
    assert data(records) == [
        {"f": 1.5, "s": "a\ufffdb\ufffd", "n": [0.5]},
        {"f": None, "s": "c", "n": [None]},
        {"f": None, "s": "\\u0000", "n": None},
    ]
    assert [record.repairs for record in records] == [{"nul": 2}, {"nan_to_null": 2}, {"nan_to_null": 1}]
    assert json.loads(records[0].raw) == records[0].data


def test_invalid_utf8_rejects_its_row_only(tmp_path: Path) -> None:
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 1, 3, 4))
    texts = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(b"a\xffbc")])
    records = read_path(write(tmp_path / "a.parquet", pa.table({"id": [1, 2, 3], "c": texts})))
    assert outline(records) == [("row 1", {"id": 1, "c": "a"}), ("row 2", "not_utf8"), ("row 3", {"id": 3, "c": "c"})]
    assert records[1].problem
    assert records[1].problem.error == "column c is not UTF-8 (byte 0xff)"


def test_a_row_over_the_limit_is_a_reject(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", column(["x", "x" * 1_000, "y"]))
    assert outline(read_path(path, max_record_bytes=500))[1] == ("row 2", "too_long")


@pytest.mark.parametrize("table", [pa.table({}), column(pa.array([], pa.string()))])
def test_a_file_without_rows_holds_no_records(tmp_path: Path, table: Any) -> None:
    assert read_path(write(tmp_path / "a.parquet", table)) == []


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1PAR1", b"PAR1" + b"x" * 100 + b"PAR1"])
def test_a_corrupt_footer_is_one_reject(content: bytes) -> None:
    (record,) = read(content, "a.parquet")
    assert record.position == "file"
    assert record.problem
    assert record.problem.kind == "corrupt"
    assert record.problem.error.startswith("the Parquet footer cannot be read (")


def three_groups(path: Path) -> Path:
    chance = random.Random(1)
    texts = [f"{chance.getrandbits(400):x}" for _ in range(900)]
    table = pa.table({"id": range(900), "text": texts})
    return write(path, table, row_group_size=300, data_page_size=1_000, use_dictionary=False)


def test_a_corrupt_page_costs_the_rest_of_its_row_group_only(tmp_path: Path) -> None:
    path = three_groups(tmp_path / "a.parquet")
    column_chunk = pq.ParquetFile(path).metadata.row_group(1).column(1)
    content = bytearray(path.read_bytes())
    middle = column_chunk.data_page_offset + column_chunk.total_compressed_size // 2
    content[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(content)

    records = read_path(path)
    bad = [record for record in records if record.problem]
    assert len(records) == 900
    assert bad[0].ordinal > 300
    assert [record.ordinal for record in bad] == list(range(bad[0].ordinal, 601))
    assert {record.problem.kind for record in bad if record.problem} == {"corrupt"}
    assert [record.data["id"] for record in records[600:]] == list(range(600, 900))


def test_any_damage_leaves_contiguous_records(tmp_path: Path) -> None:
    whole = three_groups(tmp_path / "a.parquet").read_bytes()
    chance = random.Random(2)
    path = tmp_path / "b.parquet"
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 3])):
            content[chance.randrange(4, len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.choice([len(content), chance.randrange(4, len(content))])])
        assert read_path(path) == read_path(path)


def test_batches_shrink_where_a_dictionary_hides_long_values(tmp_path: Path) -> None:
    table = pa.table({"id": range(300), "text": ["x" * 20_000, "y" * 20_000, "z"] * 100})
    path = write(tmp_path / "a.parquet", table)
    records = list(read_parquet(path, name="src", max_record_bytes=1 << 20, batch_bytes=100_000))
    assert [record.data["id"] for record in records] == list(range(300))


def test_the_time_zone_of_the_file_does_not_matter_to_nested_times(tmp_path: Path) -> None:
    array = pa.array([[datetime(2026, 1, 1, tzinfo=UTC)]], pa.list_(pa.timestamp("us", "America/Lima")))
    assert values_of(tmp_path, array) == [["2026-01-01T00:00:00.000000Z"]]


def test_hive_folders_add_no_columns_and_clash_with_none(tmp_path: Path) -> None:
    """LangSmith's bulk export: the folder session_id=… is the column session_id, as another type."""
    folder = tmp_path / "export_id=1" / "tenant_id=2" / "session_id=3" / "resource=runs" / "year=2026" / "month=08"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a"], "session_id": ["uuid"]}), folder / "a.parquet")
    assert data(read_path(folder / "a.parquet")) == [{"id": "a", "session_id": "uuid"}]


def test_parquet_that_was_compressed_once_more_is_read(tmp_path: Path) -> None:
    content = write(tmp_path / "a.parquet", pa.table({"id": ["a", "b"]})).read_bytes()
    assert data(read(gzip.compress(content), "a.parquet.gz")) == [{"id": "a"}, {"id": "b"}]
    assert outline(read(gzip.compress(content[:-9]), "a.parquet.gz")) == [("file", "corrupt")]
    assert outline(read(gzip.compress(content)[:-9], "a.parquet.gz")) == [("file", "truncated")]
