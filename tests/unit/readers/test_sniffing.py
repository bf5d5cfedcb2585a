"""What a file holds, told from its beginning."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.readers import is_export
from tests.unit.readers.reading import outline, read


def zipped(content: bytes) -> bytes:
    """Without the time in it: a test is called the same in every process that runs some of them."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("file_name", "content", "positions"),
    [
        ("a.json", b'{"a":1}\n{"a":2}\n', ["line 1", "line 2"]),
        ("a.json", b'{"a":1}', ["line 1"]),
        ("a", b'{"a":1}\n{"a":2}\n', ["line 1", "line 2"]),
        ("a.json", b'{"a"\n{"a":2}\n', ["line 1", "line 2"]),
        ("a.json", b'2026-08-22 started\n{"a":2}\n', ["line 1", "line 2"]),
        ("a.json", b'{\n"a":1}', ["document"]),
        ("a.json", b'{"a":1}{"a":2}', ["document", "document 2"]),
        ("a.json", b'\n [{"a":1},{"a":2}]', ["item 1", "item 2"]),
        ("a.jsonl", b'["a"]\n["b"]', ["line 1", "line 2"]),
        ("a.NDJSON.gz", zipped(b'["a"]\n["b"]'), ["line 1", "line 2"]),
        ("a.json", b'{"a":"' + b"x" * 5_000_000 + b'"}\n', ["line 1"]),
        ("a.json", b'{"a":1}\n' * 100_000, [f"line {number}" for number in range(1, 100_001)]),
        ("a.json", b" " * 200_000, []),
        ("a.csv", b"id\nx\n", ["line 2"]),
        ("a.csv", b'["id"]\nx\n', ["line 2"]),
        ("a.csv", b'{"a":1}\n', ["line 1"]),
        ("a.txt", b'id,"input",output text\n1,a,b\n', ["line 2"]),
        ("a", b"id;input;output\n1;a;b\n", ["line 2"]),
    ],
)
def test_lines_and_documents_are_told_apart(file_name: str, content: bytes, positions: list[str]) -> None:
    records = read(content, file_name, max_record_bytes=10_000_000)
    assert [record.position for record in records] == positions


def a_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jsonl", "{}")
    return file.getvalue()


def a_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"a": 1}'.encode("utf-16"), "this file is UTF-16 or UTF-32 text; convert it first"),
        ('{"a": 1}'.encode("utf-32"), "UTF-16 or UTF-32 text"),
        (a_zip(), "a zip archive; call it .zip"),
        (a_tar(), "a tar archive; call it .tar"),
        (zipped(a_tar()), "a tar archive; call it .tar"),
        (zipped(zipped(b"{}")), "compressed twice"),
        (b"PARE....PARE", "an encrypted Parquet file"),
        (b"SQLite format 3\0...", "a SQLite database"),
        (b"<!DOCTYPE html>", "HTML or XML"),
        (b"\x00\x01\x02\x03" * 50, "binary data"),
        (b"hello\nworld\n", "neither JSON, JSON Lines, CSV nor Parquet"),
    ],
)
def test_what_is_no_export_says_what_it_is_and_the_way_out(content: bytes, error: str) -> None:
    (record,) = read(content, "export.json")
    assert record.position == "file"
    assert record.problem
    assert record.problem.kind == "not_an_export"
    assert error in record.problem.error


def test_a_file_named_as_lines_is_cut_into_lines_whatever_they_hold() -> None:
    assert outline(read(b"garbage\n{}\n", "a.jsonl")) == [("line 1", "not_json"), ("line 2", {})]


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["a.json", "a.jsonl", "a.csv", "a"]), st.integers(1, 64))
def test_any_bytes_give_the_same_records_in_any_blocks(content: bytes, file_name: str, block_bytes: int) -> None:
    assert read(content, file_name, block_bytes=block_bytes) == read(content, file_name)


@settings(deadline=None)
@given(
    st.sampled_from(
        [b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\0\0\0\x20\x28\xb5\x2f\xfd", b"PAR1"]
    ),
    st.binary(max_size=100),
)
def test_any_bytes_after_a_magic_number_are_records(magic: bytes, content: bytes) -> None:
    read(magic + content)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a.jsonl", True),
        ("a.JSONL.GZ", True),
        ("x/2026-08-22T08-00-00.json", True),
        ("a.ndjson.zst", True),
        ("a.parquet", True),
        ("a.pq", True),
        ("a.json.xz", True),
        ("a.gz", True),
        ("a.BZ2", True),
        ("a.csv.gz", True),
        ("a.tar.gz", False),
        (".gz", False),
        ("a.csv", True),
        ("a.TSV", True),
        ("README.md", False),
        (".a.jsonl", False),
        ("DEPRECATION_NOTICE.txt", False),
    ],
)
def test_what_is_taken_from_a_folder(name: str, is_one: bool) -> None:
    assert is_export(name) is is_one
    assert is_export(Path(name)) is is_one
