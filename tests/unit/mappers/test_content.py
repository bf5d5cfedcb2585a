"""What a trace becomes beside its session: turns, spans and the end, each as the API takes it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import TurnsMode
from pipeline.emulator.options import Options
from pipeline.emulator.session_rules import outcome_of_finish
from pipeline.emulator.span_rules import check_span
from pipeline.emulator.turn_batch import check_batch
from pipeline.emulator.turn_rules import check_create
from pipeline.mappers.content import MAX_SPAN_VALUE_BYTES, Mended, content_of, untold
from pipeline.models import Content, Span, Status, Trace, Turn, TurnImport
from pipeline.prints import turn_print
from tests.unit.factories import make_trace

OPTIONS = Options(unknown_fields="refuse")
START, END = "2026-08-22T08:00:00.000000Z", "2026-08-22T08:00:01.500000Z"


def mended_content(
    trace: Trace, *, with_spans: bool = True, mode: TurnsMode = "auto", max_value_bytes: int = 100_000
) -> tuple[Content, Mended]:
    return content_of(
        trace,
        with_spans=with_spans,
        mode=mode,
        stopping_reason="IMPORTED",
        max_value_bytes=max_value_bytes,
    )


def content(*turns: Turn, **fields: Any) -> Content:
    return mended_content(make_trace(turns=turns, **fields))[0]


def sent(*turns: Turn, **fields: Any) -> list[Any]:
    """The bodies of turns."""
    return [json.loads(turn.body) for turn in content(*turns, **fields).turns]


def spans_sent(*spans: Span) -> list[Any]:
    [turn] = content(Turn(spans=spans)).turns
    return [json.loads(span.body) for span in turn.spans]


# --- turns ------------------------------------------------------------------------------------------------

QUESTION = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]}
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Because."}}]}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("Why?", "Why?"),
        ("", ""),
        (None, ""),
        ({"role": "user", "content": "Why?"}, "Why?"),
        ([{"type": "human", "content": "Why?", "name": None}], "Why?"),
        (QUESTION, {"user_message": "Why?", "input": QUESTION}),
        ({"parcel": 1}, {"parcel": 1}),
        ([1, 2], {"input": [1, 2]}),
        (0, {"input": 0}),
        (False, {"input": False}),
    ],
)
def test_what_was_asked_is_a_text_where_one_can_be_read_and_an_object_with_all_of_it_else(
    value: Any, field: Any
) -> None:
    assert sent(Turn(input=value))[0]["input"] == field


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("Because.", "Because."),
        ("", ""),
        ({"role": "assistant", "content": "Because."}, "Because."),
        (ANSWER, {"assistant_message": "Because.", "content": [ANSWER]}),
        ({"assistant_message": "Because.", "content": []}, {"assistant_message": "Because.", "content": []}),
        ({"assistant_message": 1}, '{"assistant_message":1}'),
        ([1, 2], {"content": [1, 2]}),
        ({"score": 1.5}, '{"score":1.5}'),
        (0, "0"),
    ],
)
def test_what_was_answered_is_a_text_where_one_can_be_read_and_an_envelope_or_json_else(value: Any, field: Any) -> None:
    assert sent(Turn(output=value))[0]["actualOutput"] == field


def test_a_turn_without_an_answer_has_none() -> None:
    assert "actualOutput" not in sent(Turn(input="Why?"))[0]


@pytest.mark.parametrize(
    ("turn", "status", "expected"),
    [
        (Turn(output="a"), Status.COMPLETED, "GENERATED"),
        (Turn(output=""), Status.COMPLETED, "GENERATED"),
        (Turn(output="a", error="no"), Status.COMPLETED, "FAILED"),
        (Turn(), Status.COMPLETED, "SKIPPED"),
        (Turn(), Status.PENDING, "PENDING"),
        (Turn(output="a"), Status.PENDING, "GENERATED"),
    ],
)
def test_the_status_of_a_turn_says_what_became_of_it(turn: Turn, status: Status, expected: str) -> None:
    assert sent(turn, Turn(), status=status)[0]["status"] == expected


def test_a_turn_has_its_figures_its_error_and_what_was_retrieved() -> None:
    tokens = {"input": 12, "output": 5, "total": 17, "prompt_cache_read_tokens": 4, "reasoning": 3}
    turn = Turn(
        input="q", output="a", started_at=START, ended_at=END, tokens=tokens, cost=0.25, error="late",
        retrieval_context="Girona has one depot.",
    )  # fmt: skip
    body = sent(turn, Turn())[0]
    assert body == {
        "input": "q",
        "actualOutput": "a",
        "status": "FAILED",
        "error": "late",
        "retrievalContext": "Girona has one depot.",
        "latency": 1500,
        "inputTokens": 12,
        "outputTokens": 5,
        "tokens": 17,
        "cacheReadInputTokens": 4,
        "cost": 0.25,
    }
    assert sent(Turn(latency_ms=7.6, started_at=START, ended_at=END))[0]["latency"] == 8


def test_a_trace_of_one_turn_gives_it_its_figures_and_one_of_several_does_not() -> None:
    figures: dict[str, Any] = {"started_at": START, "ended_at": END, "tokens": {"input": 3}, "cost": 0.5, "error": "no"}
    [body] = sent(Turn(input="q"), **figures)
    assert body == {
        "input": "q", "status": "FAILED", "error": "no", "latency": 1500, "inputTokens": 3, "cost": 0.5,
    }  # fmt: skip
    bodies = sent(Turn(input="q"), Turn(), **figures)
    assert bodies[0] == {"input": "q", "status": "SKIPPED"}


def test_figures_that_the_api_refuses_are_kept_in_the_metadata() -> None:
    odd = Turn(latency_ms=-1.0, tokens={"input": -1, "output": 10**40, "total": 3}, cost=-0.5)
    assert sent(odd, Turn())[0] == {"input": "", "status": "SKIPPED", "tokens": 3}
    assert untold(make_trace(turns=(odd, Turn()))) == {"turn_tokens": [{"input": -1, "output": 10**40}, {}]}


def test_times_and_tokens_that_no_field_takes_are_told_by_turn() -> None:
    turns = (Turn(started_at=START, ended_at=END, tokens={"input": 1, "audio": 2}), Turn())
    assert untold(make_trace(turns=turns)) == {
        "turn_times": [[START, END], [None, None]],
        "turn_tokens": [{"audio": 2}, {}],
    }
    assert untold(make_trace(turns=2)) == {}


def test_of_a_single_turn_only_what_the_trace_does_not_say_is_told() -> None:
    tokens = {"input": 1, "audio": 2}
    turn = Turn(started_at=START, tokens=tokens)
    assert untold(make_trace(turns=(turn,), started_at=START, ended_at=END, tokens=tokens)) == {}
    assert untold(make_trace(turns=(turn,), started_at=END, tokens={"audio": 9})) == {
        "turn_times": [[START, None]],
        "turn_tokens": [{"audio": 2}],
    }


def test_plain_turns_can_go_in_a_batch_and_those_with_more_only_where_that_is_wished() -> None:
    plain = Turn(input="q", output="a", retrieval_context="c")
    with_figures = Turn(input="q", output="a", tokens={"input": 1})
    failed = Turn(input="q", output="a", error="no")
    unanswered = Turn(input="q")
    trace = make_trace(turns=(plain, with_figures, failed, unanswered))
    kinds = {
        mode: [turn.messages is not None for turn in mended_content(trace, mode=mode)[0].turns]
        for mode in ("auto", "batch", "detailed")
    }
    assert kinds == {
        "auto": [True, False, False, False],
        "batch": [True, True, False, False],
        "detailed": [False, False, False, False],
    }
    assert json.loads(b"[%b]" % (content(plain, Turn()).turns[0].messages or b"")) == [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "retrieval_context": "c"},
    ]


# --- the end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({"status": Status.COMPLETED, "error": "passed over"}, {"stoppingReason": "IMPORTED"}),
        ({"status": Status.FAILED, "error": "no"}, {"error": "no"}),
        ({"status": Status.FAILED, "turns": (Turn(error="first"), Turn(error="last"), Turn())}, {"error": "last"}),
        ({"status": Status.FAILED, "error": " \n"}, {"error": "in error, without a message"}),
        ({"status": Status.PENDING}, None),
    ],
)
def test_a_session_ends_as_its_trace_did(fields: dict[str, Any], finish: Any) -> None:
    made, _ = mended_content(make_trace(**fields))
    assert (None if made.finish is None else json.loads(made.finish)) == finish


# --- spans ------------------------------------------------------------------------------------------------


def test_a_span_says_all_it_knows() -> None:
    root = Span(id="a", name="answer", type="CHAIN")
    span = Span(
        id="b", name="chat", type="GENERATION", parent_id="a", started_at=START, ended_at=END, input=[1], output="x",
        error="late", model="gpt-4.1", tokens={"input": 1}, cost=0.5, metadata={"model": "mine", "seed": 7},
    )  # fmt: skip
    first, second = spans_sent(root, span)
    marks = [sent["metadata"].pop("trace_import") for sent in (first, second)]
    assert len({*marks}) == 2
    assert first == {"name": "answer", "type": "CHAIN", "metadata": {"span_id": "a"}}
    assert second == {
        "name": "chat",
        "type": "GENERATION",
        "startTime": START,
        "endTime": END,
        "latencyMs": 1500.0,
        "inputData": [1],
        "outputData": "x",
        "error": "late",
        "metadata": {
            "metadata.model": "mine", "seed": 7, "span_id": "b", "model": "gpt-4.1", "tokens": {"input": 1},
            "cost": 0.5,
        },
    }  # fmt: skip


def test_a_span_that_ends_before_it_starts_has_no_latency() -> None:
    [span] = spans_sent(Span(id="a", started_at=END, ended_at=START))
    assert "latencyMs" not in span


@pytest.mark.parametrize(("type", "name"), [("TOOL", "tool"), ("", "span")])
def test_a_span_without_a_name_has_its_type_for_one(type: str, name: str) -> None:
    assert spans_sent(Span(id="a", name=" ", type=type))[0]["name"] == name


def test_parents_stand_before_their_children_and_a_parent_that_is_not_there_is_named() -> None:
    spans = (Span(id="c", parent_id="b"), Span(id="b", parent_id="a"), Span(id="a"), Span(id="d", parent_id="lost"))
    [turn] = content(Turn(spans=spans)).turns
    bodies = [json.loads(span.body)["metadata"] for span in turn.spans]
    assert [body["span_id"] for body in bodies] == ["a", "b", "c", "d"]
    assert [span.parent for span in turn.spans] == [None, 0, 1, None]
    assert ["parent_id" in body for body in bodies] == [False, False, False, True]


def test_a_ring_of_parents_is_cut_where_it_is_entered() -> None:
    ring = tuple(Span(id=str(number), parent_id=str((number + 1) % 5)) for number in range(5))
    [turn] = content(Turn(spans=(*ring, Span(id="self", parent_id="self")))).turns
    assert [span.parent for span in turn.spans] == [None, 0, 1, 2, 3, None]
    assert json.loads(turn.spans[0].body)["metadata"]["parent_id"] == "0"


def test_many_spans_in_one_line_are_ordered_in_no_time() -> None:
    spans = tuple(Span(id=str(number), parent_id=str(number + 1)) for number in range(20_000))
    [turn] = content(Turn(spans=spans)).turns
    assert [span.parent for span in turn.spans] == [None, *range(19_999)]


def test_equal_spans_and_equal_ids_are_spans_of_their_own() -> None:
    spans = (Span(id="a"), Span(id="a"), Span(id="a", name="b"))
    [turn] = content(Turn(spans=spans)).turns
    assert len({span.seed for span in turn.spans}) == 3


def test_turns_alone_have_no_spans() -> None:
    made, _ = mended_content(make_trace(turns=(Turn(spans=(Span(id="a"),)),)), with_spans=False)
    assert (made.extent, made.spans) == ("turns", 0)


# --- repeated history -------------------------------------------------------------------------------------


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def assistant(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


SYSTEM = {"role": "system", "content": "Be brief."}
PAST = (
    Turn(input="q1", output="a1"),
    Turn(input=[SYSTEM, user("q2")], output={"choices": [{"message": assistant("a2")}]}),
)
HISTORY = [user("q1"), assistant("a1"), user("q2"), assistant("a2")]


def third(value: Any) -> Any:
    """What is sent as the input of the turn after PAST."""
    return sent(*PAST, Turn(input=value))[2]["input"]


@pytest.mark.parametrize("repeated", [0, 1, 2, 3], ids=["all", "from an answer", "the last turn", "one answer"])
def test_a_repeated_history_is_cut_also_where_it_is_a_window(repeated: int) -> None:
    assert third([*HISTORY[repeated:], user("q3")]) == "q3"
    assert third({"messages": [*HISTORY[repeated:], user("q3")], "temperature": 0}) == {
        "user_message": "q3",
        "input": {"messages": [user("q3")], "temperature": 0},
    }


def test_a_system_prompt_is_kept_where_it_is_another_one() -> None:
    other = {"role": "system", "content": "Be long."}
    assert third([SYSTEM, *HISTORY, user("q3")]) == "q3"
    assert third([other, *HISTORY, user("q3")]) == {"user_message": "q3", "input": [other, user("q3")]}


@pytest.mark.parametrize(
    "value",
    [
        [user("q1"), assistant("a1"), user("another"), assistant("a2"), user("q3")],
        [*HISTORY, user("never asked"), user("q3")],
        [*HISTORY[:2], user("q3")],
        [user("a2"), user("q3")],
        [user("q0"), *HISTORY, user("q3")],
        [user([{"type": "image_url", "image_url": "x"}]), *HISTORY[3:], user("q3")],  # type: ignore[arg-type]
        [*HISTORY, assistant("a3")],
        [user("q3")],
        [],
        ["q1", "a1"],
        {"messages": {"q1": "a1"}},
    ],
    ids=str,
)
def test_what_is_no_repetition_is_never_cut(value: Any) -> None:
    inner = third(value)
    whole = inner.get("input", inner) if isinstance(inner, dict) else inner
    assert whole == value or [whole] == [item["content"] for item in value]


def test_a_message_of_the_history_that_says_more_than_was_said_is_kept_unless_it_stood_before() -> None:
    call = assistant(None, tool_calls=[{"id": "c", "function": {"name": "track", "arguments": "{}"}}])
    result = {"role": "tool", "tool_call_id": "c", "content": "In Girona."}
    history = [*HISTORY[:3], call, result, HISTORY[3]]
    first, second = [*history, user("q3")], [*history, user("q3"), assistant("a3"), user("q4")]
    bodies = sent(*PAST, Turn(input=first, output="a3"), Turn(input=second))
    assert bodies[2]["input"] == {"user_message": "q3", "input": [call, result, user("q3")]}
    assert bodies[3]["input"] == "q4"


# --- what is too long -------------------------------------------------------------------------------------


def test_texts_that_are_too_long_are_cut_and_counted() -> None:
    long = "x" * 3_000
    span = Span(id="a", input=long, output={"deep": [long]}, error=long, metadata={"note": long})
    turn = Turn(input=long, output=long, error=long, retrieval_context=long, spans=(span,))
    made, mended = mended_content(make_trace(turns=(turn,), status=Status.FAILED), max_value_bytes=1_024)
    assert mended == Mended(9, {})
    body, span_body = json.loads(made.turns[0].body), json.loads(made.turns[0].spans[0].body)
    mark = "x" * 1_024 + "… [cut: 1024 of 3000 bytes kept]"
    assert (body["input"], body["actualOutput"], body["error"], body["retrievalContext"]) == (mark, mark, mark, mark)
    assert (span_body["inputData"], span_body["outputData"]) == (mark, {"deep": [mark]})
    assert json.loads(made.finish or b"") == {"error": mark}


def test_a_long_history_is_known_again_although_it_was_cut() -> None:
    long = "x" * 3_000
    turns = (Turn(input=long, output="a1"), Turn(input=[user(long), assistant("a1"), user("q2")]))
    made, _ = mended_content(make_trace(turns=turns), max_value_bytes=1_024)
    assert json.loads(made.turns[1].body)["input"] == "q2"


@pytest.mark.parametrize("char", ["x", '"'])
def test_a_span_holds_no_more_than_it_may(char: str) -> None:
    many = [char * 50_000] * 250
    span = Span(id="a", input=many, output={"k": many}, metadata={"note": many})
    made, mended = mended_content(make_trace(turns=(Turn(spans=(span,)),)), max_value_bytes=20_000_000)
    assert mended.cut == 3
    body = orjson.loads(made.turns[0].spans[0].body)
    assert all(
        len(orjson.dumps(body[name])) <= MAX_SPAN_VALUE_BYTES for name in ("inputData", "outputData", "metadata")
    )
    check_span({**body, "inferenceResultId": "ir_1"}, OPTIONS)


def test_what_had_to_be_replaced_is_counted_once() -> None:
    _, mended = mended_content(make_trace(turns=(Turn(input="a\0", output="b"), Turn(input=[2**60]))))
    assert mended.repairs == {"nul": 1, "big_integer": 1}


# --- whatever they hold -----------------------------------------------------------------------------------

texts = (
    st.text(max_size=8) | st.text(st.characters(), max_size=4) | st.sampled_from(["", " ", "q", "a", "\0", "\ud800"])
)
scalars = (
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.integers(-3, 3) | texts
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
keys = st.sampled_from(
    ["role", "content", "type", "text", "messages", "input", "user_message", "assistant_message", "choices", "message",
     "parts", "kwargs", "id", "output", "data", "value", "from", "prompt"]
) | texts  # fmt: skip
message = st.builds(
    lambda role, said, more: {"role": role, "content": said, **more},
    st.sampled_from(["user", "assistant", "system", "tool", "ai"]),
    texts,
    st.dictionaries(keys, scalars, max_size=1),
)
values = st.recursive(
    scalars | message | st.lists(message, max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
moments = st.none() | st.datetimes().map(lambda moment: f"{moment.isoformat(timespec='microseconds')}Z")
ids = st.sampled_from(["", "a", "b", "c", "d"])
tokens = st.dictionaries(
    st.sampled_from(["input", "output", "total", "input_cache_read", "audio"]), st.integers(-3, 10**20), max_size=3
)
costs = st.none() | st.floats(-1, 1e300)
spans = st.builds(
    Span, id=ids, name=texts, type=st.sampled_from(["TOOL", "CHAIN", "", "odd"]), parent_id=st.none() | ids,
    started_at=moments, ended_at=moments, input=values, output=values, error=st.none() | texts,
    model=st.none() | texts, tokens=tokens, cost=costs,
    metadata=st.dictionaries(keys | st.sampled_from(["span_id", "cost"]), values, max_size=3),
)  # fmt: skip
turns = st.builds(
    Turn, input=values, output=values, started_at=moments, ended_at=moments, retrieval_context=st.none() | texts,
    error=st.none() | texts, latency_ms=st.none() | st.floats(allow_nan=True), tokens=tokens, cost=costs,
    spans=st.lists(spans, max_size=5).map(tuple),
)  # fmt: skip
traces = st.builds(
    Trace, id=st.just("t"), turns=st.lists(turns, max_size=4).map(tuple), status=st.sampled_from(Status),
    error=st.none() | texts, started_at=moments, ended_at=moments, tokens=tokens, cost=costs,
)  # fmt: skip


@settings(deadline=None)
@given(traces, st.sampled_from(["auto", "batch", "detailed"]), st.sampled_from([1_024, 100_000]))
def test_whatever_a_trace_holds_the_api_takes_what_is_made_of_it(
    trace: Trace, mode: TurnsMode, max_value_bytes: int
) -> None:
    made, _ = mended_content(trace, mode=mode, max_value_bytes=max_value_bytes)
    assert len(made.turns) == len(trace.turns)
    if made.finish is not None:
        outcome_of_finish(orjson.loads(made.finish), OPTIONS)
    assert (made.finish is None) == (trace.status is Status.PENDING)
    for turn in made.turns:
        body = orjson.loads(turn.body)
        check_create({**body, "sessionId": "session_1"}, OPTIONS)
        assert turn.print == stored_print(body)
        if turn.messages is not None:
            listed = orjson.loads(b"[%b]" % turn.messages)
            [pair] = check_batch({"sessionId": "session_1", "conversationTurns": listed}, OPTIONS).stored
            assert turn.print == stored_print({"input": pair.input, "actualOutput": pair.output})
        check_spans(turn)
    json.dumps(untold(trace))


def stored_print(body: dict[str, Any]) -> bytes:
    """The print of a turn as the API stores and shows it."""
    asked = body["input"]
    shown = orjson.dumps([{"user_message": asked} if isinstance(asked, str) else asked, body.get("actualOutput")])
    return turn_print(*orjson.loads(shown))


def check_spans(turn: TurnImport) -> None:
    for place, span in enumerate(turn.spans):
        check_span({**orjson.loads(span.body), "inferenceResultId": "ir_1"}, OPTIONS)
        assert span.parent is None or span.parent < place
    assert len({span.seed for span in turn.spans}) == len(turn.spans)


words = st.text("abc", min_size=1, max_size=2)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=4), st.integers(0, 7), words)
def test_of_any_history_and_any_window_of_it_only_the_new_message_is_sent(
    past: list[tuple[str, str]], start: int, asked: str
) -> None:
    history = [message for first, last in past for message in (user(first), assistant(last))]
    before = [Turn(input=first, output=last) for first, last in past]
    window = history[min(start, len(history) - 1) :]
    assert sent(*before, Turn(input=[*window, user(asked)]))[-1]["input"] == asked


@given(st.lists(message, max_size=4), st.lists(turns, max_size=3))
def test_no_message_is_cut_that_was_not_said_before(listed: list[Any], past: list[Turn]) -> None:
    """Every text of an input is in the turns up to it."""
    bodies = sent(*past, Turn(input=listed), Turn())
    told = json.dumps(bodies, ensure_ascii=False)
    for item in listed:
        said = item.get("content")
        if isinstance(said, str) and said.isalnum() and said.isascii():
            assert said in told
