"""What a trace states: whether a later one only adds to an earlier one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.facts import UNKNOWN_FACTS, contains, facts, trace_sha256, write_turns
from pipeline.json_text import InexactError
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
    assert adds(replace(trace, turns=(*trace.turns, turn)), trace)


@given(TRACES, SPANS, st.data())
def test_a_span_more_contains_the_old(trace: Trace, span: Span, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(trace.turns) - 1))
    turns = list(trace.turns)
    turns[number] = replace(turns[number], spans=(*turns[number].spans, span))
    assert adds(replace(trace, turns=tuple(turns)), trace)


@given(TRACES, st.sampled_from(["output", "input", "error"]))
def test_what_was_missing_in_a_turn_contains_the_old(trace: Trace, key: str) -> None:
    before = replace(trace, turns=(replace(trace.turns[0], **{key: None}), *trace.turns[1:]))
    assert adds(trace, before)


@given(TRACES)
def test_a_trace_that_ended_contains_its_unfinished_self(trace: Trace) -> None:
    assert adds(trace, replace(trace, status=Status.PENDING))


@given(TRACES, st.text(min_size=1), st.text(min_size=1))
def test_metadata_more_contains_the_old(trace: Trace, key: str, value: str) -> None:
    assert adds(replace(trace, metadata={key: value, **trace.metadata}), trace)


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
            {"turns": (replace(OLD.turns[0], **{key: "other"}),)}
            for key in ("input", "output", "error", "retrieval_context")
        ],
        {"turns": (replace(OLD.turns[0], spans=()),)},
        {"turns": (replace(OLD.turns[0], spans=(replace(SPAN, output="other"),)),)},
    ],
    ids=str,
)
def test_another_value_does_not_contain_the_old(changed: dict[str, Any]) -> None:
    assert not adds(replace(OLD, **changed), OLD)


@pytest.mark.parametrize("changed", [{"tokens": {"input": 9}}, {"cost": 2.0}, {"ended_at": "2027"}, {"models": ("m",)}])
def test_sums_and_ends_may_grow(changed: dict[str, Any]) -> None:
    assert adds(replace(OLD, **changed), OLD)


def test_nothing_contains_what_nobody_knows_any_more() -> None:
    assert not contains(facts(OLD), UNKNOWN_FACTS)


def test_revision_and_what_is_missing_are_no_part_of_the_trace() -> None:
    assert trace_sha256(replace(OLD, revision="2", partial="no root")) == trace_sha256(OLD)


OTHERS = [name for name in Trace.__struct_fields__ if name not in ("revision", "partial")]


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
    assert trace_sha256(replace(OLD, **{field: values.get(field, "zzz")})) != trace_sha256(OLD)


def test_the_order_of_keys_is_no_change() -> None:
    one, other = make_trace(metadata={"a": 1, "b": 2}), make_trace(metadata={"b": 2, "a": 1})
    assert trace_sha256(one) == trace_sha256(other)


@pytest.mark.parametrize("odd", [2**70, "\ud83d", {"a": [2**64]}], ids=["big", "surrogate", "nested"])
def test_odd_values_can_be_hashed(odd: Any) -> None:
    one, other = make_trace(metadata={"x": odd}), make_trace(metadata={"x": odd, "y": 1})
    assert trace_sha256(one) == trace_sha256(make_trace(metadata={"x": odd})) != trace_sha256(other)
    assert adds(other, one)


STATED = {
    "id": "t1",
    "conversation_id": "c",
    "name": "n",
    "tags": ("a", "b"),
    "system": "s",
    "models": ("m",),
    "metadata": {"k": "v", "l": [1, "x"], "d": {"y": 1, "x": 2}},
    "origin": {"format": "langfuse"},
    "revision": "1",
}
FULL_SPAN = Span(
    id="s1",
    name="search",
    type="TOOL",
    input={"z": 1, "a": "é"},
    output=[1.5, None],
    ended_at="2026",
    tokens={"output": 2, "input": 1},
    metadata={"b": 1, "a": 2},
)
FULL_TURN = Turn(
    input={"q": "hi", "a": [1, 2]},
    output="answer",
    error="e",
    retrieval_context="r",
    latency_ms=1.5,
    tokens={"total": 3, "input": 1},
    cost=0.25,
    spans=(FULL_SPAN,),
)
ODD_TURNS = (Turn(input=2**60, output="\0"), Turn(input=2**70))


@pytest.mark.parametrize(
    ("turns", "sha256", "stated"),
    [
        pytest.param(
            (FULL_TURN,),
            "05f208925df4c99be4c5634a3e2677507b169f5b44d0b2a4d756dcb34f1f2808",
            "d4b40c053a892a0681c0130a10ef521a1d45dc1ff4f822484062b951b2d8ad618311cf7e992535916ee5059c8c7025ca"
            "39a020cd47bd94e5604161f032758ff3",
            id="plain",
        ),
        pytest.param(
            ODD_TURNS,
            "c2dfb1e00033317bfcf2f5216cba5209ee31aa2ed315868cbedc9ec52a57223f",
            "d4b40c05aa432e191d45dc1ff4f822481164b955b2d8ad61bcf4d17c992535916ee5059c8c7025ca39a020cd47bd94e532758ff3",
            id="odd",
        ),
    ],
)
def test_the_hashes_are_those_that_ledgers_hold(turns: tuple[Turn, ...], sha256: str, stated: str) -> None:
    trace = Trace(turns=turns, **STATED)  # type: ignore[arg-type]
    assert (trace_sha256(trace), facts(trace).hex()) == (sha256, stated)


def test_values_that_were_written_before_give_the_same_hashes() -> None:
    trace = make_trace(turns=(FULL_TURN, Turn(input="q")), metadata={"k": "v"})
    written = write_turns(trace)
    assert (trace_sha256(trace, written), facts(trace, written)) == (trace_sha256(trace), facts(trace))


@pytest.mark.parametrize("field", Turn.__struct_fields__)
def test_every_field_of_a_turn_is_part_of_the_trace(field: str) -> None:
    values: dict[str, Any] = {"tokens": {"input": 1}, "cost": 9.5, "latency_ms": 9.5, "spans": ()}
    turn = replace(OLD.turns[0], **{field: values.get(field, "zzz")})
    assert trace_sha256(replace(OLD, turns=(turn,))) != trace_sha256(OLD)


@pytest.mark.parametrize("levels", range(245, 258))
def test_however_deep_a_value_is_its_hashes_are_the_same_whoever_wrote_it(levels: int) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]
    trace = make_trace(turns=(Turn(input=deep),))
    try:
        written = write_turns(trace)
    except InexactError:
        return
    assert trace_sha256(trace, written) == trace_sha256(trace)


def test_a_conversation_contains_itself_before_more_spans_of_its_traces_came() -> None:
    before = replace(OLD, metadata={"traces": [{"trace_id": "t", "tokens": {"input": 1}, "ended_at": "1"}]})
    after = replace(OLD, metadata={"traces": [{"trace_id": "t", "tokens": {"input": 9}, "ended_at": "2", "cost": 1.0}]})
    assert contains(facts(after), facts(before))
    assert not contains(facts(replace(OLD, metadata={"traces": [{"trace_id": "u"}]})), facts(before))
