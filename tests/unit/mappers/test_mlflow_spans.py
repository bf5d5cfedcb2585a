from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.mlflow_spans import Spans, decoded, hex_id, read
from pipeline.mappers.span_tree import retrieved
from pipeline.models import Span, Status

SECOND = 1_000_000_000
START = 1_787_385_600 * SECOND
TRACE = "0af7651916cd43dd8448eb211c80319c"


def b64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def span(id: str = "aa", *, second: int = 0, seconds: int | None = 1, **changes: Any) -> dict[str, Any]:
    """A span as 3.x writes it; `attributes` are given as the values that they were, `parent` and `id` as hex."""
    attributes = {"mlflow.traceRequestId": f"tr-{TRACE}", "mlflow.spanType": "CHAIN"} | changes.pop("attributes", {})
    parent = changes.pop("parent", None)
    start = START + second * SECOND
    row = {
        "trace_id": b64(TRACE), "span_id": b64(id.zfill(16)), "name": "step",
        "parent_span_id": None if parent is None else b64(parent.zfill(16)),
        "start_time_unix_nano": start, "end_time_unix_nano": None if seconds is None else start + seconds * SECOND,
        "events": [], "status": {"code": "STATUS_CODE_OK", "message": ""}, "links": [],
        "attributes": {key: json.dumps(value) for key, value in attributes.items()},
    }  # fmt: skip
    return row | changes


def span_2x(id: str = "aa", **changes: Any) -> dict[str, Any]:
    """The same span as 2.x writes it."""
    row = span(id)
    old = {
        "name": "step", "context": {"span_id": id.zfill(16), "trace_id": TRACE}, "parent_id": None,
        "start_time": row["start_time_unix_nano"], "end_time": row["end_time_unix_nano"], "status_code": "OK",
        "status_message": "", "attributes": row["attributes"], "events": [],
    }  # fmt: skip
    return old | changes


def failed(message: str = "") -> dict[str, Any]:
    return {"code": "STATUS_CODE_ERROR", "message": message}


def only(row: dict[str, Any]) -> Span:
    return read([row]).spans[0]


def test_a_span_of_3x_becomes_a_span() -> None:
    row = span(
        parent="bb",
        attributes={
            "mlflow.spanType": "CHAT_MODEL", "mlflow.spanInputs": {"messages": []}, "mlflow.spanOutputs": "12",
            "mlflow.llm.model": "m", "mlflow.llm.provider": "openai", "temperature": 0.5, "note": "",
            "mlflow.chat.tokenUsage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "cache_read": 1},
            "mlflow.llm.cost": {"input_cost": 0.1, "output_cost": 0.2, "total_cost": 0.3},
        },
        events=[{"name": "e", "time_unix_nano": START, "attributes": {"k": 1, "gap": None}}],
        links=[{"trace_id": "tr-1", "span_id": "2", "attributes": None}],
    )  # fmt: skip
    assert only(row) == Span(
        id="00000000000000aa",
        parent_id="00000000000000bb",
        name="step",
        type="GENERATION",
        started_at="2026-08-22T08:00:00.000000Z",
        ended_at="2026-08-22T08:00:01.000000Z",
        input={"messages": []},
        output="12",
        model="m",
        tokens={"input": 3, "output": 2, "total": 5, "cache_read": 1},
        cost=0.3,
        metadata={
            "temperature": 0.5,
            "mlflow": {
                "mlflow.spanType": "CHAT_MODEL",
                "mlflow.llm.provider": "openai",
                "mlflow.llm.cost": {"input_cost": 0.1, "output_cost": 0.2},
                "events": [{"name": "e", "time_unix_nano": START, "attributes": {"k": 1}}],
                "links": [{"trace_id": "tr-1", "span_id": "2"}],
            },
        },
    )


def test_a_span_of_2x_is_the_same_span() -> None:
    assert read([span_2x()]) == read([span()])


def test_a_span_of_3_5_with_ids_in_hex_is_the_same_span() -> None:
    row = span() | {"trace_id": f"tr-{TRACE}", "span_id": "00000000000000aa", "status": {"code": "OK", "message": ""}}
    assert read([row]) == read([span()])


def test_a_2x_span_that_pandas_wrote_is_decoded_already() -> None:
    row = {
        "span_id": "00000000000000aa", "name": "step", "parent_id": None, "start_time_ns": START,
        "end_time_ns": START + SECOND, "span_type": "TOOL", "inputs": "12", "outputs": '{"a": 1}', "request_id": "r",
        "status": {"status_code": "ERROR", "description": "no"}, "attributes": {"mlflow.spanInputs": "12", "n": "7"},
    }  # fmt: skip
    got = only(row)
    assert (got.id, got.type, got.input, got.output, got.error) == ("00000000000000aa", "TOOL", "12", '{"a": 1}', "no")
    assert got.metadata == {"n": "7"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"12"', "12"), ("12", 12), ("null", None), ('"{\\"a\\": 1}"', '{"a": 1}'), ("not json", "not json"),
        ("NaN", "NaN"), ("", ""), (7, 7), ('"\\ud83d"', '"\\ud83d"'), ("123456789012345678901", 123456789012345678901),
    ],
)  # fmt: skip
def test_an_attribute_is_decoded_once_and_kept_as_it_is_where_it_is_no_json(text: Any, value: Any) -> None:
    assert decoded(text) == value


@pytest.mark.parametrize(
    ("stated", "kind", "kept"),
    [
        ("LLM", "GENERATION", "LLM"), ("CHAT_MODEL", "GENERATION", "CHAT_MODEL"), ("WORKFLOW", "CHAIN", "WORKFLOW"),
        ("TOOL", "TOOL", None), ("AGENT", "AGENT", None), ("RETRIEVER", "RETRIEVER", None), ("UNKNOWN", "SPAN", None),
        ("EMBEDDING", "EMBEDDING", None), ("RERANKER", "SPAN", "RERANKER"), ("MY_TYPE", "SPAN", "MY_TYPE"),
        (7, "SPAN", 7), (None, "SPAN", None),
    ],
)  # fmt: skip
def test_types_are_mapped_and_kept_where_they_have_another_name(stated: Any, kind: str, kept: Any) -> None:
    got = only(span(attributes={"mlflow.spanType": stated}))
    assert (got.type, got.metadata.get("mlflow", {}).get("mlflow.spanType")) == (kind, kept)


def test_an_error_has_its_message_or_that_of_its_exception() -> None:
    event = {"name": "exception", "attributes": {"exception.type": "ValueError", "exception.message": "boom"}}
    assert only(span(status=failed("no"))).error == "no"
    assert only(span(status=failed(), events=[event])).error == "ValueError: boom"
    assert only(span(status=failed())).error == "status ERROR, without a message"
    assert only(span_2x(status_code="ERROR", status_message="old")).error == "old"


def test_the_model_of_a_call_is_read_from_its_inputs_where_no_attribute_names_it() -> None:
    inputs = {"mlflow.spanInputs": {"model": "m2"}}
    assert only(span(attributes={"mlflow.spanType": "LLM", **inputs})).model == "m2"
    assert only(span(attributes=inputs)).model is None


def test_what_is_no_count_or_cost_is_kept_and_rejects_nothing() -> None:
    got = only(span(attributes={"mlflow.chat.tokenUsage": {"input_tokens": 1, "x": "?"}, "mlflow.llm.cost": "dear"}))
    assert (got.tokens, got.cost) == ({"input": 1}, None)
    assert got.metadata["mlflow"] == {"mlflow.chat.tokenUsage": {"x": "?"}, "mlflow.llm.cost": "dear"}


@pytest.mark.parametrize(
    ("value", "size", "id"),
    [
        ("CvdlGRbNQ92ESOshHIAxnA==", 16, TRACE), ("AAAAAAAAAKo=", 8, "00000000000000aa"),
        ("AAAA!AAAAKo=", 8, "AAAA!AAAAKo="),
        ("tr-1", 16, "tr-1"), ("", 8, None), (12, 8, "12"), ("A" * 11 + "=", 8, "00" * 8),
    ],
)  # fmt: skip
def test_ids_in_base64_become_hex_and_others_stay(value: Any, size: int, id: str | None) -> None:
    assert hex_id(value, "id", size) == id


# --- all of them ------------------------------------------------------------------------------------------


def states(*rows: dict[str, Any]) -> tuple[Status, str | None]:
    spans = read(list(rows))
    return spans.status, spans.error


def test_the_outer_spans_tell_how_it_ended() -> None:
    inner_error = span("bb", parent="aa", status=failed("sub"))
    assert states(span(), inner_error)[0] is Status.COMPLETED
    assert states(span(seconds=None)) == (Status.PENDING, None)
    assert states(span(status=failed("no"), seconds=None)) == (Status.FAILED, "no")
    assert states(span(status=failed()), inner_error) == (Status.FAILED, "sub")


def test_a_span_whose_parent_is_not_there_is_an_outer_one() -> None:
    assert [one.id[-2:] for one in read([span("aa", parent="ff"), span("bb", parent="aa")]).outer] == ["aa"]


def test_spans_are_in_order_of_start_whatever_the_order_in_the_file() -> None:
    rows = [span("aa"), span("bb", parent="aa", second=1), span("cc", parent="aa", second=2)]
    assert read(rows) == read(rows[::-1])


def test_of_two_spans_with_one_id_the_one_that_has_ended_counts() -> None:
    running, ended = span(seconds=None), span()
    assert read([running, ended]).spans == read([ended, running]).spans == read([ended]).spans


def usage(tokens: int) -> dict[str, Any]:
    return {"mlflow.chat.tokenUsage": {"total_tokens": tokens}, "mlflow.llm.cost": {"total_cost": tokens / 10}}


def test_sums_do_not_count_what_an_outer_span_has_summed_up_already() -> None:
    rows = [
        span("aa"),
        span("bb", parent="aa", attributes=usage(5)),
        span("cc", parent="bb", attributes=usage(3)),
        span("dd", parent="cc", attributes=usage(1)),
        span("ee", parent="aa", attributes=usage(2)),
    ]
    assert (read(rows).tokens, read(rows).cost) == ({"total": 7}, 0.7)
    assert read(rows) == read(rows[::-1])


def test_parents_that_run_in_a_circle_do_no_harm() -> None:
    rows = [span("aa", parent="bb", attributes=usage(1)), span("bb", parent="aa")]
    assert len(read(rows).spans) == 2


def test_the_trace_is_named_by_its_spans_where_they_agree() -> None:
    other = span("bb", attributes={"mlflow.traceRequestId": "tr-2"})
    bare = span("cc") | {"attributes": {}}
    assert read([span(), bare]).trace_id == f"tr-{TRACE}"
    assert read([span(), other]).trace_id is None


def test_the_texts_of_retrieved_documents_are_joined() -> None:
    documents = [{"page_content": "One.", "metadata": {}}, {"page_content": "Two.", "id": "d"}, {"other": 1}, "text"]
    retriever = {"mlflow.spanType": "RETRIEVER", "mlflow.spanOutputs": documents}
    assert retrieved(read([span(attributes=retriever)]).spans) == "One.\n\nTwo.\n\ntext"
    assert retrieved(read([span()]).spans) is None


@pytest.mark.parametrize("spans", [None, "", [], "[]"])
def test_a_trace_may_have_no_spans(spans: Any) -> None:
    assert read(spans) == Spans((), (), Status.COMPLETED, None, None, None, (), {}, None, None)


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        ("text", "spans must be a list, not a text"),
        ([7], r"spans\[0\] must be an object, not a number"),
        ([span() | {"span_id": ""}], r"spans\[0\].span_id is missing or empty"),
        ([span() | {"start_time_unix_nano": "soon"}], r"spans\[0\].start_time_unix_nano: \"soon\" is not a time"),
        ([span() | {"attributes": [{"key": "k"}]}], r"spans\[0\].attributes must be an object.*Trace.to_json"),
        ([span_2x(context="x")], r"spans\[0\].context must be an object"),
    ],
)
def test_what_cannot_be_read_is_rejected_by_its_field(spans: Any, words: str) -> None:
    with pytest.raises(RejectedError, match=words):
        read(spans)
