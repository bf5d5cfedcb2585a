"""The files of a run: whole or not at all, and readable by everybody."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.json_text import NotJsonError, decode
from pipeline.manifest import COLUMNS, ROWS_AT_ONCE, whole_file, write_manifest, write_rejects, write_summary
from pipeline.readers import read_records


def row(number: int = 1, **fields: Any) -> tuple[Any, ...]:
    values: dict[str, Any] = {
        "run_id": "r1",
        "custom_id": f"langfuse:{number}",
        "outcome": "created",
        "source": "/a.jsonl",
        "position": f"line {number}",
        "records": 1,
        "traces": 1,
        "turns": 1,
        "spans": 0,
        "attempts": 1,
    }
    return tuple((values | fields).get(column) for column in COLUMNS)


def reject(raw: bytes | None, *, position: str = "line 1", format: str | None = "langfuse") -> tuple[Any, ...]:
    return ("/a.jsonl", position, "map", "missing_field", "no id", None, format, raw)


def torn(rows: int) -> Iterator[tuple[Any, ...]]:
    yield from (row(number) for number in range(rows))
    raise RuntimeError("the disk is gone")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- whole or not at all ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 3, ROWS_AT_ONCE + 1])
def test_a_manifest_that_breaks_off_leaves_the_one_before(tmp_path: Path, rows: int) -> None:
    write_manifest(tmp_path, [row(1)])
    before = contents(tmp_path)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        write_manifest(tmp_path, torn(rows))
    assert contents(tmp_path) == before


def test_a_first_one_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        write_manifest(tmp_path, torn(3))
    assert contents(tmp_path) == {}


def test_so_do_rejects_and_summary(tmp_path: Path) -> None:
    write_rejects(tmp_path, [reject(b"{}")])
    write_summary(tmp_path, {"a": 1})
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="not enough values"):
        write_rejects(tmp_path, [reject(b"{}"), ("too", "short")])
    with pytest.raises(TypeError):
        write_summary(tmp_path, {"a": object()})
    assert contents(tmp_path) == before


def test_until_it_is_whole_nothing_stands_under_its_name(tmp_path: Path) -> None:
    with whole_file(tmp_path / "x") as file:
        file.write(b"half")
        file.flush()
        assert not (tmp_path / "x").exists()
    assert (tmp_path / "x").read_bytes() == b"half"


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".x.part").write_bytes(b"left behind")
    with whole_file(tmp_path / "x") as file:
        file.write(b"new")
    assert contents(tmp_path) == {"x": b"new"}


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    write_rejects(tmp_path, [])
    assert stat.S_IMODE((tmp_path / "rejects.jsonl").stat().st_mode) == 0o600


# --- the manifest -----------------------------------------------------------------------------------------


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    odd = row(2, error='"quoted"\nlines\u2028 and 📦 \x00 \ufffd', http_status=422, latency_ms=1.5, outcome="rejected")
    write_manifest(tmp_path, [row(1), odd])
    frame = pd.read_parquet(tmp_path / "manifest.parquet")
    lines = (tmp_path / "manifest.jsonl").read_bytes().decode().split("\n")
    assert lines.pop() == ""
    assert tuple(frame.columns) == COLUMNS
    from_columns = [{k: None if pd.isna(v) else v for k, v in r.items()} for r in frame.to_dict("records")]
    assert (
        from_columns
        == [json.loads(line) for line in lines]
        == [dict(zip(COLUMNS, r, strict=True)) for r in (row(1), odd)]
    )


def test_an_empty_manifest_has_its_columns(tmp_path: Path) -> None:
    write_manifest(tmp_path, [])
    frame = pd.read_parquet(tmp_path / "manifest.parquet")
    assert (len(frame), tuple(frame.columns)) == (0, COLUMNS)
    assert (tmp_path / "manifest.jsonl").read_bytes() == b""


def test_many_rows_are_written_in_pieces_and_none_is_lost(tmp_path: Path) -> None:
    count = 2 * ROWS_AT_ONCE + 7
    write_manifest(tmp_path, (row(number) for number in range(count)))
    assert list(pd.read_parquet(tmp_path / "manifest.parquet")["custom_id"]) == [f"langfuse:{n}" for n in range(count)]
    assert (tmp_path / "manifest.jsonl").read_bytes().count(b"\n") == count


# --- rejects ----------------------------------------------------------------------------------------------


def read_back(folder: Path, *raws: bytes | None) -> list[Any]:
    write_rejects(folder, [reject(raw, position=f"line {number}") for number, raw in enumerate(raws, 1)])
    return list(read_records(folder / "rejects.jsonl", name="rejects", max_record_bytes=1 << 25))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"id": "a"}', id="plain"),
        pytest.param(b'{ "b" : 1.0,\t"a":  [ ] }', id="odd blanks"),
        pytest.param(b'{"id": 12345678901234567890123, "x": 1.10}', id="digits"),
        pytest.param(b'{"a": 1, "a": 2}', id="a key twice"),
        pytest.param('{"a": "\u2028 📦"}'.encode(), id="unicode"),
        pytest.param(b'{"a": "\\u00e9 \\n"}', id="escapes"),
        pytest.param(b"[1, 2]", id="an array"),
        pytest.param(b'"text"', id="a text"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b'{"a": "\\ud83d"}', id="a lone surrogate"),
        pytest.param(b'{"a": "\\u0000"}', id="a NUL"),
        pytest.param(b'{"torn": ', id="torn"),
        pytest.param(b'1, "position": "elsewhere"', id="keys that would join ours"),
        pytest.param(b'{"a": "\xff\xfe"}', id="not UTF-8"),
        pytest.param(b"\x00\x01\x02", id="binary"),
        pytest.param(b"\xef\xbb\xbf{}", id="a BOM"),
        pytest.param(b'{"a":' * 300 + b"1" + b"}" * 300, id="deep"),
    ],
)
def test_a_reject_is_read_back_byte_by_byte(tmp_path: Path, raw: bytes) -> None:
    (record,) = read_back(tmp_path, raw)
    assert record.raw == raw
    assert record.format == "langfuse"
    try:
        expected = decode(raw)
    except NotJsonError as error:
        assert record.problem is not None
        assert record.problem.kind == error.kind
    else:
        assert (record.data, record.problem) == (expected.value, None)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=60) | st.text(max_size=30).map(str.encode), min_size=1, max_size=4))
def test_whatever_the_bytes_one_line_is_one_record(tmp_path: Path, raws: list[bytes]) -> None:
    records = read_back(tmp_path, *raws)
    assert len(records) == len(raws)
    assert (tmp_path / "rejects.jsonl").read_bytes().count(b"\n") == len(raws)


def test_a_record_over_several_lines_is_one_line(tmp_path: Path) -> None:
    (record,) = read_back(tmp_path, b'{\r\n  "id": "a"\n}')
    assert record.data == {"id": "a"}


def test_a_record_that_was_not_kept_says_so(tmp_path: Path) -> None:
    (record,) = read_back(tmp_path, None)
    assert record.problem is not None
    assert record.problem.kind == "record_not_kept"


def test_what_is_not_json_is_there_in_base64(tmp_path: Path) -> None:
    write_rejects(tmp_path, [reject(b"\xff")])
    line = json.loads((tmp_path / "rejects.jsonl").read_text())
    assert line["record"] is None
    assert base64.b64decode(line["record_base64"]) == b"\xff"
