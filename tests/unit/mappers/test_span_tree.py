from __future__ import annotations

from typing import Any

import pytest

from pipeline.mappers.messages import last_assistant, last_user, system_of
from pipeline.mappers.span_tree import trace_of_spans
from pipeline.models import Span, Status, Trace


def span(id: str, parent: str | None = None, start: int = 0, **changes: Any) -> Span:
    known = {"started_at": f"2026-08-22T08:00:{start:02}.000000Z", "ended_at": "2026-08-22T08:01:00.000000Z"}
    return Span(id=id, parent_id=parent, **(known | changes))


def one(*spans: Span, **changes: Any) -> Trace:
    return trace_of_spans(spans, Trace(id="t-1"), **changes)


def test_the_turn_is_what_the_root_was_asked_and_answered() -> None:
    trace = one(span("b", "a", 2, input="inner", output="inner"), span("a", input="ask", output="answer"))
    assert (trace.turns[0].input, trace.turns[0].output) == ("ask", "answer")
    assert [each.id for each in trace.turns[0].spans] == ["a", "b"]
    assert trace.partial is None


def test_without_words_of_the_root_the_first_question_and_the_last_answer_of_models_count() -> None:
    history = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    trace = one(
        span("a"),
        span("b", "a", 1, type="GENERATION", input=history, output={"role": "assistant", "content": "let me see"}),
        span("c", "a", 2, type="GENERATION", input=history, output={"role": "assistant", "content": "hello"}),
    )
    assert (trace.turns[0].input, trace.turns[0].output, trace.system) == ("hi", "hello", "Be brief.")


def test_of_a_root_that_is_a_model_call_the_last_question_and_answer_count() -> None:
    history = [{"role": "user", "content": "old"}, {"role": "assistant", "content": "x"}]
    asked = {"messages": [*history, {"role": "user", "content": "hi"}]}
    trace = one(
        span(
            "a",
            type="GENERATION",
            input=asked,
            output={"choices": [{"message": {"role": "assistant", "content": "hello"}}]},
        )
    )
    assert (trace.turns[0].input, trace.turns[0].output) == ("hi", "hello")
    assert trace.turns[0].spans[0].input == asked


HISTORY = [{"role": "user", "content": "old"}, {"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("type", "given", "asked"),
    [
        ("AGENT", HISTORY, "hi"),
        ("AGENT", {"query": "hi", "plan": "free"}, {"query": "hi", "plan": "free"}),
        ("CHAIN", HISTORY, HISTORY),
    ],
)
def test_of_an_agents_list_of_messages_the_last_question_counts(type: str, given: Any, asked: Any) -> None:
    assert one(span("a", type=type, input=given)).turns[0].input == asked


def test_a_model_call_in_an_unknown_shape_counts_as_it_stands() -> None:
    trace = one(span("a"), span("b", "a", 1, type="GENERATION", input={"args": ["ask"]}, output={"reply": ["answer"]}))
    assert (trace.turns[0].input, trace.turns[0].output) == ({"args": ["ask"]}, {"reply": ["answer"]})


def test_a_root_model_call_whose_messages_cannot_be_read_is_shown_whole() -> None:
    trace = one(span("a", type="GENERATION", input={"image": 1}, output=[{"tool_calls": [1]}]))
    assert (trace.turns[0].input, trace.turns[0].output) == ({"image": 1}, [{"tool_calls": [1]}])


def test_a_missing_parent_marks_the_trace_as_partial_and_keeps_the_span() -> None:
    trace = one(span("b", "gone", input="x"))
    assert trace.partial == "1 parent span(s) not in the export: gone"
    assert trace.turns[0].input == "x"


def test_parents_in_a_circle_lose_nothing() -> None:
    trace = one(span("a", "b"), span("b", "a"))
    assert trace.partial == "no root span in the export"
    assert len(trace.turns[0].spans) == 2


@pytest.mark.parametrize(
    ("root", "status"),
    [
        ({"ended_at": None}, Status.PENDING),
        ({"ended_at": None, "error": "crash"}, Status.FAILED),
        ({"error": "crash"}, Status.FAILED),
        ({}, Status.COMPLETED),
    ],
)
def test_the_root_tells_how_it_ended(root: dict[str, Any], status: Status) -> None:
    trace = one(span("a", **root), span("b", "a", 1, error="a step failed"))
    assert trace.status is status
    assert trace.error == ("crash" if status is Status.FAILED else None)
    assert (trace.ended_at is None) == (status is Status.PENDING)


def test_sums_that_an_outer_span_repeats_are_not_added_again() -> None:
    trace = one(
        span("a", tokens={"input": 5}, cost=0.5),
        span("b", "a", 1, tokens={"input": 5}, cost=0.5),
        span("c", "gone", 2, tokens={"input": 1}, cost=0.25),
    )
    assert (trace.tokens, trace.cost) == ({"input": 6}, 0.75)


ASKED: dict[str, Any] = {
    "OpenAI chat": {"messages": [{"role": "user", "content": "old"}, {"role": "assistant", "content": "x"},
                                 {"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    "OpenAI responses": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]},
    "Gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "LangChain constructors": {"messages": [[{"lc": 1, "type": "constructor", "id": ["x", "HumanMessage"],
                                              "kwargs": {"content": "hi", "type": "human"}}]]},
    "LangChain dumps": [{"type": "human", "data": {"content": "hi"}}],
    "LangGraph": {"messages": [{"type": "human", "content": "hi"}]},
    "gen_ai": [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}],
    "OpenInference": [{"message.role": "user", "message.content": "hi"}],
    "completions": {"prompt": "hi"},
    "JSON in a text": '[{"role": "user", "content": "hi"}]',
    "a text": "hi",
}  # fmt: skip
ANSWERED: dict[str, Any] = {
    "OpenAI chat": {"choices": [{"message": {"role": "assistant", "content": "hello"}}]},
    "OpenAI responses": {"output": [{"type": "reasoning", "summary": []},
                                    {"type": "message", "role": "assistant",
                                     "content": [{"type": "output_text", "text": "hello"}]}]},
    "Anthropic": {"role": "assistant", "content": [{"type": "thinking", "thinking": "…"},
                                                   {"type": "text", "text": "hello"}]},
    "Gemini": {"candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}}]},
    "LangChain": {"generations": [[{"text": "hello", "message": {"kwargs": {"content": "hello"},
                                                                 "id": ["x", "AIMessage"]}}]]},
    "gen_ai": [{"role": "assistant", "parts": [{"type": "text", "content": "hello"}], "finish_reason": "stop"}],
    "one message": {"role": "assistant", "content": "hello"},
    "a text": "hello",
}  # fmt: skip


@pytest.mark.parametrize("shape", ASKED)
def test_the_last_question_is_found_in_every_shape(shape: str) -> None:
    assert last_user(ASKED[shape]) == "hi"


@pytest.mark.parametrize("shape", ANSWERED)
def test_the_last_answer_is_found_in_every_shape(shape: str) -> None:
    assert last_assistant(ANSWERED[shape]) == "hello"


@pytest.mark.parametrize(
    "value",
    [
        {"system": "Be brief.", "messages": []},
        {"system": [{"type": "text", "text": "Be brief."}]},
        {"config": {"system_instruction": "Be brief."}, "contents": []},
        {"messages": [{"role": "developer", "content": "Be brief."}]},
        {"messages": [[{"lc": 1, "id": ["SystemMessage"], "kwargs": {"content": "Be brief."}}]]},
    ],
)
def test_the_system_prompt_is_found_in_every_shape(value: Any) -> None:
    assert system_of(value) == "Be brief."


@pytest.mark.parametrize("value", [None, 5, True, [], {}, "", {"messages": 5}, [[[]]], {"a": {"b": {}}}])
def test_what_holds_no_messages_says_nothing(value: Any) -> None:
    assert (last_user(value), last_assistant(value), system_of(value)) == (None, None, None)


def test_parts_of_a_message_of_an_odd_type_are_kept() -> None:
    parts = [{"type": ["thinking"]}, {"type": "thinking", "thinking": "…"}]
    assert last_user({"role": "user", "content": parts}) == [{"type": ["thinking"]}]
