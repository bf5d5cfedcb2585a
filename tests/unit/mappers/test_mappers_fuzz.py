"""Whatever JSON comes in: traces or a RejectedError, the same twice, and the input as it was."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RejectedError
from pipeline.mappers import MAPPERS
from pipeline.mappers.custom import KEYS, custom_mapper
from pipeline.mappers.detect import detect_format, doubt
from pipeline.mappers.mapper import Mapper
from pipeline.models import Trace
from tests.unit.mappers.assembling import traces_of
from tests.unit.mappers.valid_records import PIECES, VALID

CUSTOM = [
    custom_mapper({key: key for key in KEYS if key not in ("messages", "turns")}),
    custom_mapper({"messages": "messages || input", "output": "output"}),
    custom_mapper({"turns": "turns", "tokens": "length(tokens)", "id": "keys(@)[0]", "metadata": "{a: @}"}),
]
ALL = [(name, mapper) for name, mapper in MAPPERS.items()] + [("custom", mapper) for mapper in CUSTOM]

scalars = (
    st.none() | st.booleans() | st.integers() | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30) | st.text(st.characters(), max_size=5)
    | st.sampled_from(["", " ", "{}", "[", '"\\ud83d"', '["a"]', "2026-08-22", "user", "ok", "1e999", "\ud800"])
)  # fmt: skip
ALL_RECORDS = [record for table in (VALID, PIECES) for records in table.values() for record in records]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something may be changed in a value: the path of every value inside it."""
    found = [path] if path else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found += places(inner, (*path, key))
    return found


names = st.sampled_from(sorted({*KEYS, *(path[-1] for path in places(ALL_RECORDS) if isinstance(path[-1], str))}))
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=6), inner, max_size=6),
    max_leaves=20,
)

OF_SPANS = frozenset(["otlp", "openinference", "langsmith", "braintrust", "weave", "datadog"])
"""Formats whose records are spans, so that a trace has some, and one turn."""


@st.composite
def mutated(draw: st.DrawFn, valid: list[Any]) -> Any:
    """A valid record in which one to three values were replaced or taken out."""
    record = copy.deepcopy(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(record) or [("x",)]))
        place = record
        for key in path:
            place = place[key]
        if isinstance(place, dict) and draw(st.booleans()):
            place.pop(last, None)
        else:
            place[last] = draw(anything)
    return record


def is_placed(mapper: Mapper, value: Any) -> bool:
    """Is it told what this belongs to? (What cannot be told is rejected alone, and the others are not.)"""
    try:
        if mapper.piece_of is None or mapper.piece_of(value) is None:
            mapper.map_trace(value)
    except RejectedError as error:
        assert error.kind and str(error)
        return False
    return True


def lines_of(mapper: Mapper, record: Any) -> list[Any]:
    """The parts of a record that are not rejected by themselves, as far as it can be cut into parts."""
    try:
        parts = [value for _, value in mapper.split(record)] if mapper.split else [record]
    except RejectedError as error:
        assert error.kind and str(error)
        return []
    return [value for value in parts if is_placed(mapper, value)]


def outcome(work: Callable[[], Any]) -> Any:
    """What comes out, or why it is rejected."""
    try:
        return work()
    except RejectedError as error:
        assert error.kind and str(error)
        return error.kind, str(error)


def check(mapper: Mapper, records: list[Any]) -> None:
    """Each alone, and all together with the first one twice: traces or a RejectedError, and the same again."""
    before = json.dumps(records)
    lines = [line for record in [*records, *records[:1]] for line in lines_of(mapper, record)]
    together = outcome(lambda: traces_of(mapper, lines))
    alone = [outcome(lambda record=record: mapper.map_trace(record)) for record in records]
    assert together == outcome(lambda: traces_of(mapper, lines))
    assert alone == [outcome(lambda record=record: mapper.map_trace(record)) for record in records]
    assert json.dumps(records) == before
    traces = [*alone, *(together if isinstance(together, list) else ())]
    for trace in (trace for trace in traces if isinstance(trace, Trace)):
        ids = [span.id for turn in trace.turns for span in turn.spans]
        assert trace.turns
        assert len(ids) == len(set(ids))
        assert mapper.name not in OF_SPANS or (ids and len(trace.turns) == 1)


@pytest.mark.parametrize(("name", "mapper"), ALL)
@given(records=st.lists(anything, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_json_gives_traces_or_a_rejected_error(name: str, mapper: Mapper, records: list[Any]) -> None:
    check(mapper, records)


@pytest.mark.parametrize(("name", "mapper"), ALL)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_records_give_traces_or_a_rejected_error(name: str, mapper: Mapper, data: st.DataObject) -> None:
    valid = [*VALID[name], *PIECES.get(name, ())]
    check(mapper, data.draw(st.lists(mutated(valid) | st.sampled_from(valid) | anything, min_size=1, max_size=6)))


@pytest.mark.parametrize("name", sorted(MAPPERS))
def test_the_records_that_are_damaged_were_valid(name: str) -> None:
    assert all(isinstance(MAPPERS[name].map_trace(record), Trace) for record in VALID[name])


def test_every_format_whose_records_are_pieces_has_some_that_are_damaged() -> None:
    assert sorted(PIECES) == sorted(name for name, mapper in MAPPERS.items() if mapper.piece_of is not None)


@pytest.mark.parametrize("name", sorted(PIECES))
def test_the_scattered_records_that_are_damaged_were_one_valid_trace(name: str) -> None:
    assert len(traces_of(MAPPERS[name], PIECES[name])) == 1


@pytest.mark.parametrize(("name", "record"), [(name, record) for name in PIECES for record in PIECES[name]])
def test_a_line_says_the_same_alone_and_in_its_document(name: str, record: Any) -> None:
    mapper = MAPPERS[name]
    lines = lines_of(mapper, record)
    assert lines
    assert [line for each in lines for line in lines_of(mapper, each)] == lines
    expected = outcome(lambda: traces_of(mapper, [record]))
    assert outcome(lambda: traces_of(mapper, lines)) == outcome(lambda: traces_of(mapper, lines[::-1])) == expected


@given(sample=st.lists(anything | mutated(ALL_RECORDS), max_size=6))
@settings(max_examples=200, deadline=None)
def test_detection_never_fails_and_always_has_a_sentence(sample: list[Any]) -> None:
    guess = detect_format(sample)
    assert 0.0 <= guess.confidence <= 1.0
    assert "source.format" in doubt(guess)
