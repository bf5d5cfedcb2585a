"""What a trace states: whether a later one only adds to an earlier one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.facts import UNKNOWN_FACTS, contains, facts, trace_sha256
from pipeline.models import Span, Status, Trace, Turn
from tests.unit.factories import make_trace

TEXT = st.none() | st.text(min_size=1, max_size=8)
SPANS = st.builds(
    Span, id=st.uuids().map(str), name=st.text(max_size=5), output=st.none() | st.text(max_size=5), ended_at=TEXT
)
TURNS = st.builds(
    Turn, input=TEXT, output=TEXT, error=TEXT, retrieval_context=TEXT, spans=st.lists(SPANS, max_size=2).map(tuple)
)
TRACES = st.builds(
    Trace,
    id=st.just("t1"),
    name=TEXT,
    user_id=TEXT,
    status=st.sampled_from(Status),
    tags=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    metadata=st.dictionaries(
        st.text(max_size=5), st.text(max_size=5) | st.lists(st.integers(), max_size=2), max_size=3
    ),
    turns=st.lists(TURNS, min_size=1, max_size=3).map(tuple),
)


def adds(new: Trace, old: Trace) -> bool:
    return contains(facts(new), facts(old))


@given(TRACES)
def test_every_trace_contains_itself(trace: Trace) -> None:
    assert adds(trace, trace)


@given(TRACES, TURNS)
def test_a_turn_more_contains_the_old(trace: Trace, turn: Turn) -> None:
    assert adds(dataclasses.replace(trace, turns=(*trace.turns, turn)), trace)


@given(TRACES, SPANS, st.data())
def test_a_span_more_contains_the_old(trace: Trace, span: Span, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(trace.turns) - 1))
    turns = list(trace.turns)
    turns[number] = dataclasses.replace(turns[number], spans=(*turns[number].spans, span))
    assert adds(dataclasses.replace(trace, turns=tuple(turns)), trace)


@given(TRACES, st.sampled_from(["output", "input", "error"]))
def test_what_was_missing_in_a_turn_contains_the_old(trace: Trace, key: str) -> None:
    before = dataclasses.replace(trace, turns=(dataclasses.replace(trace.turns[0], **{key: None}), *trace.turns[1:]))
    assert adds(trace, before)


@given(TRACES)
def test_a_trace_that_ended_contains_its_unfinished_self(trace: Trace) -> None:
    assert adds(trace, dataclasses.replace(trace, status=Status.PENDING))


@given(TRACES, st.text(min_size=1), st.text(min_size=1))
def test_metadata_more_contains_the_old(trace: Trace, key: str, value: str) -> None:
    assert adds(dataclasses.replace(trace, metadata={key: value, **trace.metadata}), trace)


SPAN = Span(id="s1", name="call", output="done", ended_at="2026")
OLD = make_trace(
    turns=(Turn(input="q", output="a", error="e", retrieval_context="r", spans=(SPAN,)),),
    user_id="u",
    metadata={"k": "v", "l": [1, 2]},
    tags=("a", "b"),
    system="s",
    environment="prod",
    release="1",
)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "other"},
        {"user_id": "other"},
        {"system": "other"},
        {"environment": "other"},
        {"release": "other"},
        {"status": Status.FAILED},
        {"tags": ("a",)},
        {"metadata": {"k": "other", "l": [1, 2]}},
        {"metadata": {"k": "v", "l": [1, 3]}},
        {"metadata": {"k": "v"}},
        {"turns": ()},
        *[
            {"turns": (dataclasses.replace(OLD.turns[0], **{key: "other"}),)}
            for key in ("input", "output", "error", "retrieval_context")
        ],
        {"turns": (dataclasses.replace(OLD.turns[0], spans=()),)},
        {"turns": (dataclasses.replace(OLD.turns[0], spans=(dataclasses.replace(SPAN, output="other"),)),)},
    ],
    ids=str,
)
def test_another_value_does_not_contain_the_old(changed: dict[str, Any]) -> None:
    assert not adds(dataclasses.replace(OLD, **changed), OLD)


@pytest.mark.parametrize("changed", [{"tokens": {"input": 9}}, {"cost": 2.0}, {"ended_at": "2027"}, {"models": ("m",)}])
def test_sums_and_ends_may_grow(changed: dict[str, Any]) -> None:
    assert adds(dataclasses.replace(OLD, **changed), OLD)


def test_nothing_contains_what_nobody_knows_any_more() -> None:
    assert not contains(facts(OLD), UNKNOWN_FACTS)


def test_revision_and_what_is_missing_are_no_part_of_the_trace() -> None:
    assert trace_sha256(dataclasses.replace(OLD, revision="2", partial="no root")) == trace_sha256(OLD)


OTHERS = [field.name for field in dataclasses.fields(Trace) if field.name not in ("revision", "partial")]


@pytest.mark.parametrize("field", OTHERS)
def test_every_other_field_is(field: str) -> None:
    values: dict[str, Any] = {
        "id_is_unique": False,
        "status": Status.FAILED,
        "turns": (),
        "tags": ("z",),
        "models": ("z",),
        "tokens": {"input": 1},
        "metadata": {"z": 1},
        "origin": {"z": 1},
        "cost": 9.5,
    }
    assert trace_sha256(dataclasses.replace(OLD, **{field: values.get(field, "zzz")})) != trace_sha256(OLD)


def test_the_order_of_keys_is_no_change() -> None:
    one, other = make_trace(metadata={"a": 1, "b": 2}), make_trace(metadata={"b": 2, "a": 1})
    assert trace_sha256(one) == trace_sha256(other)


@pytest.mark.parametrize("odd", [2**70, "\ud83d", {"a": [2**64]}], ids=["big", "surrogate", "nested"])
def test_odd_values_can_be_hashed(odd: Any) -> None:
    one, other = make_trace(metadata={"x": odd}), make_trace(metadata={"x": odd, "y": 1})
    assert trace_sha256(one) == trace_sha256(make_trace(metadata={"x": odd})) != trace_sha256(other)
    assert adds(other, one)
