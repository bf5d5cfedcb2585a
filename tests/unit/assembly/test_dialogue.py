"""What the traces of one conversation repeat of each other is in it once, and nothing is lost by that."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.assembly.conversations import merge_traces
from pipeline.assembly.dialogue import Dialogue
from pipeline.models import Span, Turn
from tests.unit.factories import make_trace

FIRST, SECOND, THIRD = (Turn(input=f"q{number}", output=f"a{number}") for number in (1, 2, 3))
STEP = Span(id="message-1", name="track", type="TOOL", input={"number": "P-1"}, output="Girona")


def together(*traces: list[Turn]) -> list[Turn]:
    dialogue = Dialogue()
    for turns in traces:
        dialogue.add(turns)
    return dialogue.turns


def test_each_trace_that_holds_the_whole_dialogue_adds_its_new_turns() -> None:
    assert together([FIRST], [FIRST, SECOND], [FIRST, SECOND, THIRD]) == [FIRST, SECOND, THIRD]


def test_a_window_of_the_dialogue_is_enough() -> None:
    assert together([FIRST, SECOND], [SECOND, THIRD]) == [FIRST, SECOND, THIRD]


def test_a_trace_that_repeats_all_of_it_adds_nothing() -> None:
    assert together([FIRST, SECOND], [FIRST, SECOND]) == [FIRST, SECOND]


@pytest.mark.parametrize(
    "traces",
    [
        [[FIRST], [FIRST]],
        [[FIRST, SECOND], [FIRST, THIRD]],
        [[FIRST, SECOND], [SECOND]],
        [[FIRST], [Turn(input="q1", output="another"), SECOND]],
        [[FIRST], [Turn(input="q1"), SECOND]],
        [[FIRST], [SECOND, FIRST]],
        [[], [FIRST, SECOND]],
    ],
    ids=[
        "one turn, asked again",
        "not the last turn",
        "one turn of a window",
        "another answer",
        "no answer",
        "the other way round",
        "nothing there",
    ],
)
def test_what_is_no_repetition_stays(traces: list[list[Turn]]) -> None:
    assert together(*traces) == [turn for turns in traces for turn in turns]


def test_it_is_the_words_that_count_and_not_how_they_are_wrapped() -> None:
    wrapped = Turn(input=[{"role": "user", "content": "q1"}], output={"role": "assistant", "content": "a1"})
    assert together([FIRST], [wrapped, SECOND]) == [FIRST, SECOND]
    assert together([wrapped], [FIRST, SECOND]) == [wrapped, SECOND]
    values = Turn(input={"number": 1}, output=[2])
    assert together([values], [values, SECOND]) == [values, SECOND]


@pytest.mark.parametrize(
    "more",
    [
        {"spans": (STEP,)},
        {"started_at": "2026-08-22T08:00:00.000000Z"},
        {"tokens": {"input": 3}},
        {"cost": 0.5},
        {"error": "late"},
        {"retrieval_context": "Girona has one depot."},
        {"input": {"messages": [{"role": "user", "content": "q1"}], "temperature": 0}},
        {"output": {"role": "assistant", "content": "a1", "id": "msg_1"}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_of_a_turn_and_its_repetition_the_one_stays_that_tells_more(more: dict[str, Any]) -> None:
    richer = replace(FIRST, **more)
    assert together([FIRST], [richer, SECOND]) == [richer, SECOND]
    assert together([richer], [FIRST, SECOND]) == [richer, SECOND]


def test_both_stay_where_each_says_something_of_its_own() -> None:
    one, other = replace(FIRST, cost=0.5), replace(FIRST, spans=(STEP,))
    assert together([one], [other, SECOND]) == [one, other, SECOND]


def test_steps_are_the_same_under_the_number_that_another_trace_gives_them() -> None:
    there = replace(SECOND, spans=(STEP,))
    again = replace(SECOND, spans=(replace(STEP, id="message-9"),))
    assert together([FIRST, there], [again, THIRD]) == [FIRST, there, THIRD]


def test_the_metadata_tell_how_many_turns_of_a_trace_are_anothers() -> None:
    traces = [
        make_trace("t1", turns=(FIRST,), conversation_id="c", tokens={"input": 3}),
        make_trace("t2", turns=(FIRST, SECOND), conversation_id="c", tokens={"input": 7}),
    ]
    merged = merge_traces(traces)
    assert merged.turns == (FIRST, SECOND)
    assert merged.tokens == {"input": 10}
    assert [trace.get("repeated_turns") for trace in merged.metadata["traces"]] == [None, 1]


words = st.sampled_from(["a", "b"])
turns = st.builds(
    Turn, input=words, output=words | st.none(), cost=st.sampled_from([None, None, 0.5]),
    spans=st.sampled_from([(), (), (STEP,)]),
)  # fmt: skip


@given(st.lists(st.lists(turns, max_size=4), max_size=5))
def test_whatever_is_put_together_nothing_that_a_turn_says_is_lost(traces: list[list[Turn]]) -> None:
    kept = together(*traces)
    assert len(kept) <= sum(map(len, traces))
    for turn in (turn for turns in traces for turn in turns):
        assert any(
            (there.input, there.output) == (turn.input, turn.output)
            and turn.cost in (None, there.cost)
            and set(map(repr, turn.spans)) <= set(map(repr, there.spans))
            for there in kept
        )
