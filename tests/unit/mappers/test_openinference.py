from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers import MAPPERS
from pipeline.mappers.detect import detect_format, doubt
from pipeline.mappers.mapper import Piece
from pipeline.mappers.openinference import MAPPER, assemble, map_trace, piece_of, split
from pipeline.models import Span, Status, Trace, Turn
from tests.unit.mappers.assembling import traces_of

CRASH = {
    "name": "exception",
    "timestamp": "2026-08-22T08:00:00.500000+00:00",
    "attributes": {"exception.type": "ValueError", "exception.message": "boom", "exception.stacktrace": "Traceback"},
}
MINE = {"session.id": "conv-1", "user.id": "ann", "tag.tags": ["a"], "metadata.plan": "free"}
ANNOTATION = {
    "id": "VHJhY2U6MQ==",
    "created_at": "2026-08-23T08:00:00+00:00",
    "updated_at": "2026-08-24T08:00:00+00:00",
    "source": "API",
    "user_id": None,
    "name": "helpful",
    "annotator_kind": "HUMAN",
    "result": {"label": "yes", "score": 1.0, "explanation": None},
    "metadata": {},
    "identifier": "",
}


def span(span_id: str = "5a01", parent: str | None = None, /, **changes: Any) -> dict[str, Any]:
    known = {
        "id": "U3BhbjoxMg==", "name": "answer", "context": {"trace_id": "7a01", "span_id": span_id},
        "span_kind": "CHAIN", "parent_id": parent, "start_time": "2026-08-22T08:00:00.250000+00:00",
        "end_time": "2026-08-22T08:00:01.250000+00:00", "status_code": "OK", "status_message": "",
        "attributes": {"input.value": "hi", "output.value": "hello"}, "events": [],
    }  # fmt: skip
    return known | changes


def row(**changes: Any) -> dict[str, Any]:
    known = {
        "name": "answer", "span_kind": "CHAIN", "parent_id": None, "start_time": "2026-08-22T08:00:00.250000Z",
        "end_time": "2026-08-22T08:00:01.250000Z", "status_code": "OK", "status_message": "", "events": [],
        "context.span_id": "5a01", "context.trace_id": "7a01", "attributes.openinference.span.kind": "CHAIN",
        "attributes.input.value": "hi", "attributes.output.value": "hello", "attributes.llm.model_name": None,
        "__index_level_0__": "5a01",
    }  # fmt: skip
    return known | changes


def one(*records: Any) -> Trace:
    (trace,) = traces_of(MAPPER, records)
    return trace


def test_a_span_becomes_a_trace_of_one_turn() -> None:
    times = {"started_at": "2026-08-22T08:00:00.250000Z", "ended_at": "2026-08-22T08:00:01.250000Z"}
    said = {"input": "hi", "output": "hello"}
    assert one(span(attributes={"input.value": "hi", "output.value": "hello", "llm.system": "x", **MINE})) == Trace(
        id="7a01",
        conversation_id="conv-1",
        name="answer",
        user_id="ann",
        tags=("a",),
        turns=(
            Turn(
                **said,
                **times,
                latency_ms=1000.0,
                spans=(
                    Span(
                        id="5a01",
                        name="answer",
                        type="CHAIN",
                        metadata={"openinference": {"llm.system": "x"}},
                        **said,
                        **times,
                    ),
                ),
            ),
        ),
        metadata={"plan": "free"},
        origin={"format": "openinference"},
        revision="2026-08-22T08:00:01.250000Z",
        **times,
    )


def test_a_row_of_a_data_frame_is_the_same_trace() -> None:
    assert one(row()) == one(span())


def test_a_row_whose_id_is_only_its_index_is_the_same_trace() -> None:
    without = {key: value for key, value in row().items() if key != "context.span_id"}
    assert one(without) == one(span())


def test_nulls_that_parquet_adds_say_nothing() -> None:
    event = {"name": "note", "timestamp": None, "attributes": {"k": "v", "exception.type": None}}
    (mapped,) = one(row(events=[event], **{"attributes.metadata": {"a": None}})).turns[0].spans
    assert mapped.metadata == {"openinference": {"events": [{"name": "note", "attributes": {"k": "v"}}]}}


def test_attributes_as_json_in_a_text_are_read_too() -> None:
    nested = {"input": {"value": "hi"}, "output": {"value": "hello"}}
    assert one(span(attributes=json.dumps(nested))) == one(span())


def test_a_span_of_2023_has_its_conversation_beside_it_and_times_without_zone() -> None:
    trace = one(
        span(
            start_time="2023-11-02T08:00:00.250000", end_time=None, conversation={"conversation_id": "6f0c-11ee"},
            span_kind="LLM", attributes={"llm.messages": [["system", "s"], ["user", "hi"]], "output.value": "yo"},
        )
    )  # fmt: skip
    assert (trace.conversation_id, trace.started_at, trace.status) == (
        "6f0c-11ee",
        "2023-11-02T08:00:00.250000Z",
        Status.PENDING,
    )
    assert (trace.system, trace.turns[0].input, trace.turns[0].output) == ("s", "hi", "yo")
    assert trace.turns[0].spans[0].metadata == {}


def test_a_failed_span_tells_why() -> None:
    trace = one(span(status_code="ERROR", status_message="no", events=[CRASH]))
    assert (trace.status, trace.error) == (Status.FAILED, "no")
    assert trace.turns[0].spans[0].metadata == {"openinference": {"events": [CRASH]}}


def test_without_a_message_the_exception_tells_why() -> None:
    assert one(span(status_code="ERROR", events=[CRASH, {"name": "note"}])).error == "ValueError: boom"
    assert one(span(status_code="ERROR", events="odd")).error == "in error, without a message"


def test_an_unknown_status_and_a_message_without_error_are_kept() -> None:
    (mapped,) = one(span(status_code="MAYBE", status_message="m")).turns[0].spans
    assert mapped.metadata == {"openinference": {"status_code": "MAYBE", "status_message": "m"}}


def test_what_a_span_repeats_of_its_trace_is_left_out_and_what_differs_is_kept() -> None:
    other = {"session.id": "s2", "user.id": "bob", "tag.tags": ["b"], "metadata": '{"plan": "paid"}'}
    trace = one(
        span("5a01", attributes=MINE), span("5a02", "5a01", attributes=MINE), span("5a03", "5a01", attributes=other)
    )
    assert [each.metadata for each in trace.turns[0].spans] == [
        {},
        {},
        {"plan": "paid", "openinference": {"session.id": "s2", "user.id": "bob", "tag.tags": ["b"]}},
    ]


def test_a_session_that_only_an_inner_span_knows_counts() -> None:
    trace = one(span("5a02", "5a01", attributes=MINE), span("5a01"))
    assert (trace.conversation_id, trace.user_id, trace.tags, trace.metadata) == ("conv-1", "ann", (), {})


def test_metadata_of_the_name_openinference_is_moved_aside() -> None:
    trace = one(span(attributes={"metadata.openinference": 1, "trace.annotations.0.annotation.name": "n"}))
    assert trace.metadata == {"metadata.openinference": 1, "openinference": {"annotations": [{"name": "n"}]}}


def test_annotations_stay_with_their_span_and_those_of_the_trace_with_the_trace() -> None:
    as_attributes = {
        "annotations.0.annotation.name": "tone",
        "annotations.0.annotation.metadata": '{"k": 1}',
        "trace.annotations.0.annotation.name": "helpful",
    }
    trace = one(span(attributes=as_attributes))
    assert trace.metadata == {"openinference": {"annotations": [{"name": "helpful"}]}}
    tone = {"name": "tone", "metadata": {"k": 1}}
    assert trace.turns[0].spans[0].metadata == {"openinference": {"annotations": [tone]}}
    (mapped,) = one(span(annotations=[{"name": "tone", "result": {"score": 1}}], notes=[{"name": "n"}])).turns[0].spans
    assert mapped.metadata == {
        "openinference": {"annotations": [{"name": "tone", "result": {"score": 1}}], "notes": [{"name": "n"}]}
    }


def test_an_annotation_of_a_trace_finds_its_trace_and_makes_it_newer() -> None:
    trace = one({"data": [ANNOTATION | {"trace_id": "7a01"}], "next_cursor": None}, span())
    assert trace.metadata == {"openinference": {"annotations": [ANNOTATION]}}
    assert trace.revision == "2026-08-24T08:00:00.000000Z"


def test_annotations_without_spans_are_rejected() -> None:
    with pytest.raises(RejectedError, match="no span of this trace"):
        assemble([ANNOTATION | {"trace_id": "7a01"}])


def test_the_state_of_a_span_that_was_annotated_last_counts() -> None:
    late = span(annotations=[ANNOTATION])
    assert one(late, span()) == one(late)
    assert one(late).revision == "2026-08-24T08:00:00.000000Z"


@pytest.mark.parametrize("of", ["span", "session"])
def test_an_annotation_that_names_no_trace_is_rejected_with_the_way_out(of: str) -> None:
    with pytest.raises(RejectedError, match=f"an annotation of a {of}, which names no trace; export spans with their"):
        piece_of(ANNOTATION | {f"{of}_id": "x"})


def test_a_page_is_split_into_its_spans() -> None:
    page = {"data": [span("5a01"), span("5a02")], "next_cursor": "U3Bhbjox"}
    assert list(split(page)) == [("item 1", span("5a01")), ("item 2", span("5a02"))]


def test_a_trace_of_the_cli_is_split_into_its_spans_and_what_else_it_says() -> None:
    envelope = {
        "traceId": "7a01", "spans": [span("5a02", "5a01"), span()], "rootSpan": span(), "duration": 1000,
        "startTime": "2026-08-22T08:00:00.250Z", "endTime": "2026-08-22T08:00:01.250Z", "status": "OK",
        "annotations": [ANNOTATION], "notes": [],
    }  # fmt: skip
    assert list(split(envelope)) == [
        ("item 1", span("5a02", "5a01")),
        ("item 2", span()),
        ("trace", {"traceId": "7a01", "annotations": [ANNOTATION]}),
    ]
    trace = one(envelope)
    assert trace == map_trace(envelope)
    assert trace.metadata == {"openinference": {"annotations": [ANNOTATION]}}
    assert len(trace.turns[0].spans) == 2


def test_a_span_says_what_it_is_a_part_of_and_which_state_is_newer() -> None:
    times = ("2026-08-22T08:00:00.250000Z", "2026-08-22T08:00:01.250000Z")
    assert piece_of(span()) == piece_of(row()) == Piece("7a01", "5a01", times[1], *times)
    assert piece_of(span(end_time=None)) == Piece("7a01", "5a01", "", times[0], None)


def test_the_ended_state_of_a_span_counts_whichever_comes_first() -> None:
    running = span(end_time=None, attributes={"input.value": "hi"})
    assert one(running, span()) == one(span(), running) == one(span())


def test_a_missing_parent_marks_the_trace_as_partial() -> None:
    assert one(span("5a02", "5a01")).partial == "1 parent span(s) not in the export: 5a01"


def test_an_empty_page_holds_nothing() -> None:
    assert traces_of(MAPPER, [{"data": [], "next_cursor": None}]) == []


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        (None, "not_an_object", "null, not an object"),
        ({"data": [3]}, "not_an_object", "a number, not an object"),
        (span(context="x"), "bad_field", "context must be an object, not a text"),
        (span(context={"span_id": "5a01"}), "no_id", "context.trace_id is missing or empty; export whole spans"),
        (row(**{"context.span_id": "", "__index_level_0__": ""}), "no_id", "context.span_id is missing"),
        ({"traceId": "", "annotations": [1]}, "no_id", "traceId is missing"),
        (span(start_time="soon"), "bad_time", 'start_time: "soon" is not a time'),
        (span(end_time=[]), "bad_time", "end_time: list is not a time"),
        (span(attributes=[1]), "bad_field", r"spans\[0\].attributes must be an object, not a list of 1"),
        (span(parent_id=[]), "bad_field", r"spans\[0\].parent_id must be a string"),
        (span(name={}), "bad_field", r"spans\[0\].name must be a text"),
        (span(status_code=[1]), "bad_field", r"spans\[0\].status_code must be a text"),
        ({"trace_id": "7a01", "spans": [{"span_id": "5a01"}]}, "not_a_span", "lists a trace without what was said"),
        ({"data": [span(), span(context={"trace_id": "7a02", "span_id": "5"})]}, "several_traces", "several traces"),
    ],
)
def test_a_record_that_cannot_be_mapped_is_rejected_with_the_field_and_the_way_out(
    record: Any, kind: str, words: str
) -> None:
    with pytest.raises(RejectedError, match=words) as caught:
        map_trace(record)
    assert caught.value.kind == kind


def test_spans_nested_too_deep_are_rejected() -> None:
    deep: Any = "x"
    for _ in range(3_000):
        deep = [deep]
    with pytest.raises(RejectedError, match=r"spans\[0\].attributes: nested too deep"):
        assemble([span(events=deep)])


@pytest.mark.parametrize(
    "record",
    [
        span(),
        row(),
        {"data": [span()], "next_cursor": None},
        {"traceId": "7a01", "spans": [span()]},
        ANNOTATION | {"trace_id": "7a01"},
        {"data": [ANNOTATION | {"trace_id": "7a01"}]},
        span(conversation=None, end_time=None),
    ],
)
def test_what_phoenix_exports_is_recognised(record: Any) -> None:
    guess = detect_format([record])
    assert guess.is_sure
    assert guess.mapper is MAPPERS["openinference"]


def test_annotations_of_spans_are_named_and_not_recognised() -> None:
    sentence = doubt(detect_format([{"data": [ANNOTATION | {"span_id": "5a01"}]}]))
    assert "annotations of Phoenix spans, which name no trace; export spans with their annotations" in sentence


@pytest.mark.parametrize(
    "record",
    [
        {"spans": [{"context": {"trace_id": 1, "span_id": 2}, "attributes": {}}]},
        {"name": "n", "kind": "SpanKind.INTERNAL", "context": {"trace_id": "0x1", "span_id": "0x2"},
         "parent_id": None, "start_time": "2026-08-22T08:00:00Z", "status": {"status_code": "UNSET"}, "attributes": {}},
        {"data": [{"traceID": "1", "spans": []}]},
        {"traceID": "1", "spans": []},
        {"context.span_id": "5a01", "input": "hi"},
        {"data": []},
    ],
)  # fmt: skip
def test_other_formats_are_not_taken_for_phoenix(record: Any) -> None:
    guess = detect_format([record])
    assert not (guess.is_sure and guess.mapper is MAPPERS["openinference"])
