from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.weave import MAPPER
from pipeline.models import Span, Status, Trace
from tests.unit.mappers.assembling import traces_of


def call(id: str = "c1", parent: str | None = None, **changes: Any) -> dict[str, Any]:
    """A call as /calls/stream_query gives it."""
    return {
        "id": id,
        "project_id": "parcels/bot",
        "op_name": f"weave:///parcels/bot/op/op-{id}:9hXc",
        "trace_id": "t1",
        "parent_id": parent,
        "started_at": f"2026-08-22T08:00:0{id[-1]}Z",
        "ended_at": "2026-08-22T08:00:09.500000Z",
        "attributes": {},
        "inputs": {},
        "output": None,
        "summary": {},
        **changes,
    }


def one(*calls: Any) -> Trace:
    [trace] = traces_of(MAPPER, calls)
    return trace


def span_of(**changes: Any) -> Span:
    return one(call("c0"), call("c1", "c0", **changes)).turns[0].spans[-1]


def test_the_calls_of_one_trace_id_are_a_trace_with_what_the_root_says() -> None:
    root = call(
        inputs={"self": "weave:///parcels/bot/object/Bot:1", "question": "Where?"}, output="In Girona.",
        thread_id="th-1", turn_id="c1", wb_user_id="account",
        attributes={"weave": {"client_version": "0.54.0"}, "user_id": "ann", "env": "staging"},
    )  # fmt: skip
    inside = call("c2", "c1", thread_id="th-1", turn_id="c1", wb_user_id="account", inputs={"a": 1})
    trace = one(inside, root)
    assert (trace.id, trace.name, trace.conversation_id, trace.user_id) == ("t1", "op-c1", "th-1", "ann")
    assert (trace.environment, trace.status) == ("staging", Status.COMPLETED)
    assert trace.origin == {"format": "weave", "project": "parcels/bot"}
    assert trace.revision == "2026-08-22T08:00:09.500000Z"
    assert (trace.turns[0].input, trace.turns[0].output) == ("Where?", "In Girona.")
    assert trace.metadata == {
        "user_id": "ann",
        "env": "staging",
        "weave": {
            "op_name": "weave:///parcels/bot/op/op-c1:9hXc",
            "thread_id": "th-1",
            "turn_id": "c1",
            "wb_user_id": "account",
            "attributes": {"client_version": "0.54.0"},
        },
    }
    spans = trace.turns[0].spans
    assert spans[0].input == root["inputs"]
    assert [span.metadata for span in spans] == [{}, {"weave": {"op_name": "weave:///parcels/bot/op/op-c2:9hXc"}}]


def test_several_inputs_are_the_input_as_they_are() -> None:
    inputs = {"question": "Where?", "top_k": 3}
    assert one(call(inputs={"self": "weave:///x", **inputs})).turns[0].input == inputs
    assert one(call(inputs={"self": "weave:///x"})).turns[0].input == {"self": "weave:///x"}


@pytest.mark.parametrize(
    ("changes", "name", "kept"),
    [
        ({"op_name": "weave:///e/p/op/chat.ask:v1"}, "chat.ask", "weave:///e/p/op/chat.ask:v1"),
        ({"op_name": "weave-trace-internal:///UHJv/op/ask:v1"}, "ask", "weave-trace-internal:///UHJv/op/ask:v1"),
        ({"op_name": "ask"}, "ask", None),
        ({"op_name": "ask", "display_name": "Ask it"}, "Ask it", "ask"),
    ],
)
def test_the_name_is_in_the_ref_of_the_op(changes: dict[str, Any], name: str, kept: str | None) -> None:
    span = span_of(**changes)
    assert (span.name, span.metadata.get("weave", {}).get("op_name")) == (name, kept)


@pytest.mark.parametrize(
    ("changes", "type"),
    [
        ({"attributes": {"weave": {"kind": "llm"}}}, "GENERATION"),
        ({"attributes": {"weave": {"kind": "search"}}}, "RETRIEVER"),
        ({"attributes": {"weave": {"kind": "scorer"}}}, "EVALUATOR"),
        ({"attributes": {"weave": {"kind": "chain"}}}, "CHAIN"),
        ({"attributes": {"weave": {"kind": "new"}}}, "SPAN"),
        ({"inputs": {"model": "m", "messages": []}}, "GENERATION"),
        ({"inputs": {"model": "m"}}, "SPAN"),
    ],
)
def test_the_kind_tells_the_type_and_is_kept(changes: dict[str, Any], type: str) -> None:
    span = span_of(**changes)
    assert span.type == type
    assert span.metadata["weave"].get("attributes") == changes.get("attributes", {}).get("weave")


def test_usage_and_costs_are_summed_over_the_models_and_kept() -> None:
    usage = {
        "gpt-4.1": {"prompt_tokens": 12, "input_tokens": 12, "completion_tokens": 5, "requests": 1},
        "claude": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 2, "details": {"a": 1}},
    }
    costs = {"gpt-4.1": {"prompt_tokens_total_cost": 0.25, "completion_tokens_total_cost": 0.5, "prompt_token_cost": 9},
             "claude": {"prompt_tokens_total_cost": None}}  # fmt: skip
    weave = {"status": "success", "latency_ms": 9, "trace_name": "n", "costs": costs}
    span = span_of(summary={"usage": usage, "weave": weave})
    assert span.tokens == {"input": 15, "output": 9, "cache_read_input_tokens": 2}
    assert span.cost == 0.75
    assert span.metadata["weave"]["summary"] == {"usage": usage, "weave": {"costs": costs}}


def test_an_outer_call_repeats_the_usage_of_those_inside() -> None:
    summary = {"usage": {"m": {"prompt_tokens": 12, "requests": 1}}}
    inside = call("c2", "c1", summary=summary, inputs={"model": "m", "messages": []})
    trace = one(call(summary=summary), inside)
    assert (trace.tokens, trace.models) == ({"input": 12}, ("m",))


def test_an_exception_of_the_root_makes_the_trace_fail() -> None:
    trace = one(call(exception="ValueError: no"), call("c2", "c1", exception="KeyError: inside"))
    assert (trace.status, trace.error) == (Status.FAILED, "ValueError: no")


def test_of_an_exception_as_the_sdk_writes_it_the_traceback_is_kept_apart() -> None:
    frames = [{"filename": "bot.py", "line_number": 7}]
    span = span_of(exception=json.dumps({"type": "ValueError", "message": "no", "traceback": frames}))
    assert span.error == "ValueError: no"
    assert span.metadata["weave"]["exception"] == {"traceback": frames}
    assert span_of(exception='["no"]').error == '["no"]'
    assert span_of(exception='{"code": 5}').error == "in error, without a message"


def test_a_call_that_has_not_ended_is_pending_until_its_end_comes() -> None:
    running = call(ended_at=None)
    assert one(running).status is Status.PENDING
    assert one(call(), running).status is Status.COMPLETED


def test_a_deleted_call_is_none() -> None:
    deleted = call("c2", "c1", deleted_at="2026-08-23T00:00:00Z")
    assert [span.id for span in one(call(), deleted, call("c2", "c1")).turns[0].spans] == ["c1"]
    assert traces_of(MAPPER, [deleted]) == []


def test_refs_are_kept_as_they_are() -> None:
    ref = "weave:///parcels/bot/object/Answer:7"
    assert one(call(inputs={"x": ref}, output=ref)).turns[0].output == ref


def test_calls_in_different_threads_belong_to_the_thread_of_the_root() -> None:
    parts = [call("c2", "c1", thread_id="a"), call("c3", "c1", thread_id="b")]
    assert one(call(), *parts).conversation_id is None
    assert one(call(thread_id="b"), *parts).conversation_id == "b"
    assert one(call(), parts[0]).conversation_id == "a"


def test_a_page_is_its_calls() -> None:
    calls = [call("c2", "c1"), call()]
    assert traces_of(MAPPER, [{"calls": calls}]) == traces_of(MAPPER, calls)


def test_a_row_of_a_csv_is_the_call_that_it_was() -> None:
    whole = call(
        inputs={"question": "Where?", "where": {"zip": "08001"}}, output={"text": "x", "found": [1]},
        summary={"usage": {"gpt-4.1": {"prompt_tokens": 3}}}, attributes={"weave": {"kind": "agent"}, "env": "e"},
    )  # fmt: skip
    table = {key: "" if value is None else value for key, value in whole.items()
             if key not in ("inputs", "output", "summary", "attributes")}  # fmt: skip
    table |= {
        "inputs.question": "Where?",
        "inputs.where.zip": "08001",
        "output": "",
        "output.text": "x",
        "output.found": "[1]",
        "summary.usage.gpt-4.1.prompt_tokens": "3",
        "attributes.weave.kind": "agent",
        "attributes.env": "e",
        "exception": "",
    }
    trace, original = one(table), one(whole)
    assert trace.turns[0].spans[0].tokens == {"input": 3}
    assert trace.metadata["weave"].pop("summary") == {"usage": {"gpt-4.1": {"prompt_tokens": "3"}}}
    assert original.metadata["weave"].pop("summary") == {"usage": {"gpt-4.1": {"prompt_tokens": 3}}}
    assert trace == original


def test_columns_that_do_not_fit_together_are_kept_under_their_names() -> None:
    row = {"id": "1", "trace_id": "t", "inputs.a": "x", "inputs.a.b": "y", "output": "o", "output.c": "z"}
    trace = one(row)
    assert trace.turns[0].input == "x"
    assert trace.metadata == {"weave": {"inputs.a.b": "y", "output.c": "z"}}


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"trace_id": ""}, "no_id", "trace_id is missing or empty"),
        ({"op_name": "f", "parent_id": {}}, "bad_field", 'span "c1": parent_id must be a string or an integer'),
        ({"started_at": "x"}, "bad_time", 'started_at: "x" is not a time'),
        ({"summary": 5}, "bad_field", 'span "c1": summary must be an object'),
        ({"op_name": {}}, "bad_field", 'span "c1": op_name must be a text'),
    ],
)
def test_what_cannot_be_read_names_the_field(changes: dict[str, Any], kind: str, words: str) -> None:
    with pytest.raises(RejectedError) as error:
        traces_of(MAPPER, [call(**changes)])
    assert (error.value.kind, words in str(error.value)) == (kind, True)
