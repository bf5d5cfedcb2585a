"""A run's rejects.jsonl, read as the records in it."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.unit.readers.reading import outline, read


def reject(**fields: Any) -> bytes:
    line = {
        "source": "exports/a.jsonl",
        "position": "line 812",
        "stage": "map",
        "error_kind": "no_id",
        "error": "the record has no id",
        "trace_id": None,
        "format": "langfuse",
        "record": {"id": "t1"},
    }
    return json.dumps(line | fields).encode() + b"\n"


def test_a_line_is_read_as_the_record_in_it() -> None:
    (record,) = read(reject(), "rejects.jsonl")
    assert record.data == {"id": "t1"}
    assert record.raw == b'{"id": "t1"}'
    assert record.position == "line 1 (exports/a.jsonl line 812)"
    assert record.format == "langfuse"


def test_the_content_tells_and_not_the_name() -> None:
    assert outline(read(reject(record=5) + reject(), "renamed.json"))[0][1] == 5


def test_digits_and_odd_values_are_kept_as_they_were() -> None:
    content = reject(record="HERE").replace(b'"HERE"', b'{"id": 123456789012345678901234567890, "x": 1.10}')
    (record,) = read(content)
    assert record.data["id"] == 123456789012345678901234567890
    assert record.raw == b'{"id": 123456789012345678901234567890, "x": 1.10}'


def test_undecodable_records_are_read_again_from_base64() -> None:
    nan = base64.b64encode(b'{"id": NaN}').decode()
    broken = base64.b64encode(b'{"id": "\xff').decode()
    records = read(reject(record=None, record_base64=nan) + reject(record=None, record_base64=broken))
    assert outline(records) == [
        ("line 1 (exports/a.jsonl line 812)", {"id": None}),
        ("line 2 (exports/a.jsonl line 812)", "not_utf8"),
    ]
    assert records[1].raw == b'{"id": "\xff'


def test_a_record_that_was_not_kept_says_where_to_get_it() -> None:
    (record,) = read(reject(record=None))
    assert record.problem
    assert record.problem.kind == "record_not_kept"
    assert "import that file again" in record.problem.error


def test_rejects_of_rejects_name_the_first_place() -> None:
    (record,) = read(reject(source="runs/1/rejects.jsonl", position="line 3 (exports/a.jsonl line 812)"))
    assert record.position == "line 1 (exports/a.jsonl line 812)"


def test_a_line_with_a_record_of_a_megabyte_is_recognised() -> None:
    (record,) = read(reject(record={"text": "x" * 1_000_000}), max_record_bytes=2_000_000)
    assert record.format == "langfuse"


def test_broken_lines_in_between_are_rejects_themselves() -> None:
    content = reject() + b'\n{"source": "x\n' + b'{"id": 1}\n' + reject(record_base64="?", record=None) + reject()[:60]
    assert [what for _, what in outline(read(content))] == [
        {"id": "t1"},
        "not_json",
        "not_a_reject",
        "not_base64",
        "not_json",
    ]
