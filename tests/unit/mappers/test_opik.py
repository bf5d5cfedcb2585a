from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.errors import RejectedError
from pipeline.mappers import MAPPERS
from pipeline.mappers.detect import detect_format, doubt
from pipeline.mappers.opik import MAPPER
from pipeline.models import Span, Status, Trace, Turn
from tests.unit.mappers.assembling import traces_of

# Every field of opik 2.2.122's TracePublic and SpanPublic, as `opik export` dumps them where nothing is set.
NO_TRACE = dict.fromkeys(
    ["id", "project_id", "name", "start_time", "end_time", "input", "output", "metadata", "tags", "error_info", "usage",
     "created_at", "last_updated_at", "created_by", "last_updated_by", "feedback_scores", "span_feedback_scores",
     "comments", "guardrails_validations", "total_estimated_cost", "span_count", "duration", "ttft", "thread_id",
     "visibility_mode", "llm_span_count", "has_tool_spans", "providers", "experiment", "annotation_queues", "source",
     "environment"]
)  # fmt: skip
NO_SPAN = dict.fromkeys(
    ["id", "project_name", "project_id", "trace_id", "parent_span_id", "name", "type", "start_time", "end_time",
     "input", "output", "metadata", "model", "provider", "tags", "usage", "error_info", "created_at", "last_updated_at",
     "created_by", "last_updated_by", "feedback_scores", "comments", "total_estimated_cost",
     "total_estimated_cost_version", "duration", "ttft", "source", "environment"]
)  # fmt: skip
SCORE = {"name": "tone", "category_name": None, "value": 0.8, "reason": None, "source": "ui"}
CRASH = {"exception_type": "TimeoutError", "message": "no answer", "traceback": "Traceback (most recent call last): …"}


def span(**changes: Any) -> dict[str, Any]:
    known = {
        "id": "s-1", "project_name": "bot", "project_id": "p-1", "trace_id": "t-1", "name": "answer", "type": "llm",
        "start_time": "2026-08-22 08:00:00.200000+00:00", "end_time": "2026-08-22 08:00:01+00:00", "input": {"q": "hi"},
        "output": {"output": "hello"}, "model": "gpt-4.1", "provider": "openai", "source": "sdk", "duration": 800.0,
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "original_usage.prompt_tokens": 9},
        "created_at": "2026-08-22 08:00:02+00:00", "created_by": "ann", "total_estimated_cost": 0.25,
        "last_updated_at": "2026-08-22 08:00:03+00:00",
    }  # fmt: skip
    return NO_SPAN | known | changes


def export(*spans: dict[str, Any], **changes: Any) -> dict[str, Any]:
    known = {
        "id": "t-1", "project_id": "p-1", "name": "chat", "start_time": "2026-08-22 08:00:00.123456+00:00",
        "end_time": "2026-08-22 08:00:01.123456+00:00", "input": {"question": "hi"}, "output": {"output": "hello"},
        "metadata": {"plan": "free"}, "tags": ["a"], "thread_id": "c-1", "environment": "production", "source": "sdk",
        "created_by": "ann", "last_updated_at": "2026-08-22 08:00:02+00:00", "duration": 1000.25, "span_count": 1,
    }  # fmt: skip
    return {
        "trace": NO_TRACE | known | changes,
        "spans": list(spans),
        "attachments": [],
        "downloaded_at": "2026-09-01T10:00:00.123456",
        "project_name": "bot",
    }


def test_an_exported_trace_becomes_a_trace_of_one_turn_with_its_spans() -> None:
    turn_span = Span(
        id="s-1",
        name="answer",
        type="GENERATION",
        started_at="2026-08-22T08:00:00.200000Z",
        ended_at="2026-08-22T08:00:01.000000Z",
        input={"q": "hi"},
        output={"output": "hello"},
        model="gpt-4.1",
        tokens={"input": 9, "output": 3, "total": 12},
        cost=0.25,
        metadata={"opik": {"provider": "openai", "usage": {"original_usage.prompt_tokens": 9}}},
    )
    started_at, ended_at = "2026-08-22T08:00:00.123456Z", "2026-08-22T08:00:01.123456Z"
    assert MAPPER.map_trace(export(span())) == Trace(
        id="t-1",
        conversation_id="c-1",
        name="chat",
        started_at=started_at,
        ended_at=ended_at,
        tags=("a",),
        environment="production",
        status=Status.COMPLETED,
        turns=(
            Turn(
                input={"question": "hi"},
                output={"output": "hello"},
                started_at=started_at,
                ended_at=ended_at,
                latency_ms=1000.25,
                tokens={"input": 9, "output": 3, "total": 12},
                cost=0.25,
                spans=(turn_span,),
            ),
        ),
        models=("gpt-4.1",),
        tokens={"input": 9, "output": 3, "total": 12},
        cost=0.25,
        metadata={
            "plan": "free",
            "opik": {"project_id": "p-1", "source": "sdk", "created_by": "ann", "span_count": 1},
        },
        origin={"format": "opik", "project": "bot"},
        revision="2026-08-22T08:00:03.000000Z",
    )


def test_a_second_download_of_a_trace_is_the_same_trace() -> None:
    again = export(span()) | {"downloaded_at": "2026-09-02T10:00:00"}
    assert MAPPER.map_trace(again) == MAPPER.map_trace(export(span()))


def test_another_order_of_the_spans_is_the_same_trace() -> None:
    other = span(id="s-2", start_time="2026-08-22 08:00:00.900000+00:00")
    assert MAPPER.map_trace(export(span(), other)) == MAPPER.map_trace(export(other, span()))


def test_a_span_that_stands_there_twice_counts_once_as_last_updated() -> None:
    late = span(output="late", last_updated_at="2026-08-23 00:00:00+00:00")
    assert [item.output for item in MAPPER.map_trace(export(late, span())).turns[0].spans] == ["late"]


@pytest.mark.parametrize(
    ("stated", "kind"),
    [("general", "SPAN"), ("llm", "GENERATION"), ("tool", "TOOL"), ("guardrail", "GUARDRAIL"), (None, "SPAN")],
)
def test_types_of_spans_are_mapped(stated: str | None, kind: str) -> None:
    assert MAPPER.map_trace(export(span(type=stated))).turns[0].spans[0].type == kind


def test_a_type_that_we_do_not_know_is_a_span_and_is_kept() -> None:
    (mapped,) = MAPPER.map_trace(export(span(type="oracle"))).turns[0].spans
    assert (mapped.type, mapped.metadata["opik"]["type"]) == ("SPAN", "oracle")


def test_parents_are_kept() -> None:
    inner = span(id="s-2", parent_span_id="s-1")
    assert [item.parent_id for item in MAPPER.map_trace(export(span(), inner)).turns[0].spans] == [None, "s-1"]


def test_what_a_span_repeats_of_its_trace_is_left_out_and_what_differs_is_kept() -> None:
    (mapped,) = MAPPER.map_trace(export(span(created_by="bob", trace_id="t-9"))).turns[0].spans
    assert mapped.metadata["opik"] == {
        "provider": "openai",
        "usage": {"original_usage.prompt_tokens": 9},
        "created_by": "bob",
        "trace_id": "t-9",
    }


def test_a_trace_in_error_has_failed() -> None:
    trace = MAPPER.map_trace(export(error_info=CRASH, output=None))
    assert (trace.status, trace.error, trace.turns[0].error) == (Status.FAILED, *["TimeoutError: no answer"] * 2)
    assert trace.metadata["opik"]["error_info"] == CRASH


def test_a_step_in_error_is_no_failure_of_a_trace_that_went_on() -> None:
    trace = MAPPER.map_trace(export(span(type="tool", error_info=CRASH | {"message": None})))
    assert (trace.status, trace.turns[0].spans[0].error) == (Status.COMPLETED, "TimeoutError")
    assert trace.turns[0].spans[0].metadata["opik"]["error_info"]["traceback"].startswith("Traceback")


def test_a_trace_without_an_end_is_pending() -> None:
    trace = MAPPER.map_trace(export(end_time=None, output=None, duration=None))
    assert (trace.status, trace.ended_at, trace.turns[0].latency_ms) == (Status.PENDING, None, None)


def test_without_values_of_its_own_a_trace_has_those_of_its_outer_spans() -> None:
    inner = span(id="s-2", parent_span_id="s-1", input="in", output="out")
    turn = MAPPER.map_trace(export(inner, span(), input=None, output={})).turns[0]
    assert (turn.input, turn.output) == ({"q": "hi"}, {"output": "hello"})


def test_where_the_outer_spans_are_empty_the_call_of_a_model_counts() -> None:
    inner = span(id="s-2", parent_span_id="s-1", input="in", output="out")
    turn = MAPPER.map_trace(export(span(input=None, output=None), inner, input=None, output=None)).turns[0]
    assert (turn.input, turn.output) == ("in", "out")


def test_the_totals_of_the_trace_count_before_the_sums_of_its_spans() -> None:
    trace = MAPPER.map_trace(export(span(), usage={"total_tokens": 99, "images": 1}, total_estimated_cost=0.5))
    assert (trace.tokens, trace.cost, trace.metadata["opik"]["usage"]) == ({"total": 99}, 0.5, {"images": 1})


def test_json_in_texts_is_decoded_and_plain_text_stays() -> None:
    turn = MAPPER.map_trace(export(input='{"q": "hi"}', output="12")).turns[0]
    assert (turn.input, turn.output) == ({"q": "hi"}, "12")


@pytest.mark.parametrize("own", [[{"a": 1}], "a note"])
def test_metadata_that_is_no_object_is_kept_too(own: Any) -> None:
    assert MAPPER.map_trace(export(metadata=own)).metadata["metadata"] == own


def test_scores_attachments_and_whatever_we_do_not_know_are_kept() -> None:
    attachment = {"entity_type": "trace", "entity_id": "t-1", "file_name": "a.png", "mime_type": "image/png"}
    record = export(feedback_scores=[SCORE], comments=[{"text": "good"}], ttft=12.5, attachments="mine")
    record |= {"attachments": [attachment], "flag": False}
    assert MAPPER.map_trace(record).metadata["opik"] == {
        "project_id": "p-1", "source": "sdk", "created_by": "ann", "span_count": 1, "feedback_scores": [SCORE],
        "comments": [{"text": "good"}], "ttft": 12.5, "attachments": "mine", "export.attachments": [attachment],
        "flag": False,
    }  # fmt: skip


def test_metadata_of_the_name_opik_is_moved_aside() -> None:
    metadata = MAPPER.map_trace(export(metadata={"opik": 1})).metadata
    assert metadata["metadata.opik"] == 1
    assert metadata["opik"]["created_by"] == "ann"


def test_without_a_project_name_the_project_is_its_id() -> None:
    trace = MAPPER.map_trace(export() | {"project_name": None})
    assert trace.origin == {"format": "opik", "project": "p-1"}


@pytest.mark.parametrize("thread", ["", None, " "])
def test_an_empty_thread_is_no_conversation(thread: str | None) -> None:
    assert MAPPER.map_trace(export(thread_id=thread)).conversation_id is None


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        (None, "not_an_object", "null, not an object"),
        ({"trace": "{}", "spans": []}, "bad_field", "trace must be an object, not a text"),
        ({"spans": []}, "not_a_whole_trace", "there is no trace"),
        (export(id=None), "no_id", "trace.id is missing"),
        (export(start_time="soon"), "bad_time", "trace.start_time"),
        (export(tags=3), "bad_field", "trace.tags must be a list"),
        (export(error_info=3), "bad_field", "trace.error_info must be an object"),
        (export(usage={"total_tokens": 1.5}), "bad_field", "trace.usage.total_tokens must be a whole number"),
        (export(usage=[1]), "bad_field", "trace.usage must be an object"),
        (export(total_estimated_cost="cheap"), "bad_field", "trace.total_estimated_cost must be a number"),
        (export() | {"spans": 3}, "bad_field", "spans must be a list"),
        (export(span(), 3), "bad_field", r"spans\[1\] must be an object"),  # type: ignore[arg-type]
        (export(span(id="")), "no_id", r"spans\[0\].id is missing"),
        (export(span(end_time=[])), "bad_time", r"spans\[0\].end_time"),
    ],
)
def test_a_record_that_cannot_be_mapped_is_rejected_with_the_field_and_the_way_out(
    record: Any, kind: str, words: str
) -> None:
    with pytest.raises(RejectedError, match=words) as caught:
        MAPPER.map_trace(record)
    assert caught.value.kind == kind
    assert "format: custom" in str(caught.value) or "opik export" in str(caught.value)


OTHERS = {
    "experiment": {"experiment": {"id": "e"}, "items": [], "downloaded_at": "2026-09-01T10:00:00"},
    "dataset": {"id": "d", "name": "n", "items": [], "downloaded_at": "2026-09-01T10:00:00"},
    "prompt": {"name": "p", "current_version": {}, "history": [], "downloaded_at": "2026-09-01T10:00:00"},
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_else_an_export_holds_is_named_and_not_imported(what: str) -> None:
    with pytest.raises(RejectedError, match=f"this is an exported Opik {what}, not a trace; give the files trace_"):
        MAPPER.map_trace(OTHERS[what])
    guess = detect_format([OTHERS[what]])
    assert not guess.is_sure
    assert f"an exported Opik {what}" in doubt(guess)


@pytest.mark.parametrize("record", [export(), export(span()), {"trace": {"id": "t"}, "spans": []}])
def test_exports_are_recognised(record: Any) -> None:
    guess = detect_format([record])
    assert guess.is_sure
    assert guess.mapper is MAPPERS["opik"]


@pytest.mark.parametrize(
    "record",
    [
        {"trace": {"id": "t"}, "observations": []},
        {"trace": {"id": "t"}, "observations": [], "spans": []},
        {"trace_id": "tr-1", "trace": '{"info": {}, "data": {}}', "spans": [], "trace_metadata": {}},
        {"trace": {}, "spans": []},
        {"traceID": "1", "spans": []},
    ],
)
def test_other_formats_are_not_taken_for_opik(record: Any) -> None:
    guess = detect_format([record])
    assert not (guess.is_sure and guess.mapper is MAPPERS["opik"])


class TestCsv:
    """`opik export … --format csv`: the file that opik itself would write, read as any CSV is."""

    def rows(self, exported: dict[str, Any]) -> list[dict[str, Any]]:
        def flat(value: dict[str, Any], path: str) -> dict[str, str]:
            cells: dict[str, str] = {}
            for key, inner in value.items():
                whole = f"{path}_{key}"
                text = "" if inner is None else str(inner)
                cells |= flat(inner, whole) if isinstance(inner, dict) else {whole: text}
            return cells

        trace, spans = exported["trace"], exported["spans"]
        nothing = {f"span_{key}": "" for key in trace} | {"span_parent_span_id": ""}
        rows = [flat(trace, "trace") | (flat(each, "span") if each else nothing) for each in spans or [None]]
        return [{column: cell or None for column, cell in row.items()} for row in rows]

    def test_the_rows_of_a_trace_are_what_the_json_says(self) -> None:
        exported = export(
            span(usage={"prompt_tokens": 9, "completion_tokens": 3}),
            span(id="s-2", parent_span_id="s-1", type="tool", output=None, usage=None, tags=["x"]),
            input={"question": "hi", "user_name": "ann"},
            error_info=CRASH,
        )
        [trace] = traces_of(MAPPER, self.rows(exported))
        expected = MAPPER.map_trace(exported)
        assert expected is not None
        metadata = {"plan": "free", "opik": expected.metadata["opik"] | {"span_count": "1"}}
        assert trace == replace(expected, metadata=metadata)

    def test_a_trace_without_spans_is_one_row(self) -> None:
        rows = self.rows(export(metadata=None, experiment={"id": "e"}))
        [trace] = traces_of(MAPPER, rows)
        assert (trace.id, trace.turns[0].input, trace.turns[0].spans) == ("t-1", {"question": "hi"}, ())
        assert trace.metadata["opik"]["experiment"] == {"id": "e"}
        guess = detect_format(rows)
        assert guess.is_sure
        assert guess.mapper is MAPPER

    def test_lists_are_read_as_python_wrote_them(self) -> None:
        messages = [{"role": "user", "content": 'it\'s "hi"'}, {"n": 1, "ok": True, "no": None}]
        exported = export(input={"messages": messages}, output=messages, metadata="[draft]")
        [trace] = traces_of(MAPPER, self.rows(exported))
        assert trace.turns[0].input == {"messages": messages}
        assert trace.turns[0].output == messages
        assert trace.metadata["metadata"] == "[draft]"

    def test_of_two_exports_the_newer_one_counts(self) -> None:
        old = self.rows(export(span(output={"a": "old"}), name="old"))
        new = self.rows(export(span(output={"a": "new"}), name="new", last_updated_at="2026-08-23 08:00:02+00:00"))
        for order in (old + new, new + old):
            [trace] = traces_of(MAPPER, order)
            assert (trace.name, trace.turns[0].spans[0].output) == ("new", {"a": "new"})

    def test_a_row_without_the_id_of_its_trace_is_rejected(self) -> None:
        with pytest.raises(RejectedError, match="trace_id is missing"):
            traces_of(MAPPER, self.rows(export(id=None)))
