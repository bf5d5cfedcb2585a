"""Lines to records."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models import Problem, Record
from tests.unit.readers.reading import data, outline, read


def test_one_line_is_one_record_with_its_text_and_place() -> None:
    (first, second) = read(b'{"id": "a"}\n{"id": "b"}\n')
    assert first == Record("src", 1, "line 1", {"id": "a"}, b'{"id": "a"}', None, {}, None)
    assert (second.ordinal, second.position) == (2, "line 2")


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_blank_files_hold_no_records(content: bytes) -> None:
    assert read(content) == []


def test_blank_lines_count_as_lines_and_are_no_records() -> None:
    assert outline(read(b"\n1\n  \n\n2")) == [("line 2", 1), ("line 5", 2)]


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 1 << 20])
def test_bom_crlf_and_no_final_newline(block_bytes: int) -> None:
    records = read(b"\xef\xbb\xbf[1]\r\n[2]\r\n[3]", block_bytes=block_bytes)
    assert [record.raw for record in records] == [b"[1]", b"[2]", b"[3]"]
    assert data(records) == [[1], [2], [3]]


def test_a_broken_line_is_one_reject_that_keeps_its_text() -> None:
    records = read(b'{"id":1}\n{"id": "x\n{"id":3}\n')
    assert outline(records) == [("line 1", {"id": 1}), ("line 2", "not_json"), ("line 3", {"id": 3})]
    assert records[1].raw == b'{"id": "x'
    assert records[1].problem == Problem("not_json", "not JSON (unterminated string) at column 8")


def test_invalid_utf8_raw_nul_and_depth_are_rejects_of_their_line_only() -> None:
    content = b'"\xff"\n\0\0\n"\0"\n' + b"[" * 10_000 + b"]" * 10_000 + b"\n1\n"
    assert outline(read(content)) == [
        ("line 1", "not_utf8"),
        ("line 2", "not_json"),
        ("line 3", "not_json"),
        ("line 4", "too_deep"),
        ("line 5", 1),
    ]


def test_what_was_repaired_is_told() -> None:
    (record,) = read(b'{"a": NaN, "b": "\\ud800"}')
    assert record.data == {"a": None, "b": "\ufffd"}
    assert record.repairs == {"nan_to_null": 1, "lone_surrogate": 1}


@pytest.mark.parametrize("block_bytes", [1, 7, 10, 11, 64, 1 << 20])
def test_a_line_over_the_limit_is_passed_over(block_bytes: int) -> None:
    content = b'"12345678"\n"123456789"\n1\n"' + b"x" * 100
    records = read(content, max_record_bytes=10, block_bytes=block_bytes)
    assert outline(records) == [
        ("line 1", "12345678"),
        ("line 2", "too_long"),
        ("line 3", 1),
        ("line 4", "too_long"),
    ]
    assert records[1].raw == b""
    assert records[1].problem
    assert records[1].problem.error == "the line is longer than 10 bytes (source.max_record_bytes)"


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b'{"a":"b"}', b"", b"  ", b"nope", b'"x', b"\r", b"1" * 30, b"\xff", b"\xef\xbb\xbf1"])),
    st.sampled_from([b"\n", b"\r\n"]),
    st.integers(1, 50),
    st.integers(4, 40),
)
def test_records_do_not_depend_on_the_blocks(
    lines: list[bytes], newline: bytes, block_bytes: int, max_record_bytes: int
) -> None:
    content = newline.join(lines)
    whole = read(content, max_record_bytes=max_record_bytes)
    assert read(content, max_record_bytes=max_record_bytes, block_bytes=block_bytes) == whole


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_records(content: bytes) -> None:
    lines = [line for line in content.split(b"\n") if line.strip()]
    assert len(read(content)) <= max(len(lines), 1)


def test_the_records_of_many_blocks_are_all_there() -> None:
    content = b"".join(
        json.dumps({"id": number, "text": "x" * (number % 500)}).encode() + b"\n" for number in range(5_000)
    )
    assert [record.data["id"] for record in read(content, block_bytes=4_096)] == list(range(5_000))
