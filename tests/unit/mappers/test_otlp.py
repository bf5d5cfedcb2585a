from __future__ import annotations

import base64
from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.detect import detect_format
from pipeline.mappers.mapper import Piece
from pipeline.mappers.otlp import MAPPER, piece_of, split
from pipeline.models import Span, Status, Trace, Turn
from tests.unit.mappers.assembling import traces_of
from tests.unit.mappers.otlp_records import (
    CALL,
    CHILD,
    ROOT,
    START,
    TRACE,
    attributes,
    event,
    jaeger,
    jaeger_span,
    log,
    log_request,
    request,
    sdk_span,
    span,
)

AT, END = "2026-08-22T08:00:00.000000Z", "2026-08-22T08:00:01.000000Z"
LINE = {"name": "lib", "version": "1.0"}


def one(*records: Any) -> Trace:
    [trace] = traces_of(MAPPER, records)
    return trace


def spans_of(*records: Any) -> tuple[Span, ...]:
    return one(*records).turns[0].spans


def test_a_trace_is_one_turn_with_its_spans() -> None:
    root = span(said={"traceloop.span.kind": "workflow", "traceloop.entity.input": '{"q": "hi"}', "tier": "gold"})
    call = span(CHILD, ROOT, CALL, name="chat m", kind=3)
    resource = {"service.name": "bot", "service.version": "2.1", "deployment.environment.name": "prod"}
    instructions = {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}
    asked = {"role": "user", "parts": [{"type": "text", "content": "hi"}]}
    answered = {"role": "assistant", "parts": [{"type": "text", "content": "hello"}]}
    assert one(request(root, call, resource=resource)) == Trace(
        id=TRACE,
        conversation_id="c-1",
        name="step",
        started_at=AT,
        ended_at=END,
        user_id="ann",
        environment="prod",
        version="2.1",
        system="Be brief.",
        turns=(
            Turn(
                input={"q": "hi"},
                output="hello",
                started_at=AT,
                ended_at=END,
                latency_ms=1000.0,
                tokens={"input": 12, "output": 5},
                spans=(
                    Span(
                        id=ROOT,
                        name="step",
                        type="CHAIN",
                        started_at=AT,
                        ended_at=END,
                        input={"q": "hi"},
                        metadata={"traceloop.span.kind": "workflow", "tier": "gold", "otlp": {"scope": LINE}},
                    ),
                    Span(
                        id=CHILD,
                        name="chat m",
                        type="GENERATION",
                        parent_id=ROOT,
                        started_at=AT,
                        ended_at=END,
                        input=[instructions, asked],
                        output=[answered],
                        model="m-1",
                        tokens={"input": 12, "output": 5},
                        metadata={
                            "gen_ai.operation.name": "chat",
                            "gen_ai.request.model": "m",
                            "otlp": {"kind": "CLIENT", "scope": LINE},
                        },
                    ),
                ),
            ),
        ),
        models=("m-1",),
        tokens={"input": 12, "output": 5},
        metadata={"otlp": {"resource": resource}},
        origin={"format": "otlp", "project": "bot"},
    )


class TestSplit:
    def test_each_span_stands_alone_with_its_resource_and_scope(self) -> None:
        first, second = span(), span(CHILD, ROOT)
        shared = {"resource": {"attributes": {"service.name": "bot"}}, "scope": LINE}
        assert split(request(first, second)) == [("span 1", first | shared), ("span 2", second | shared)]

    def test_a_line_is_itself(self) -> None:
        [(_, line)] = split(request(span()))
        assert split(line) == [("span 1", line)]

    @pytest.mark.parametrize(
        "record",
        [{}, {"resourceSpans": []}, {"resourceMetrics": [{}]}, {"resourceSpans": [{"scopeSpans": [{}]}]}],
    )
    def test_what_holds_no_span_is_no_trace(self, record: Any) -> None:
        assert split(record) == []
        assert MAPPER.map_trace(record) is None

    @pytest.mark.parametrize(
        "record",
        [
            log("app.started", {"text": "up"}),
            log("gen_ai.choice", {"message": "hi"}, traceId="", spanId=""),
            log("gen_ai.choice", {"message": "hi"}, spanId="0000000000000000"),
        ],
    )
    def test_log_records_that_are_part_of_no_call_of_a_model_are_ignored(self, record: Any) -> None:
        assert split(log_request(record)) == []

    def test_log_records_of_a_call_are_lines_of_their_own(self) -> None:
        [(place, line)] = split(log_request(log("gen_ai.choice", {"message": "hi"})))
        assert (place, line["spanId"]) == ("log record 1", ROOT)

    def test_what_is_no_span_is_found_out_alone(self) -> None:
        (_, good), (place, bad) = split(request(span(), 7))
        assert piece_of(good).id == ROOT
        assert place == "span 2"
        with pytest.raises(RejectedError, match="the record is a number, not an object"):
            piece_of(bad)

    @pytest.mark.parametrize(
        ("record", "words"),
        [
            ({"resourceSpans": {}}, "resourceSpans must be a list, not an empty object"),
            ({"resourceSpans": [7]}, r"resourceSpans\[0\] must be an object, not a number"),
            ({"resourceSpans": [{"scopeSpans": 7}]}, r"resourceSpans\[0\]\.scopeSpans must be a list"),
            ({"data": [7]}, "data must be a list of traces"),
        ],
    )
    def test_a_document_of_another_shape_says_where(self, record: Any, words: str) -> None:
        with pytest.raises(RejectedError, match=words):
            split(record)


class TestPieces:
    def test_a_span_is_known_by_its_ids_and_newer_when_it_ended_later(self) -> None:
        assert piece_of(span()) == Piece(TRACE, ROOT, END, AT, END)
        assert piece_of(span(endTimeUnixNano="0")) == Piece(TRACE, ROOT, "", AT, None)

    def test_a_log_record_is_known_by_what_it_says(self) -> None:
        first, same, other = log("gen_ai.choice", {"a": 1}), log("gen_ai.choice", {"a": 1}), log("gen_ai.choice")
        pieces = [piece_of(line) for line in (first, same, other)]
        assert pieces[0] == pieces[1] != pieces[2]
        assert (pieces[0].trace_id, pieces[0].started_at) == (TRACE, AT)

    def test_the_ended_state_of_a_span_counts_wherever_it_stands(self) -> None:
        ended, running = request(span(name="ended")), request(span(name="running", endTimeUnixNano="0"))
        assert [each.name for each in spans_of(ended, running)] == ["ended"]
        assert one(ended, running) == one(running, ended)
        assert one(running).status is Status.PENDING

    def test_a_log_record_that_was_delivered_twice_is_one_message(self) -> None:
        said = log_request(log("gen_ai.user.message", {"content": "hi"}))
        assert [each.input for each in spans_of(request(span()), said, said)] == [[{"role": "user", "content": "hi"}]]

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ({"name": "n"}, "there is no traceId in this record; give OTLP/JSON"),
            (span(traceId="0" * 32), "there is no traceId in this record"),
            (span(spanId=""), "spanId is missing or empty"),
            (span(traceId=[1]), "traceId must be a string or an integer, not a list of 1"),
            (span(startTimeUnixNano="soon"), 'startTimeUnixNano: "soon" is not a time'),
            (jaeger_span(duration="long"), "duration must be a whole number of microseconds, not a text"),
        ],
    )
    def test_what_cannot_be_placed_names_the_field(self, line: Any, words: str) -> None:
        with pytest.raises(RejectedError, match=words):
            piece_of(line)

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            (span(attributes=7), "attributes must be a list of keys and values, or an object, not a number"),
            (span(attributes=[{"value": 1}]), r"attributes\[0\] must be an object with a key and a value"),
            (span(events=7), "events must be a list, not a number"),
            (span(events=[7]), r"events\[0\] must be an object"),
            (span(events=[{"timeUnixNano": "x"}]), r'events\[0\].timeUnixNano: "x" is not a time'),
            (span(name=[]) | {"name": [1]}, "name must be a text, not a list of 1"),
            (span(resource=7), "resource must be an object, not a number"),
            (jaeger_span(references=[7]), "references must be a list of objects"),
            (jaeger_span(logs=7), "events must be a list, not a number"),
        ],
    )
    def test_what_cannot_be_read_names_the_field(self, line: Any, words: str) -> None:
        with pytest.raises(RejectedError, match=words):
            one(line)

    def test_a_document_of_two_traces_is_no_record_by_itself(self) -> None:
        with pytest.raises(RejectedError, match="this document holds spans of 2 traces"):
            MAPPER.map_trace(request(span(), span(traceId="a" * 32)))


class TestShapes:
    """The same two spans, however they are written."""

    @pytest.fixture
    def expected(self) -> Trace:
        return one(request(span(said={"k": "v"}), span(CHILD, ROOT, {"n": 7})))

    def test_in_snake_case_with_base64_ids_and_enums_by_name(self, expected: Trace) -> None:
        def encoded(text: str) -> str:
            return base64.b64encode(bytes.fromhex(text)).decode()

        def written(id: str, parent: str, key: str, value: Any) -> Any:
            return {
                "trace_id": encoded(TRACE), "span_id": encoded(id), "parent_span_id": parent and encoded(parent),
                "name": "step", "kind": "SPAN_KIND_INTERNAL", "start_time_unix_nano": START,
                "end_time_unix_nano": START + 10**9, "attributes": [{"key": key, "value": value}],
                "status": {"code": "STATUS_CODE_UNSET"},
            }  # fmt: skip

        spans = [written(ROOT, "", "k", {"string_value": "v"}), written(CHILD, ROOT, "n", {"int_value": 7})]
        about = {"attributes": [{"key": "service.name", "value": {"string_value": "bot"}}]}
        document = {"resource_spans": [{"resource": about, "scope_spans": [{"scope": LINE, "spans": spans}]}]}
        assert one(document) == expected

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_in_batches(self, expected: Trace, wrapped: bool) -> None:
        [group] = request(span(said={"k": "v"}), span(CHILD, ROOT, {"n": 7}))["resourceSpans"]
        [scoped] = group.pop("scopeSpans")
        group["instrumentationLibrarySpans"] = [{"instrumentationLibrary": LINE, "spans": scoped["spans"]}]
        assert one({"trace": {"batches": [group]}} if wrapped else {"batches": [group]}) == expected

    def test_one_line_each_with_plain_attributes(self, expected: Trace) -> None:
        shared = {"resource": {"attributes": {"service.name": "bot"}}, "scope": LINE, "durationNano": 10**9}
        assert one(span(attributes={"k": "v"}, **shared), span(CHILD, ROOT, attributes={"n": 7}, **shared)) == expected

    def test_by_jaeger(self, expected: Trace) -> None:
        assert one(jaeger(jaeger_span(said={"k": "v"}), jaeger_span(CHILD, ROOT, {"n": 7}))) == expected

    @pytest.mark.parametrize("as_list", [False, True])
    def test_by_the_python_sdk(self, expected: Trace, as_list: bool) -> None:
        spans = [sdk_span(said={"k": "v"}), sdk_span(CHILD, ROOT, {"n": 7})]
        trace = one({"spans": spans}) if as_list else one(*spans)
        without_scope = [{**each.metadata} for each in expected.turns[0].spans]
        for metadata in without_scope:
            del metadata["otlp"]  # the SDK does not write the scope
        assert [each.metadata for each in trace.turns[0].spans] == without_scope
        assert (trace.id, trace.metadata, trace.started_at) == (expected.id, expected.metadata, expected.started_at)

    def test_with_ids_as_numbers_and_the_parent_as_an_object(self) -> None:
        def numbered(id: str) -> dict[str, int | None]:
            return {"trace_id": int(TRACE, 16), "span_id": int(id, 16)}

        times = {"start_time": START, "end_time": START + 10**9}
        child = sdk_span(context=numbered(CHILD), **times) | {"parent": numbered(ROOT)}
        root = sdk_span(context=numbered(ROOT)) | {"parent": {"trace_id": None, "span_id": None}}
        del child["parent_id"], root["parent_id"]
        trace = one({"spans": [child, root]})
        assert [(each.id, each.parent_id, each.started_at, each.ended_at) for each in trace.turns[0].spans] == [
            (ROOT, None, AT, END),
            (CHILD, ROOT, AT, END),
        ]
        assert trace.id == TRACE


@pytest.mark.parametrize("parent", ["", None, "0000000000000000", "AAAAAAAAAAA="])
def test_a_parent_of_zeros_is_none(parent: Any) -> None:
    assert one(span(parentSpanId=parent)).partial is None


@pytest.mark.parametrize(
    ("id", "read"),
    [("EEE19B7EC3C1B174", "eee19b7ec3c1b174"), ("0xEEE19B7EC3C1B174", "eee19b7ec3c1b174"), ("My-Span", "My-Span"),
     ("7uGbfsPBsXQ=", "eee19b7ec3c1b174"), (17, "0000000000000011")],
)  # fmt: skip
def test_ids_are_lower_case_hex_or_what_they_are(id: Any, read: str) -> None:
    assert [each.id for each in spans_of(span(spanId=id))] == [read]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"stringValue": ""}, None),
        ({"stringValue": "12"}, "12"),
        ({"intValue": "-12"}, -12),
        ({"intValue": 12}, 12),
        ({"intValue": "many"}, "many"),
        ({"doubleValue": 0.5}, 0.5),
        ({"doubleValue": "NaN"}, "NaN"),
        ({"boolValue": False}, False),
        ({"bytesValue": "AAE="}, "AAE="),
        ({"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "a"}, {}]}}, [1, "a", None]),
        ({"arrayValue": {}}, None),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 1}}, {"key": "b"}]}}, {"a": 1, "b": None}),
        ({"kvlistValue": {"values": [{"value": 1}]}}, {"kvlistValue": {"values": [{"value": 1}]}}),
        ({"string_value": "x"}, "x"),
        ({"strange": 1}, {"strange": 1}),
        ("plain", "plain"),
        ({}, None),
    ],
)  # fmt: skip
def test_an_any_value_is_what_it_holds(value: Any, read: Any) -> None:
    [found] = spans_of(span(attributes=[{"key": "k", "value": value}]))
    assert found.metadata.get("k") == read


def test_what_has_no_field_of_its_own_is_kept() -> None:
    links = [{"traceId": TRACE.upper(), "spanId": CHILD, "attributes": attributes({"why": "x"}), "flags": 256}]
    events = [event("note", k="v"), {"timeUnixNano": str(START), "name": "gone", "droppedAttributesCount": 2}]
    [found] = spans_of(
        span(kind=9, traceState="a=b", links=links, events=events, droppedEventsCount=1, flags=256, status={"code": 7}),
    )
    assert found.metadata == {
        "otlp": {
            "kind": 9,
            "traceState": "a=b",
            "links": [{"traceId": TRACE, "spanId": CHILD, "attributes": {"why": "x"}}],
            "events": [
                {"name": "note", "time": AT, "attributes": {"k": "v"}},
                {"name": "gone", "time": AT, "droppedAttributesCount": 2},
            ],
            "droppedEventsCount": 1,
            "status_code": 7,
        }
    }


def test_a_resource_that_differs_from_the_first_spans_stays_with_its_span() -> None:
    other = request(span(CHILD, ROOT), resource={"service.name": "tools"})
    trace = one(request(span()), other)
    assert [each.metadata["otlp"].get("resource") for each in trace.turns[0].spans] == [None, {"service.name": "tools"}]
    assert trace.origin == {"format": "otlp", "project": "bot"}


def test_jaegers_references_are_the_parent_and_links() -> None:
    follows = {"refType": "FOLLOWS_FROM", "traceID": "b" * 32, "spanID": "c" * 16}
    child = {"refType": "CHILD_OF", "traceID": TRACE, "spanID": ROOT}
    [found] = spans_of(jaeger_span(CHILD, references=[follows, child], warnings=["skew"]))
    assert found.parent_id == ROOT
    assert found.metadata["otlp"] == {
        "processID": "p1",
        "warnings": ["skew"],
        "scope": LINE,
        "links": [{"traceId": "b" * 32, "spanId": "c" * 16, "refType": "FOLLOWS_FROM"}],
    }


def test_jaegers_logs_are_events_and_a_span_of_no_duration_has_ended() -> None:
    fields = [{"key": "event", "value": "exception"}, {"key": "exception.type", "value": "E"}]
    logs = [{"timestamp": START // 1_000, "fields": fields}]
    [found] = spans_of(jaeger(jaeger_span(said={"error": True, "http.status_code": 500}, logs=logs, duration=0)))
    assert (found.ended_at, found.error) == (AT, "E")
    assert found.metadata["http.status_code"] == 500


def test_what_stands_beside_a_list_of_spans_is_kept_and_its_final_output_is_the_turns() -> None:
    trace = one({"spans": [sdk_span(CHILD, ROOT), sdk_span()], "final_output": {"a": 1}, "model": "m"})
    assert trace.turns[0].output == {"a": 1}
    assert trace.turns[0].spans[1].metadata == {"otlp": {"document": {"model": "m"}}}


RAISED = event("exception", exception__type="E", exception__message="m", exception__stacktrace="at x")


class TestErrors:
    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"status": {"code": 2, "message": "no"}, "events": [event("exception", exception__type="E")]}, "no"),
            ({"status": {"code": 2}, "events": [RAISED]}, "E: m"),
            ({"status": {"code": "STATUS_CODE_ERROR"}, "attributes": attributes({"error.type": "timeout"})}, "timeout"),
            ({"status": {"code": "2"}}, "in error, without a message"),
            ({"status": {"code": 1}, "events": [event("exception", exception__type="E")]}, None),
            ({"attributes": attributes({"langfuse.observation.level": "ERROR"})}, "in error, without a message"),
            ({"attributes": attributes({"langfuse.observation.level": "ERROR",
                                        "langfuse.observation.status_message": "no"})}, "no"),
            ({"attributes": attributes({"galtea.trace.error": "no"})}, "no"),
        ],
    )  # fmt: skip
    def test_the_status_tells_whether_and_the_first_message_why(self, changes: Any, error: str | None) -> None:
        trace = one(span(**changes))
        assert trace.turns[0].spans[0].error == error
        assert (trace.status, trace.error) == (Status.FAILED if error else Status.COMPLETED, error)

    def test_the_exception_is_kept_with_its_stack(self) -> None:
        [found] = spans_of(span(status={"code": 2, "message": "E: m"}, events=[RAISED]))
        assert found.metadata["otlp"]["events"][0]["attributes"]["exception.stacktrace"] == "at x"


class TestLogRecords:
    """Of the generations 1.28 to 1.36 and later, in files beside the spans."""

    SAID = (
        log("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "hello"}}),
        log("gen_ai.user.message", {"content": "hi"}, {"gen_ai.system": "openai"}),
        log("", {"content": "Be brief."}, {"event.name": "gen_ai.system.message"}),
    )  # fmt: skip

    def test_they_are_the_messages_of_their_span(self) -> None:
        trace = one(log_request(*self.SAID), request(span(said={"gen_ai.request.model": "m"})))
        [found] = trace.turns[0].spans
        assert found.input == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
        assert found.output == [{"role": "assistant", "content": "hello", "index": 0, "finish_reason": "stop"}]
        assert found.metadata == {"gen_ai.system": "openai", "otlp": {"scope": LINE}}
        assert (trace.turns[0].input, trace.turns[0].output, trace.system) == ("hi", "hello", "Be brief.")
        assert trace.partial is None

    def test_without_their_span_they_stand_in_for_it(self) -> None:
        later = log("gen_ai.choice", {"message": {"content": "hello"}}, timeUnixNano=str(START + 10**9))
        trace = one(log_request(log("gen_ai.user.message", {"content": "hi"}), later))
        [found] = trace.turns[0].spans
        assert (found.id, found.type, found.started_at, found.ended_at) == (ROOT, "GENERATION", AT, END)
        assert (trace.turns[0].input, trace.turns[0].output) == ("hi", "hello")
        assert trace.partial == f"1 span(s) not in the export, only log records of them: {ROOT}"

    def test_the_details_of_an_operation_are_attributes_of_its_span(self) -> None:
        details = log("gen_ai.client.inference.operation.details", said={
            "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}],
            "gen_ai.operation.name": "chat",
        })  # fmt: skip
        [found] = spans_of(request(span()), log_request(details))
        assert found.type == "GENERATION"
        assert found.input == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]

    def test_a_body_of_messages_is_input_and_output(self) -> None:
        body = {"input": {"messages": [{"role": "user", "content": "hi"}]},
                "output": {"messages": [{"role": "assistant", "content": "hello"}]}}  # fmt: skip
        [found] = spans_of(request(span()), log_request(log("strands.telemetry.tracer", body)))
        assert (found.input, found.output) == (body["input"]["messages"], body["output"]["messages"])

    def test_others_of_the_conventions_are_events_of_their_span(self) -> None:
        result = log("gen_ai.evaluation.result", said={"gen_ai.evaluation.name": "tone"}, severityText="INFO")
        [found] = spans_of(request(span()), log_request(result))
        assert found.metadata["otlp"]["events"] == [
            {
                "name": "gen_ai.evaluation.result",
                "time": AT,
                "attributes": {"gen_ai.evaluation.name": "tone"},
                "severityNumber": 9,
                "severityText": "INFO",
                "scope": {"name": "lib"},
            }
        ]

    def test_the_sdk_writes_them_in_snake_case(self) -> None:
        line = {"body": {"content": "hi"}, "severity_number": None, "attributes": {}, "dropped_attributes": 0,
                "timestamp": None, "observed_timestamp": AT, "trace_id": f"0x{TRACE}", "span_id": f"0x{ROOT}",
                "trace_flags": 1, "resource": {"attributes": {}}, "event_name": "gen_ai.user.message"}  # fmt: skip
        assert [each.input for each in spans_of(sdk_span(), line)] == [[{"role": "user", "content": "hi"}]]


class TestOfTheTrace:
    @pytest.mark.parametrize(
        "key",
        ["galtea.session.custom_id", "gen_ai.conversation.id", "langfuse.session.id", "session.id",
         "traceloop.association.properties.session_id", "traceloop.association.properties.chat_id",
         "traceloop.association.properties.thread_id", "ai.telemetry.metadata.sessionId",
         "gcp.vertex.agent.session_id"],
    )  # fmt: skip
    def test_the_conversation_is_named_by_any_span_and_not_repeated(self, key: str) -> None:
        trace = one(request(span(), span(CHILD, ROOT, {key: "c-1"})))
        assert trace.conversation_id == "c-1"
        assert key not in trace.turns[0].spans[1].metadata

    def test_of_two_conversations_the_better_attribute_counts_and_the_other_is_kept(self) -> None:
        trace = one(
            request(span(said={"session.id": "browser-7"}), span(CHILD, ROOT, {"gen_ai.conversation.id": "c-1"}))
        )
        assert trace.conversation_id == "c-1"
        assert [each.metadata.get("session.id") for each in trace.turns[0].spans] == ["browser-7", None]

    def test_langfuses_sdk_names_all_of_it(self) -> None:
        said = {
            "langfuse.trace.name": "support", "user.id": "ann", "session.id": "c-1", "langfuse.trace.tags": ["a", "b"],
            "langfuse.environment": "prod", "langfuse.release": "r1", "langfuse.version": "v1",
            "langfuse.trace.metadata.plan": "free", "langfuse.trace.input": '{"q": 1}', "langfuse.trace.output": "done",
            "langfuse.observation.type": "agent", "langfuse.observation.metadata.k": "v",
        }  # fmt: skip
        trace = one(request(span(said=said), span(CHILD, ROOT, {"langfuse.trace.metadata.plan": "gold"})))
        assert (trace.name, trace.user_id, trace.conversation_id, trace.tags) == ("support", "ann", "c-1", ("a", "b"))
        assert (trace.environment, trace.release, trace.version) == ("prod", "r1", "v1")
        assert (trace.turns[0].input, trace.turns[0].output) == ({"q": 1}, "done")
        assert trace.metadata == {"plan": "free", "otlp": {"resource": {"service.name": "bot"}}}
        assert [(each.type, each.metadata) for each in trace.turns[0].spans] == [
            ("AGENT", {"k": "v", "otlp": {"scope": LINE}}),
            ("SPAN", {"langfuse.trace.metadata.plan": "gold", "otlp": {"scope": LINE}}),
        ]

    def test_the_project_of_openinference_is_before_the_service(self) -> None:
        resource = {"service.name": "bot", "openinference.project.name": "p"}
        assert one(request(span(), resource=resource)).origin == {"format": "otlp", "project": "p"}


class TestDetection:
    @pytest.mark.parametrize(
        "record",
        [
            {"id": "1", "name": "n", "context": {"trace_id": "1", "span_id": "2"}, "span_kind": "LLM", "attributes": {},
             "start_time": "2026-01-01"},
            {"trace_id": "1", "span_id": "2", "start_time_unix_nano": 1, "attributes": {"mlflow.spanType": '"LLM"'}},
            {"trace": {"id": "1"}, "spans": []},
            {"spans": [{"context": {"trace_id": 1, "span_id": 2}, "name": "n", "start_time": 1,
                        "attributes": {"mlflow.spanType": '"LLM"'}}]},
            {"traceId": "1", "spanId": "2"},
        ],
    )  # fmt: skip
    def test_spans_of_others_are_not_claimed(self, record: Any) -> None:
        assert MAPPER.detect([record] * 3).confidence == 0.0

    @pytest.mark.parametrize(
        "record",
        [
            request(span()),
            {"resource_spans": [{"scope_spans": []}]},
            {"trace": {"resourceSpans": []}},
            {"batches": [{"resource": {}, "scopeSpans": []}]},
            {"batches": [{"resource": {}, "instrumentationLibrarySpans": []}]},
            {"result": {"resourceSpans": []}},
            log_request(log()),
            {"resourceMetrics": []},
            jaeger(jaeger_span()),
            jaeger(jaeger_span())["data"][0],
            jaeger_span(),
            sdk_span(),
            {"spans": [sdk_span()]},
            span(),
            log(observedTimeUnixNano=str(START)),
            {"trace_id": "1", "span_id": "2", "start_time_unix_nano": 1, "attributes": []},
            {"trace_id": "0x1", "span_id": "0x2", "observed_timestamp": AT, "body": "x", "attributes": {}},
        ],
    )
    def test_every_shape_is_recognised(self, record: Any) -> None:
        guess = detect_format([record] * 3)
        assert (guess.mapper, guess.is_sure) == (MAPPER, True)

    def test_lines_that_were_cut_out_are_recognised(self) -> None:
        lines = [line for _, line in split(request(span(), span(CHILD, ROOT)))]
        assert MAPPER.detect(lines).confidence >= 0.9
