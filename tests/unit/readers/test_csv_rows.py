"""Rows of CSV to records."""

from __future__ import annotations

import csv
import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models import Record
from tests.unit.readers.reading import data, outline, read


def test_one_row_is_one_record_of_texts_with_its_place() -> None:
    (first, second) = read(b'id,input,n\na,"x, ""y""",1\nb,,\n', "a.csv")
    assert first == Record(
        "src", 1, "line 2", {"id": "a", "input": 'x, "y"', "n": "1"}, b'{"id":"a","input":"x, \\"y\\"","n":"1"}',
        None, {}, None,
    )  # fmt: skip
    assert (second.ordinal, second.position, second.data) == (2, "line 3", {"id": "b", "input": None, "n": None})


@pytest.mark.parametrize("block_bytes", [1, 2, 7, 1 << 20])
def test_bom_crlf_blank_lines_and_newlines_in_quotes(block_bytes: int) -> None:
    content = b'\xef\xbb\xbf"id",text\r\n\r\n1,"two\r\nlines"\r\n\r\n2,x'
    records = read(content, "a.csv", block_bytes=block_bytes)
    assert outline(records) == [("line 3", {"id": "1", "text": "two\r\nlines"}), ("line 6", {"id": "2", "text": "x"})]


@pytest.mark.parametrize("file_name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_says_what_separates_cells(delimiter: str, file_name: str) -> None:
    content = f'id{delimiter}"a, b; c"\n1{delimiter}x\n'.encode()
    assert data(read(gzip.compress(content), f"{file_name}.gz")) == [{"id": "1", "a, b; c": "x"}]


def test_a_row_of_another_width_is_a_reject_that_keeps_its_text() -> None:
    records = read(b"id,a\n1\n2,x,y\n3,z\n", "a.csv")
    assert outline(records) == [("line 2", "other_width"), ("line 3", "other_width"), ("line 4", {"id": "3", "a": "z"})]
    assert [record.raw for record in records[:2]] == [b"1", b"2,x,y"]
    assert records[1].problem
    assert records[1].problem.error.startswith("too many cells: 3, and the header names 2")


def test_broken_quotes_and_bytes_are_rejects_of_their_rows_only() -> None:
    records = read(b'id,a\n1,"x"y\n2,\xff\n3,"a\n\xfe"\n4,z\n', "a.csv")
    expected = [
        ("line 2", "not_csv"),
        ("line 3", "not_utf8"),
        ("line 4", "not_utf8"),
        ("line 6", {"id": "4", "a": "z"}),
    ]
    assert outline(records) == expected
    assert records[2].raw == b'3,"a\n\xfe"'


def test_a_file_that_ends_in_a_quoted_cell_says_so() -> None:
    records = read(b'id,a\n1,x\n2,"cut\noff', "a.csv")
    assert outline(records) == [("line 2", {"id": "1", "a": "x"}), ("line 3", "truncated")]


@pytest.mark.parametrize("end", ["", '"x\n', '",z\n'])
def test_a_quote_that_never_closes_says_how_many_lines_it_took_in(end: str) -> None:
    lines = "".join(f"{n},z\n" for n in range(3, 100))
    (before, broken, *after) = read(f'id,a\n1,x\n2,"y\n{lines}100,z{end}'.encode(), "a.csv")
    assert (before.data, after) == ({"id": "1", "a": "x"}, [])
    assert broken.position == "line 3"
    assert broken.problem
    assert "the row goes on to line 101 (99 lines): is a quote never closed?" in broken.problem.error


def test_a_broken_row_of_one_line_asks_for_no_quote_that_closes() -> None:
    (broken,) = read(b'id,a\n1,"x"y\n', "a.csv")
    assert broken.problem
    assert "closed" not in broken.problem.error


def test_a_torn_gzip_gives_the_rows_before_the_tear() -> None:
    whole = gzip.compress(b"id,a\n" + b"".join(b"%d,%d\n" % (n, n * 7919 % 1000) for n in range(20_000)))
    records = read(whole[: len(whole) // 2], "a.csv.gz")
    assert len(records) > 5_000
    assert [record.problem and record.problem.kind for record in records[-2:]] == [None, "truncated"]


def test_long_rows_are_rejects_and_a_quote_that_never_closes_is_named() -> None:
    content = b"id,a\n1," + b"x" * 3_000 + b'\n2,"' + b"y\n" * 2_000 + b'\n3,"' + b"z" * 900 + b'"\n'
    kinds = outline(read(content, "a.csv", max_record_bytes=1_000))
    assert kinds[:2] == [("line 2", "too_long"), ("line 3", "too_long")]
    unclosed = read(content, "a.csv", max_record_bytes=1_000)[1].problem
    assert unclosed
    assert "is a quote never closed?" in unclosed.error


def test_columns_without_a_name_and_of_the_same_name_keep_all_cells() -> None:
    assert data(read(b",id,id\n0,a,b\n", "a.csv")) == [{"column 1": "0", "id": "a", "id (2)": "b"}]


def test_a_nul_is_replaced_and_counted() -> None:
    (record,) = read(b"id,a\n1,x\0y\n", "a.csv")
    assert (record.data, record.repairs) == ({"id": "1", "a": "x\ufffdy"}, {"nul": 1})


@pytest.mark.parametrize("content", [b"", b"\n\n", b"id,a\n", b"id,a"])
def test_a_file_with_a_header_only_holds_no_records(content: bytes) -> None:
    assert read(content, "a.csv") == []


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), max_size=8), st.sampled_from(",;\t"), st.integers(1, 64))
def test_what_the_csv_module_writes_is_read_back(
    rows: list[tuple[str, str, str]], delimiter: str, block_bytes: int
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("id", "a", "b"), *rows])
    records = read(file.getvalue().encode(), "a.csv", block_bytes=block_bytes)
    expected = [{"id": one or None, "a": two or None, "b": three or None} for one, two, three in rows]
    assert data(records) == expected
