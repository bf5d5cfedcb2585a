from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.langfuse import MAPPER
from pipeline.models import Status, Trace, Turn


def ui_row(**changes: Any) -> dict[str, Any]:
    """A row of the UI's or API's list of traces."""
    row = {
        "id": "t-1", "timestamp": "2026-08-22T08:00:00.123Z", "name": "chat", "userId": "u", "sessionId": "s",
        "release": "r1", "version": "v1", "environment": "production", "tags": ["a", "b"], "public": False,
        "bookmarked": True, "input": {"q": "hi"}, "output": "hello", "metadata": {"k": 1}, "scores": [{"value": 1}],
        "comments": None, "htmlPath": "", "projectId": "p", "updatedAt": "2026-08-22T08:00:05.000Z",
    }  # fmt: skip
    return row | changes


def blob_row(**changes: Any) -> dict[str, Any]:
    """A row of the blob export's traces table."""
    row = {
        "id": "t-1", "timestamp": "2026-08-22 08:00:00.123000", "name": "chat", "environment": "production",
        "project_id": "p", "metadata": {"k": 1}, "user_id": "u", "session_id": "s", "release": "r1", "version": "v1",
        "public": False, "bookmarked": True, "tags": ["a", "b"], "input": '{"q": "hi"}', "output": "hello",
        "updated_at": "2026-08-22 08:00:05.000000",
    }  # fmt: skip
    return row | changes


def observation(**changes: Any) -> dict[str, Any]:
    row = {
        "id": "o-1", "traceId": "t-1", "type": "GENERATION", "parentObservationId": None, "name": "call",
        "startTime": "2026-08-22T08:00:00.200Z", "endTime": "2026-08-22T08:00:01.000Z", "level": "DEFAULT",
        "input": "in", "output": "out", "model": "m", "usageDetails": {"input": 2}, "totalCost": 0.5,
    }  # fmt: skip
    return row | changes


def download(*observations: dict[str, Any], **changes: Any) -> dict[str, Any]:
    def twice(value: Any) -> str:
        return json.dumps(json.dumps(value))

    trace = ui_row() | {"input": twice({"q": "hi"}), "output": twice("hello"), "metadata": json.dumps({"k": 1})}
    return {"trace": trace | changes, "observations": list(observations)}


def rejected(record: Any) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        MAPPER.map_trace(record)
    return caught.value


def test_a_row_of_the_ui_export_becomes_a_trace_of_one_turn() -> None:
    assert MAPPER.map_trace(ui_row()) == Trace(
        id="t-1",
        conversation_id="s",
        name="chat",
        started_at="2026-08-22T08:00:00.123000Z",
        user_id="u",
        tags=("a", "b"),
        environment="production",
        release="r1",
        version="v1",
        status=Status.COMPLETED,
        turns=(Turn(input={"q": "hi"}, output="hello", started_at="2026-08-22T08:00:00.123000Z"),),
        metadata={"k": 1, "langfuse": {"public": False, "bookmarked": True, "scores": [{"value": 1}]}},
        origin={"format": "langfuse", "project": "p"},
        revision="2026-08-22T08:00:05.000000Z",
    )


def test_a_blob_row_and_a_ui_row_of_one_trace_are_the_same_trace() -> None:
    ui = ui_row(scores=None)
    assert MAPPER.map_trace(blob_row()) == MAPPER.map_trace(ui)


def test_a_download_is_decoded_and_its_observations_are_the_spans() -> None:
    trace = MAPPER.map_trace(download(observation()))
    assert (trace.turns[0].input, trace.turns[0].output, trace.metadata["k"]) == ({"q": "hi"}, "hello", 1)
    assert [span.id for span in trace.turns[0].spans] == ["o-1"]
    assert (trace.ended_at, trace.models, trace.tokens, trace.cost) == (
        "2026-08-22T08:00:01.000000Z",
        ("m",),
        {"input": 2},
        0.5,
    )
    assert trace.turns[0].latency_ms == 877.0


@pytest.mark.parametrize(
    ("output", "context"),
    [
        ([{"page_content": "one", "metadata": {"n": 1}}, {"page_content": "two"}], "one\n\ntwo"),
        ('{"documents": ["one", "two"]}', "one\n\ntwo"),
        ("one", "one"),
        ({"score": 1}, None),
    ],
)
def test_what_retrievers_found_is_the_retrieval_context(output: Any, context: str | None) -> None:
    found = observation(id="o-2", type="RETRIEVER", name="search", output=output)
    trace = MAPPER.map_trace(download(observation(), found))
    assert trace.turns[0].retrieval_context == context


def test_an_api_trace_with_embedded_observations_is_the_same_as_its_download() -> None:
    assert MAPPER.map_trace(ui_row(observations=[observation()])) == MAPPER.map_trace(download(observation()))


def test_the_outer_observations_of_a_download_count_before_those_inside_the_trace() -> None:
    hollow = observation(input=None, output=None)
    only_inside = observation(id="o-2", startTime="2026-08-22T08:00:02.000Z", endTime="2026-08-22T08:00:03.000Z")
    trace = MAPPER.map_trace(download(observation(), observations=[hollow, only_inside]))
    assert [(span.id, span.input) for span in trace.turns[0].spans] == [("o-1", "in"), ("o-2", "in")]


def test_ids_of_observations_are_kept_where_the_api_lists_only_these() -> None:
    trace = MAPPER.map_trace(ui_row(observations=["o-1", "o-2"]))
    assert trace.metadata["langfuse"]["observations"] == ["o-1", "o-2"]
    assert trace.turns[0].spans == ()


@pytest.mark.parametrize("session", ["", None, "  "])
def test_an_empty_session_is_no_conversation(session: str | None) -> None:
    assert MAPPER.map_trace(ui_row(sessionId=session)).conversation_id is None


def test_a_session_id_that_is_a_number_is_kept_as_its_digits() -> None:
    assert MAPPER.map_trace(ui_row(sessionId=0)).conversation_id == "0"


def test_fields_that_we_do_not_model_are_kept_unless_they_are_empty() -> None:
    trace = MAPPER.map_trace(ui_row(myScore=0, note="", flag=False, latency=1.5))
    kept = trace.metadata["langfuse"]
    assert kept == {
        "public": False, "bookmarked": True, "scores": [{"value": 1}], "myScore": 0, "flag": False, "latency": 1.5,
    }  # fmt: skip


def test_metadata_that_is_no_object_is_kept_too() -> None:
    assert MAPPER.map_trace(ui_row(metadata="a note")).metadata["metadata"] == "a note"


def test_without_observations_the_latency_comes_from_the_row() -> None:
    assert MAPPER.map_trace(ui_row(latency=1.5)).turns[0].latency_ms == 1500.0


def test_the_totals_of_the_row_count_before_the_sums_of_the_observations() -> None:
    trace = MAPPER.map_trace(ui_row(observations=[observation()], totalCost="0.75", usageDetails={"total": "9"}))
    assert (trace.cost, trace.tokens) == (0.75, {"total": 9})


def test_a_row_without_output_is_complete_because_nothing_says_otherwise() -> None:
    trace = MAPPER.map_trace(ui_row(output=None))
    assert (trace.status, trace.turns[0].output, trace.ended_at) == (Status.COMPLETED, None, None)


def test_a_text_input_stays_a_text() -> None:
    assert MAPPER.map_trace(blob_row(input="12", output="null")).turns[0] == Turn(
        input="12", output="null", started_at="2026-08-22T08:00:00.123000Z"
    )


def test_the_newest_of_trace_and_observations_is_the_revision() -> None:
    late = observation(updatedAt="2026-08-23T00:00:00.000Z")
    assert MAPPER.map_trace(ui_row(observations=[late])).revision == "2026-08-23T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        (None, "not_an_object", "null, not an object"),
        (["t-1"], "not_an_object", "a list of 1, not an object"),
        (ui_row(id=""), "no_id", "id is missing"),
        ({key: value for key, value in ui_row().items() if key != "id"}, "no_id", "id is missing"),
        (ui_row(id=True), "bad_field", "id must be a string or an integer, not true"),
        (ui_row(timestamp="yesterday"), "bad_time", 'timestamp: "yesterday" is not a time'),
        (blob_row(updated_at=[1]), "bad_time", "updated_at: list is not a time"),
        (ui_row(name={"a": 1}), "bad_field", "name must be a text, not an object"),
        (blob_row(session_id=[1]), "bad_field", "session_id must be a string or an integer"),
        (ui_row(tags=[{}]), "bad_field", r"tags\[0\] must be a text"),
        (ui_row(totalCost="cheap"), "bad_field", "totalCost must be a number"),
        (ui_row(observations=[observation(), 3]), "bad_field", r"observations\[1\] must be an object, not a number"),
        (download(observation(id=None)), "no_id", r"observations\[0\].id is missing"),
        (download(observation(startTime="soon")), "bad_time", r"observations\[0\].startTime"),
        ({"id": "x", "name": "n"}, "not_a_whole_trace", "no Langfuse trace"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_mapped_is_rejected_with_the_field_and_the_way_out(
    record: Any, kind: str, words: str
) -> None:
    with pytest.raises(RejectedError, match=words) as caught:
        MAPPER.map_trace(record)
    assert caught.value.kind == kind
    assert "format: custom" in str(caught.value)


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (observation(), "a Langfuse observation (a span), not a whole trace; import it together with"),
        (
            {"id": "o", "trace_id": "t", "type": "SPAN", "start_time": "2026-08-22 08:00:00", "level": "DEFAULT"},
            "observation",
        ),
        (
            {"id": "s", "traceId": "t", "timestamp": "2026-08-22", "name": "n", "value": 1, "source": "API"},
            "a Langfuse score",
        ),
        ({"id": "s", "name": "n", "value": 1, "source": "API"}, "a Langfuse score, not a whole trace; import it"),
        ({"data": [ui_row()], "meta": {"page": 1}}, "a page of an API"),
        ({"traceId": "t", "spanId": "s", "startTimeUnixNano": "1"}, "a part of a trace"),
    ],
)
def test_what_is_not_a_whole_trace_is_rejected_with_what_it_is(record: Any, what: str) -> None:
    error = rejected(record)
    assert error.kind == "not_a_whole_trace"
    assert what in str(error)


@pytest.mark.parametrize(
    "record",
    [
        {"id": "s", "createdAt": "2026-08-22", "projectId": "p", "countTraces": 3},
        {"id": "s", "createdAt": "2026-08-22", "projectId": "p", "environment": "default"},
        {"version": 1, "projectId": "p", "exportSource": "x", "window": {}, "tables": ["scores"], "files": []},
        {"id": "s", "trace_id": None, "session_id": "c", "name": "n", "value": 1, "source": "API"},
        {"id": "s", "trace_id": "", "dataset_run_id": "r", "name": "n", "value": 1, "source": "API"},
        {"id": "s", "name": "n", "value": 1, "source": "API", "subject": {"kind": "session", "id": "c"}},
    ],
)
def test_what_belongs_to_no_trace_is_ignored(record: Any) -> None:
    assert MAPPER.piece_of is not None
    assert MAPPER.piece_of(record) is None
    assert MAPPER.map_trace(record) is None
