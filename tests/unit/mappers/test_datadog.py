from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.datadog import MAPPER
from pipeline.models import Span, Status, Trace
from tests.unit.mappers.assembling import traces_of

START = 1787385600250000001


def attributes(span_id: str = "1", parent: str = "undefined", **changes: Any) -> dict[str, Any]:
    """The attributes of a span as the export API gives them."""
    return {
        "trace_id": "t1",
        "span_id": span_id,
        "parent_id": parent,
        "name": f"span {span_id}",
        "span_kind": "workflow",
        "ml_app": "parcels",
        "start_ns": START,
        "duration": 2_000_000_000,
        "status": "ok",
        **changes,
    }


def item(*args: Any, **changes: Any) -> dict[str, Any]:
    span = attributes(*args, **changes)
    return {"id": span["span_id"], "type": "span", "attributes": span}


def one(*spans: Any) -> Trace:
    [trace] = traces_of(MAPPER, spans)
    return trace


def span_of(**changes: Any) -> Span:
    return one(item("0", start_ns=START - 10**9), item("1", "0", **changes)).turns[0].spans[-1]


def test_the_spans_of_one_trace_id_are_a_trace_with_what_the_root_says() -> None:
    tags = ["env:staging", "version:7", "service:bot", "user_id:ann", "session_id:s-1", "ml_app:parcels", "error:0"]
    root = item(
        input={"value": "Where?"}, output={"value": "In Girona."}, metadata={"plan": "gold"},
        tags=[*tags, "language:"], evaluation={"toxic": {"value": "no"}},
    )  # fmt: skip
    trace = one(item("2", "1", tags=[*tags, "step:2"], intent="find"), root)
    assert (trace.id, trace.name, trace.conversation_id, trace.user_id) == ("t1", "span 1", "s-1", "ann")
    assert (trace.environment, trace.version, trace.tags) == ("staging", "7", ("service:bot",))
    assert (trace.status, trace.origin) == (Status.COMPLETED, {"format": "datadog", "project": "parcels"})
    assert (trace.turns[0].input, trace.turns[0].output) == ("Where?", "In Girona.")
    assert trace.metadata == {"plan": "gold", "datadog": {"evaluation": {"toxic": {"value": "no"}}}}
    kept = [span.metadata for span in trace.turns[0].spans]
    assert kept == [{}, {"datadog": {"intent": "find", "tags": ["step:2"]}}]


def test_nanoseconds_are_whole_numbers_and_cut_to_microseconds() -> None:
    span = span_of(start_ns=str(START + 999), duration=1.5e9)
    assert (span.started_at, span.ended_at) == ("2026-08-22T08:00:00.250001Z", "2026-08-22T08:00:01.750001Z")


def test_a_start_in_milliseconds_is_seen_by_its_size() -> None:
    span = span_of(start_ns=1787385600250, duration=83_000)
    assert (span.started_at, span.ended_at) == ("2026-08-22T08:00:00.250000Z", "2026-08-22T08:00:00.250083Z")


def test_without_a_duration_a_span_has_not_ended() -> None:
    assert one(item(duration=None)).status is Status.PENDING


def test_a_call_of_a_model_has_model_tokens_and_a_cost_in_dollars() -> None:
    metrics = {"input_tokens": 10.0, "output_tokens": 10, "total_tokens": 20, "cache_read_input_tokens": 0,
               "estimated_input_cost": 1500, "estimated_total_cost": 7500}  # fmt: skip
    span = span_of(span_kind="llm", model_name="gpt-4o-mini", model_provider="openai", metrics=metrics)
    assert (span.type, span.model, span.cost) == ("GENERATION", "gpt-4o-mini", 0.0000075)
    assert span.tokens == {"input": 10, "output": 10, "total": 20, "cache_read_input_tokens": 0}
    assert span.metadata == {"datadog": {"model_provider": "openai", "metrics": {"estimated_input_cost": 1500}}}


MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"value": "hi"}, "hi"),
        ({"value": '{"a": 1}'}, {"a": 1}),
        ({"messages": MESSAGES}, MESSAGES),
        ({"value": "hi", "messages": MESSAGES}, MESSAGES),
        ({"value": "else", "messages": MESSAGES}, {"value": "else", "messages": MESSAGES}),
        ({"documents": [{"text": "d"}]}, [{"text": "d"}]),
        ({"messages": MESSAGES, "prompt": {"id": "p"}}, {"messages": MESSAGES, "prompt": {"id": "p"}}),
        ({"prompt": {"id": "p"}}, {"prompt": {"id": "p"}}),
        ("hi", "hi"),
        ({}, None),
    ],
)
def test_what_went_in_is_the_one_thing_that_is_told_of_it(given: Any, told: Any) -> None:
    assert span_of(input=given).input == told


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"status": "error"}, "in error, without a message"),
        ({"status": "error", "tags": ["error:1", "error_type:ValueError"]}, "ValueError"),
        ({"tags": ["error:1"]}, "in error, without a message"),
        ({"status": "error", "status_message": "no"}, "no"),
        ({"status": "error", "error": {"type": "ValueError", "message": "no", "stack": "…"}}, "ValueError: no"),
        ({"status": "error", "error": "no"}, "no"),
        ({"status": "ok", "error": 0}, None),
    ],
)
def test_an_error_is_what_the_span_tells_of_it(changes: dict[str, Any], error: str | None) -> None:
    trace = one(item(**changes))
    assert (trace.error, trace.status is Status.FAILED) == (error, error is not None)


def test_an_unknown_kind_and_status_are_kept() -> None:
    span = span_of(span_kind="judge", status="odd")
    assert (span.type, span.metadata) == ("SPAN", {"datadog": {"span_kind": "judge", "status": "odd"}})


def test_an_event_of_an_sdk_is_read_with_its_costs_in_dollars() -> None:
    event = {
        "trace_id": "t1", "span_id": "2", "parent_id": "1", "name": "find", "start_ns": START, "duration": 1000,
        "status": "error", "tags": ["ml_app:parcels", "error:1", "error_type:E"], "metrics": {"total_cost": 0.5},
        "meta": {"span": {"kind": "retrieval"}, "input": {"value": "q"}, "output": {"documents": [{"text": "d"}]},
                 "error": {"type": "E", "message": "no", "stack": "Traceback …"}, "metadata": {"k": "v"}},
    }  # fmt: skip
    trace = one(item(), event)
    span = trace.turns[0].spans[1]
    assert (span.type, span.input, span.cost, span.error) == ("RETRIEVER", "q", 0.5, "E: no")
    assert span.metadata == {"k": "v", "datadog": {"error": {"stack": "Traceback …"}}}
    assert trace.turns[0].retrieval_context == "d"


def test_a_page_its_items_and_their_attributes_are_the_same_trace() -> None:
    page = {"data": [item("2", "1"), item()], "meta": {"page": {"after": "x"}}, "links": {"next": "x"}}
    assert traces_of(MAPPER, [page]) == traces_of(MAPPER, page["data"])
    assert traces_of(MAPPER, [attributes("2", "1"), attributes()]) == traces_of(MAPPER, page["data"])


def test_a_session_that_only_an_inner_span_knows_is_the_conversation() -> None:
    assert one(item(), item("2", "1", session_id="s-2")).conversation_id == "s-2"


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"trace_id": None}, "no_id", "trace_id is missing"),
        ({"start_ns": "x"}, "bad_field", "start_ns must be a number"),
        ({"start_ns": 10**30}, "bad_time", "start_ns: "),
        ({"metrics": {"input_tokens": 0.5}}, "bad_field", 'span "1": metrics.input_tokens must be a whole number'),
        ({"tags": {"a": 1}}, "bad_field", 'span "1": tags must be a list of texts'),
    ],
)
def test_what_cannot_be_read_names_the_field(changes: dict[str, Any], kind: str, words: str) -> None:
    with pytest.raises(RejectedError) as error:
        traces_of(MAPPER, [item(**changes)])
    assert (error.value.kind, words in str(error.value)) == (kind, True)
