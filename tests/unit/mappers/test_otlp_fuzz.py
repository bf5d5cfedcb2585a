"""Whatever lines and documents lie together: each is rejected, or part of a trace."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RejectedError
from pipeline.mappers.otlp import MAPPER
from pipeline.models import Trace
from tests.unit.mappers.assembling import traces_of
from tests.unit.mappers.otlp_records import VALID
from tests.unit.mappers.test_mappers_fuzz import anything, mutated, places
from tests.unit.mappers.test_no_silent_loss import READ, marked

ATTRIBUTES = sorted({path[-1] for record in VALID for path in places(record) if isinstance(path[-1], str)})
keyed = st.recursive(
    anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ATTRIBUTES), inner, max_size=5),
    max_leaves=8,
)


def accepted(record: Any) -> list[Any]:
    """The lines of a document that say what they belong to; the others are rejected one by one."""
    lines: list[Any] = []
    try:
        parts = MAPPER.split(record) if MAPPER.split is not None else ()
    except RejectedError as error:
        assert error.kind and str(error)
        return []
    for _, line in parts:
        try:
            assert MAPPER.piece_of is not None
            MAPPER.piece_of(line)
        except RejectedError as error:
            assert error.kind and str(error)
        else:
            lines.append(line)
    return lines


def outcome(lines: list[Any]) -> list[Trace] | tuple[str, str]:
    try:
        return sorted(traces_of(MAPPER, lines), key=lambda trace: str(trace.id))
    except RejectedError as error:
        assert error.kind and str(error)
        return error.kind, str(error)


@given(records=st.lists(keyed | mutated(VALID) | st.sampled_from(VALID), min_size=1, max_size=4))
@settings(max_examples=400, deadline=None)
def test_damaged_lines_give_traces_or_a_rejected_error(records: list[Any]) -> None:
    before = json.dumps(records)
    lines = [line for record in records for line in accepted(record)]
    first = outcome(lines)
    assert first == outcome(lines)
    assert json.dumps(records) == before
    for trace in first if isinstance(first, list) else ():
        assert len(trace.turns) == 1
        ids = [span.id for span in trace.turns[0].spans]
        assert ids and len(ids) == len(set(ids))


@pytest.mark.parametrize("record", VALID)
def test_a_line_says_the_same_alone_and_in_its_document(record: Any) -> None:
    lines = accepted(record)
    assert lines
    assert [line for each in lines for line in accepted(each)] == lines
    assert outcome(lines[::-1]) == outcome(lines) == outcome([record])


UNMARKED = READ | frozenset(
    ["traceId", "spanId", "traceID", "spanID", "trace_id", "span_id", "processID", "refType", "eventName", "key",
     "kind", "startTimeUnixNano", "endTimeUnixNano", "timeUnixNano", "status_code"]
)  # fmt: skip
"""What joins records, and what is read."""
NOT_KEPT = {"schemaUrl", "schema_url"}


@pytest.mark.parametrize("record", VALID)
def test_no_text_of_a_record_is_lost(record: Any) -> None:
    found: list[tuple[str, str]] = []
    [trace] = traces_of(MAPPER, [marked(record, found, unmarked=UNMARKED)])
    kept = json.dumps(dataclasses.asdict(trace))
    assert found
    assert {key for key, text in found if text not in kept} - NOT_KEPT == set()
