from __future__ import annotations

from typing import Any

import pytest

from pipeline.mappers import MAPPERS
from pipeline.mappers.detect import Guess, detect_format, doubt
from pipeline.mappers.mapper import Detection, Mapper
from tests.unit.mappers import otlp_records

UI = {"id": "1", "timestamp": "2026-01-01", "name": "n", "userId": "u", "sessionId": "s", "release": None, "tags": [],
      "public": False, "bookmarked": False, "input": "q", "output": "a"}  # fmt: skip
BLOB = {"id": "1", "timestamp": "2026-01-01", "name": "n", "user_id": "u", "session_id": "s", "project_id": "p",
        "tags": [], "public": False, "input": "q", "output": "a", "updated_at": "2026-01-01"}  # fmt: skip
DOWNLOAD = {"trace": {"id": "1"}, "observations": []}
OBSERVATION = {"id": "o", "traceId": "t", "parentObservationId": None, "type": "SPAN", "startTime": "2026-01-01"}
SCORE = {"id": "s", "timestamp": "2026-01-01", "trace_id": "t", "observation_id": None, "name": "n", "value": 1,
         "source": "API", "data_type": "NUMERIC"}  # fmt: skip
OPENAI = {"messages": [{"role": "user", "content": "q"}]}
SHAREGPT = {"id": "identity_0", "conversations": [{"from": "human", "value": "q"}]}
OPIK = {"trace": {"id": "1", "start_time": "2026-01-01"}, "spans": [], "downloaded_at": "2026-01-02"}
HELICONE = {"request_id": "1", "request_created_at": "2026-01-01", "response_status": 200, "delay_ms": 1,
            "request_body": {"messages": []}, "request_properties": {}}  # fmt: skip
MLFLOW = {"info": {"trace_id": "tr-1", "state": "OK"}, "data": {"spans": []}}
RUN = {"id": "1", "trace_id": "1", "run_type": "chain", "inputs": {"input": "q"}, "outputs": None, "extra": {}}
UPDATE = {"id": "1", "dotted_order": "20260822T080000000000Z1", "end_time": "2026-01-01", "outputs": {}}
EXAMPLE = {"inputs": {"question": "q"}, "outputs": {"answer": "a"}, "metadata": {}}
TAU = {"task_id": 0, "reward": 1.0, "info": {}, "trial": 0, "traj": [{"role": "user", "content": "q"}]}
PHOENIX = {"name": "n", "span_kind": "LLM", "context": {"trace_id": "1", "span_id": "2"}, "start_time": "2026-01-01"}
BRAINTRUST = {"id": "1", "span_id": "s", "root_span_id": "t", "span_attributes": {"name": "n"}, "_xact_id": "1"}
WEAVE = {"id": "1", "trace_id": "t", "op_name": "f", "started_at": "2026-01-01", "inputs": {}, "output": None}
WEAVE_TABLE = {"id": "1", "trace_id": "t", "op_name": "f", "started_at": "2026-01-01", "inputs.q": "a"}
DATADOG = {"trace_id": "t", "span_id": "s", "start_ns": 1, "span_kind": "llm", "ml_app": "a", "tags": []}
DATADOG_EVENT = {"trace_id": "t", "span_id": "s", "start_ns": 1, "meta": {"span": {"kind": "llm"}}, "status": "ok"}
WILDCHAT = {"conversation_hash": "h", "timestamp": "2026-01-01", "conversation": [{"role": "user", "content": "q"}]}


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (UI, "langfuse"),
        (BLOB, "langfuse"),
        (DOWNLOAD, "langfuse"),
        (OBSERVATION, "langfuse"),
        (SCORE, "langfuse"),
        ({"id": "s", "name": "n", "source": "EVAL", "value": 1, "subject": {"kind": "trace", "id": "t"}}, "langfuse"),
        ({"data": [UI], "meta": {"page": 1, "limit": 50, "totalItems": 1, "totalPages": 1}}, "langfuse"),
        ({"data": [OBSERVATION, OBSERVATION], "meta": {"cursor": "x"}}, "langfuse"),
        ({"data": [SCORE], "meta": {"cursor": None, "limit": 50}}, "langfuse"),
        ({"data": [], "meta": {"page": 1, "limit": 50, "totalItems": 0, "totalPages": 0}}, "langfuse"),
        ({"id": "s", "createdAt": "2026-01-01", "userIds": [], "countTraces": 1, "sessionDuration": 1}, "langfuse"),
        ({"id": "s", "createdAt": "2026-01-01", "projectId": "p", "environment": "default"}, "langfuse"),
        ({"id": "s", "createdAt": "2026-01-01", "projectId": "p", "traces": [UI]}, "langfuse"),
        ({"version": 1, "projectId": "p", "exportSource": "x", "tables": [], "files": []}, "langfuse"),
        (OPENAI, "chat"),
        (SHAREGPT, "chat"),
        (WILDCHAT, "chat"),
        (TAU, "chat"),
        (OPIK, "opik"),
        (HELICONE, "helicone"),
        (MLFLOW, "mlflow"),
        *[(record, "otlp") for record in otlp_records.VALID],
        ({"resourceMetrics": []}, "otlp"),
        (RUN, "langsmith"),
        ({"run_type": "llm", "id": 1, "trace_id": 2}, "langsmith"),
        ({"run_id": "1", "run_type": "llm", "parent_run_id": None, "inputs": None}, "langsmith"),
        ({"runs": [RUN], "cursors": {"next": None}}, "langsmith"),
        ({"items": [RUN | {"run_type": "CHAIN"}]}, "langsmith"),
        ({"post": [], "patch": [UPDATE]}, "langsmith"),
        (UPDATE, "langsmith"),
        (EXAMPLE, "langsmith-dataset"),
        (EXAMPLE | {"id": "e", "dataset_id": "d", "outputs": None}, "langsmith-dataset"),
        (PHOENIX, "openinference"),
        (BRAINTRUST, "braintrust"),
        ({"events": [BRAINTRUST], "cursor": "x"}, "braintrust"),
        ({"data": [BRAINTRUST], "schema": {}, "cursor": None}, "braintrust"),
        (WEAVE, "weave"),
        ({"calls": [WEAVE]}, "weave"),
        (WEAVE_TABLE, "weave"),
        (DATADOG, "datadog"),
        (DATADOG_EVENT, "datadog"),
        ({"id": "s", "type": "span", "attributes": DATADOG}, "datadog"),
        ({"data": [{"id": "s", "type": "span", "attributes": DATADOG}], "meta": {}, "links": {}}, "datadog"),
    ],
)
def test_each_format_is_recognised(record: Any, name: str) -> None:
    guess = detect_format([record])
    assert guess.is_sure
    assert guess.mapper is MAPPERS[name]


@pytest.mark.parametrize(
    "record",
    [
        {"id": "s", "trace_id": "t", "start_time": "2026-01-01", "type": "llm", "parent_span_id": None},
        {"id": "r", "trace_id": "t", "run_type": "llm", "start_time": "2026-01-01", "level": 1, "parent_run_id": None},
        {"traceId": "t", "spanId": "s", "parentSpanId": "", "startTimeUnixNano": "1", "name": "n"},
        {"context": {"trace_id": "t"}, "span_kind": "LLM", "start_time": "2026-01-01"},
        {"trace_id": "t", "op_name": "o", "started_at": "2026-01-01", "inputs": {}},
        {"data": [{"traceID": "t", "spans": []}], "meta": {}},
        {"id": "p", "name": "n", "source": "web", "value": 1},
        {"data": [{"id": "prompt", "name": "n"}], "meta": {"page": 1, "limit": 50, "totalItems": 1, "totalPages": 1}},
    ],
)
def test_records_of_others_are_not_taken_for_langfuse(record: Any) -> None:
    assert MAPPERS["langfuse"].detect([record]).confidence <= 0.3


@pytest.mark.parametrize("odd", [None, 7, "text", [1], {}, {"foo": 1}, OBSERVATION])
@pytest.mark.parametrize("record", [UI, OPENAI])
def test_a_few_odd_records_do_not_spoil_the_guess(record: Any, odd: Any) -> None:
    assert detect_format([odd, *[record] * 5, odd]).is_sure


def test_a_file_that_is_half_something_else_is_doubtful() -> None:
    assert not detect_format([UI, {"foo": 1}] * 5).is_sure
    assert not detect_format([UI, OPENAI] * 5).is_sure


@pytest.mark.parametrize("sample", [[], [None], [None, None]])
def test_a_file_without_records_has_no_format(sample: list[Any]) -> None:
    assert doubt(detect_format(sample)).startswith("format not recognised: there is no readable record")


def test_a_plain_log_with_times_is_not_taken_for_langfuse() -> None:
    log = {"id": 1, "timestamp": "2026-01-01", "user_id": 1, "session_id": 2, "input": "q", "output": "a"}
    guess = detect_format([log])
    assert not guess.is_sure
    assert "nearest is langfuse (0.5" in doubt(guess)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"messages_display": "user: hi"}, "format: custom can map as input"),
    ],
)
def test_a_known_format_that_comes_later_is_named(record: Any, words: str) -> None:
    guess = detect_format([record] * 3)
    assert not guess.is_sure
    assert words in doubt(guess)


@pytest.mark.parametrize(
    "record",
    [
        {"inputs": {"q": 1}, "expectations": {"a": 1}},
        {"inputs": "q", "outputs": "a"},
        {"inputs": {"q": 1}, "outputs": {"a": 1}, "score": 1, "latency": 2},
        {"runs": 3, "failed": 0},
        {"items": [{"id": "1", "name": "n"}]},
        {"run_id": "7", "status": "ok", "inputs": {"x": 1}},
    ],
)
def test_other_records_with_inputs_or_runs_are_not_taken_for_langsmith(record: Any) -> None:
    assert not detect_format([record]).is_sure


def test_single_messages_are_named() -> None:
    assert "one message (role, content), not a whole conversation" in doubt(detect_format(OPENAI["messages"]))


def fixed(name: str, confidence: float) -> Mapper:
    return Mapper(name, name, lambda sample: Detection(confidence, f"so says {name}"), MAPPERS["chat"].map_trace)


@pytest.mark.parametrize(
    ("best", "second", "is_sure"), [(0.7, 0.5, True), (0.69, 0.0, False), (0.9, 0.75, False), (1.0, 0.0, True)]
)
def test_a_guess_is_sure_from_seven_tenths_and_two_tenths_ahead(best: float, second: float, is_sure: bool) -> None:
    assert detect_format([{}], [fixed("b", second), fixed("a", best)]).is_sure is is_sure


def test_two_formats_that_both_fit_are_both_named() -> None:
    sentence = doubt(detect_format([{}], [fixed("a", 0.9), fixed("b", 0.85)]))
    assert sentence.startswith(
        "format not clear: both a (0.9: so says a) and b (0.85: so says b) fit; say source.format"
    )


def test_no_guess_is_never_sure() -> None:
    assert not Guess(None, 1.0, "").is_sure
