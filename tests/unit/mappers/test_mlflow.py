from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.detect import detect_format
from pipeline.mappers.mlflow import MAPPER
from pipeline.models import Status, Trace
from tests.unit.mappers.test_mlflow_spans import START, TRACE, failed, span, span_2x

ID = f"tr-{TRACE}"
METADATA = {
    "mlflow.trace.session": "s", "mlflow.trace.user": "u", "mlflow.user": "dev", "mlflow.source.git.commit": "abc",
    "mlflow.modelId": "m-1", "app_version": "1.2", "environment": "prod", "region": "eu", "mlflow.traceInputs": '"hi"',
    "mlflow.traceOutputs": '"hello"', "mlflow.trace.tokenUsage": '{"input_tokens": 3, "total_tokens": 5}',
    "mlflow.trace.cost": '{"input_cost": 0.1, "total_cost": 0.3}', "mlflow.source.git.branch": "",
}  # fmt: skip
TAGS = {"mlflow.traceName": "agent", "team": "blue", "beta": "", "mlflow.artifactLocation": "mlruns/1"}
ROOT = span(attributes={"mlflow.spanInputs": "hi", "mlflow.spanOutputs": "hello"})


def whole(*spans: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """`Trace.to_json()` of 3.x; a change to None takes the field out."""
    info = {
        "trace_id": ID, "client_request_id": "req-1", "request_time": "2026-08-22T08:00:00.123Z", "state": "OK",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "7"}},
        "execution_duration_ms": 1500, "request_preview": "hi", "response_preview": "hello",
        "trace_metadata": METADATA, "tags": TAGS, "assessments": [{"assessment_name": "ok", "feedback": {"value": 1}}],
    } | changes  # fmt: skip
    info = {key: value for key, value in info.items() if value is not None}
    return {"info": info, "data": {"spans": list(spans or (ROOT,))}}


def bare(*spans: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A trace of which nothing but the id, the state and the spans is known."""
    info = {"trace_id": ID, "state": "OK", "request_time": "2026-08-22T08:00:00Z"} | changes
    return {"info": info, "data": {"spans": list(spans)}}


def frame_row(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The row that `search_traces()` of 3.x makes of a trace."""
    info = record["info"]
    return {
        "trace_id": info["trace_id"], "trace": json.dumps(record), "client_request_id": info.get("client_request_id"),
        "state": info["state"], "request_time": 1787385600123, "execution_duration": info.get("execution_duration_ms"),
        "request": "hi", "response": "hello", "trace_metadata": info.get("trace_metadata"), "tags": info.get("tags"),
        "spans": record["data"]["spans"], "assessments": info.get("assessments"),
    } | changes  # fmt: skip


def whole_2x(**changes: Any) -> dict[str, Any]:
    info = {
        "request_id": "r-1", "experiment_id": "7", "timestamp_ms": 1787385600123, "execution_time_ms": 1500,
        "status": "OK", "request_metadata": {"mlflow.traceInputs": '"hi"', "mlflow.sourceRun": "run"},
        "tags": {"mlflow.traceName": "agent", "team": "blue", "mlflow.trace.session": "s"}, "assessments": [],
    }  # fmt: skip
    root = span_2x(attributes=ROOT["attributes"])
    return {"info": info | changes, "data": {"spans": [root], "request": '"hi"', "response": '"hello"'}}


def mapped(record: Any) -> Trace:
    return MAPPER.map_trace(record)


def said(record: Any) -> tuple[Any, Any]:
    (turn,) = mapped(record).turns
    return turn.input, turn.output


def rejected(record: Any) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        MAPPER.map_trace(record)
    return caught.value


def test_a_trace_of_3x_becomes_a_trace_of_one_turn() -> None:
    trace = mapped(whole())
    (turn,) = trace.turns
    assert trace == Trace(
        id=ID,
        conversation_id="s",
        name="agent",
        started_at="2026-08-22T08:00:00.123000Z",
        ended_at="2026-08-22T08:00:01.000000Z",
        user_id="u",
        tags=("beta", "team=blue"),
        environment="prod",
        release="abc",
        version="1.2",
        status=Status.COMPLETED,
        turns=(turn,),
        tokens={"input": 3, "total": 5},
        cost=0.3,
        metadata={
            "region": "eu",
            "mlflow": {
                "client_request_id": "req-1",
                "assessments": [{"assessment_name": "ok", "feedback": {"value": 1}}],
                "trace_metadata": {
                    "mlflow.user": "dev", "mlflow.modelId": "m-1", "mlflow.trace.cost": {"input_cost": 0.1},
                },
                "tags": {"mlflow.artifactLocation": "mlruns/1"},
            },
        },
        origin={"format": "mlflow", "project": "7"},
    )  # fmt: skip
    assert (turn.input, turn.output, turn.latency_ms, len(turn.spans)) == ("hi", "hello", 1500.0, 1)


def test_a_row_of_a_data_frame_is_the_same_trace() -> None:
    assert mapped(frame_row(whole())) == mapped(whole())


def test_a_row_without_the_trace_itself_says_as_much_but_for_the_experiment() -> None:
    row = frame_row(whole())
    del row["trace"]
    from_columns, from_trace = mapped(row), mapped(whole())
    assert from_columns.origin == {"format": "mlflow"}
    assert (from_columns.turns, from_columns.metadata) == (from_trace.turns, from_trace.metadata)


def test_columns_that_somebody_added_to_a_frame_are_kept() -> None:
    trace = mapped(frame_row(whole(), reviewer="Ada", nothing=None))
    assert trace.metadata["mlflow"]["reviewer"] == "Ada"


def test_a_column_that_says_something_else_than_the_trace_is_kept_beside_it() -> None:
    kept = mapped(frame_row(whole(), assessments=[{"assessment_name": "new"}])).metadata["mlflow"]
    assert kept["assessments"] == [{"assessment_name": "ok", "feedback": {"value": 1}}]
    assert kept["column.assessments"] == [{"assessment_name": "new"}]


def test_nulls_that_parquet_pads_objects_with_say_nothing() -> None:
    row = frame_row(whole())
    row["assessments"] = [{**row["assessments"][0], "expectation": None, "feedback": {"value": 1, "error": None}}]
    row["trace_metadata"] = {**METADATA, "other": None}
    row["tags"] = {**TAGS, "gone": None}
    assert mapped(row) == mapped(whole())
    del row["trace"]
    assert mapped(row).metadata == mapped(whole()).metadata
    assert mapped(row).tags == ("beta", "team=blue")


def test_a_trace_of_2x_is_read_in_its_own_spelling() -> None:
    trace = mapped(whole_2x())
    assert (trace.id, trace.started_at, trace.status) == ("r-1", "2026-08-22T08:00:00.123000Z", Status.COMPLETED)
    assert (trace.conversation_id, trace.name, trace.tags) == ("s", "agent", ("team=blue",))
    assert said(whole_2x()) == ("hi", "hello")
    assert trace.turns[0].latency_ms == 1500.0
    assert trace.metadata == {"mlflow": {"trace_metadata": {"mlflow.sourceRun": "run"}}}
    assert trace.origin == {"format": "mlflow", "project": "7"}


def test_a_2x_frame_in_which_pandas_wrote_the_trace_as_an_object_is_the_same() -> None:
    record = whole_2x()
    info = record["info"]
    shown = {"span_id": "00000000000000aa", "span_type": "CHAIN", "inputs": "hi", "outputs": "hello"}
    row = {
        "request_id": "r-1", "trace": {"info": info, "data": {"spans": [shown], "intermediate_outputs": {"a": 1}}},
        "timestamp_ms": info["timestamp_ms"], "status": "OK", "execution_time_ms": 1500, "request": "hi",
        "response": "hello", "request_metadata": info["request_metadata"], "spans": record["data"]["spans"],
        "tags": info["tags"], "assessments": [],
    }  # fmt: skip
    assert mapped(row) == mapped(record)
    del row["trace"]
    assert mapped(row).turns == mapped(record).turns


def test_spans_alone_make_a_partial_trace_under_the_id_that_they_name() -> None:
    root = span(attributes={"mlflow.spanInputs": "hi", "session.id": "s", "user.id": "u"}, status=failed("no"))
    trace = mapped({"spans": [root]})
    assert (trace.id, trace.conversation_id, trace.user_id, trace.name) == (ID, "s", "u", "step")
    assert (trace.status, trace.error, trace.started_at) == (Status.FAILED, "no", "2026-08-22T08:00:00.000000Z")
    assert trace.origin == {"format": "mlflow", "shape": "spans"}


def test_an_id_that_the_trace_lacks_is_taken_from_its_spans() -> None:
    assert mapped(whole(trace_id=None)).id == ID


def test_metadata_and_tags_may_be_lists_of_pairs_or_json_in_a_text() -> None:
    pairs = [{"key": key, "value": value} for key, value in TAGS.items()]
    assert mapped(whole(tags=pairs, trace_metadata=json.dumps(METADATA))) == mapped(whole())


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("OK", Status.COMPLETED), ("ERROR", Status.FAILED), ("IN_PROGRESS", Status.PENDING),
        ("TraceStatus.ERROR", Status.FAILED),
    ],
)  # fmt: skip
def test_the_state_of_the_trace_counts_before_its_spans(state: str, status: Status) -> None:
    assert mapped(bare(span(seconds=None), state=state)).status is status


@pytest.mark.parametrize("state", ["STATE_UNSPECIFIED", "TRACE_STATUS_UNSPECIFIED", None, "NEW_ONE", 7])
def test_without_a_state_that_we_know_the_spans_tell(state: Any) -> None:
    trace = mapped(bare(span(status=failed("no")), state=state))
    assert (trace.status, trace.error) == (Status.FAILED, "no")
    assert trace.metadata.get("mlflow", {}).get("state") == (state if state in ("NEW_ONE", 7) else None)


def test_a_failed_trace_has_an_error_even_where_no_span_tells_it() -> None:
    assert mapped(bare(state="ERROR")).error == "state ERROR, without a message"


def test_an_unfinished_trace_has_no_end() -> None:
    trace = mapped(bare(span(seconds=None), span("bb", parent="aa"), state="IN_PROGRESS"))
    assert (trace.status, trace.ended_at) == (Status.PENDING, None)


CALL = span(
    "bb",
    parent="aa",
    attributes={
        "mlflow.spanType": "CHAT_MODEL", "mlflow.spanOutputs": {"answer": "42"},
        "mlflow.spanInputs": {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}],
        },
    },
)  # fmt: skip


def test_without_values_at_the_outer_span_the_calls_of_models_tell_the_turn() -> None:
    first, last = said(bare(span(), CALL))
    assert first["messages"][1]["content"] == "q"
    assert last == {"answer": "42"}


@pytest.mark.parametrize("state", ["ERROR", "IN_PROGRESS"])
def test_the_answer_of_a_model_is_not_the_answer_of_a_trace_that_did_not_end_well(state: str) -> None:
    assert said(bare(span(), CALL, state=state))[1] is None


def test_request_and_response_count_before_the_calls_of_models() -> None:
    row = frame_row(bare(span(), CALL), request={"q": 1}, response="yes")
    assert said(row) == ({"q": 1}, "yes")


def test_a_whole_value_counts_before_a_preview_and_a_preview_before_a_cut_value() -> None:
    whole_value = {"mlflow.traceInputs": '{"q": "long"}'}
    cut_value = {"mlflow.traceInputs": '{"q": "' + "long " * 49}
    assert said(bare(request_preview="long", trace_metadata=whole_value))[0] == {"q": "long"}
    assert said(bare(request_preview="long", trace_metadata=cut_value))[0] == "long"
    assert said(bare(trace_metadata=cut_value))[0].startswith('{"q": "long')


def test_null_as_json_is_no_value() -> None:
    assert said(bare(response_preview="null")) == (None, None)


def test_previews_that_repeat_the_turn_are_not_kept_and_others_are() -> None:
    asked = {"messages": [{"role": "user", "content": "how old is the bowl?"}]}
    root = span(attributes={"mlflow.spanInputs": asked, "mlflow.spanOutputs": {"é": "x" * 300}})
    same = bare(root, request_preview="how old is...", response_preview='{"é": "xxx...')
    same["info"]["trace_metadata"] = {"mlflow.traceOutputs": '{"\\u00e9": "' + "x" * 238}
    assert mapped(same).metadata == {}
    other = bare(root, request_preview="a bowl")
    assert mapped(other).metadata == {"mlflow": {"request_preview": "a bowl"}}


def test_an_empty_input_of_the_outer_span_is_kept_where_nothing_else_tells() -> None:
    assert said(bare(span(attributes={"mlflow.spanInputs": {}, "mlflow.spanOutputs": ""}))) == ({}, "")


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": [{"role": "system", "content": "Be brief."}]},
        {"messages": [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}]},
        [[{"type": "system", "content": "Be brief."}, {"type": "human", "content": "q"}]],
        {"system": "Be brief.", "messages": [{"role": "user", "content": "q"}]},
        {"instructions": "Be brief.", "input": "q"},
    ],
)
def test_the_system_prompt_is_found_in_the_shapes_of_several_apis(asked: Any) -> None:
    assert mapped(bare(span(attributes={"mlflow.spanInputs": asked}))).system == "Be brief."


def test_the_system_prompt_comes_from_a_call_where_the_turn_has_none() -> None:
    assert mapped(bare(span(attributes={"mlflow.spanInputs": "q"}), CALL)).system == "Be brief."


def test_tokens_and_cost_are_summed_over_the_spans_where_the_trace_has_none() -> None:
    usage = {"mlflow.chat.tokenUsage": {"total_tokens": 5}, "mlflow.llm.cost": {"total_cost": 0.5}}
    trace = mapped(bare(span(attributes=usage)))
    assert (trace.tokens, trace.cost) == ({"total": 5}, 0.5)


def test_sums_that_were_cut_are_kept_and_the_spans_count() -> None:
    usage = {"mlflow.chat.tokenUsage": {"total_tokens": 5}}
    trace = mapped(bare(span(attributes=usage), trace_metadata={"mlflow.trace.tokenUsage": '{"input_tok'}))
    assert trace.tokens == {"total": 5}
    assert trace.metadata["mlflow"]["trace_metadata"] == {"mlflow.trace.tokenUsage": '{"input_tok'}


@pytest.mark.parametrize(
    ("duration", "ms"), [(12, 12.0), ("12", 12.0), ("0.088s", 88.0), (0, 1000.0), ("long", 1000.0)]
)
def test_a_duration_is_read_in_all_its_spellings_and_else_the_spans_tell(duration: Any, ms: float) -> None:
    assert mapped(bare(span(), execution_duration_ms=duration)).turns[0].latency_ms == ms


def test_a_location_that_is_no_experiment_is_kept() -> None:
    place = {"type": "UC_SCHEMA", "uc_schema": {"catalog_name": "c", "schema_name": "s"}}
    trace = mapped(whole(trace_location=place))
    assert trace.metadata["mlflow"]["trace_location"] == place
    assert trace.origin == {"format": "mlflow"}


def test_values_that_are_no_texts_where_texts_are_expected_are_kept() -> None:
    odd = {"mlflow.trace.session": ["s"], "environment": {"a": 1}}
    trace = mapped(whole(trace_metadata=odd, tags={"list": [1], "mlflow.traceName": {}}))
    assert (trace.conversation_id, trace.environment, trace.tags, trace.name) == (None, None, ("list=[1]",), "step")
    assert trace.metadata["environment"] == {"a": 1}
    assert trace.metadata["mlflow"]["trace_metadata"] == {"mlflow.trace.session": ["s"]}


def test_a_key_of_the_user_that_is_called_mlflow_is_kept_beside_ours() -> None:
    metadata = mapped(whole(trace_metadata={"mlflow": "mine"})).metadata
    assert metadata["metadata.mlflow"] == "mine"
    assert "client_request_id" in metadata["mlflow"]


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        ([1], "not_an_object", "the record is a list"),
        ({}, "not_a_whole_trace", "no MLflow trace"),
        (span(), "not_a_whole_trace", "one MLflow span, not a whole trace; export whole traces"),
        ({"system": {}, "mlflow": {"info": {}, "data": []}}, "not_a_whole_trace", "import the traces.json beside it"),
        ({"info": {"state": "OK"}, "data": {"spans": []}}, "no_id", "trace_id is missing or empty"),
        ({"spans": [span(), span("bb", attributes={"mlflow.traceRequestId": "tr-2"})]}, "no_id", "do not name one"),
        ({"trace_id": "tr-1", "trace": "Trace(tr-1)"}, "bad_field", "trace must be a trace as JSON"),
        (whole(trace_id=[1]), "bad_field", "info.trace_id must be a string or an integer"),
        (whole(request_time="soon"), "bad_time", 'info.request_time: "soon" is not a time'),
        (whole(tags="red"), "bad_field", "info.tags must be an object of texts"),
        ({"info": {"trace_id": "tr-1"}, "data": "x"}, "bad_field", "data must be an object"),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped_is_rejected_with_the_field_and_the_way_out(record: Any, kind: str, words: str) -> None:
    error = rejected(record)
    assert error.kind == kind
    assert words in str(error)
    assert "; " in str(error)


def test_a_record_nested_beyond_reason_is_rejected() -> None:
    deep: Any = "x"
    for _ in range(3_000):
        deep = [deep]
    assert "nested too deep" in str(rejected(whole(assessments=deep)))


def test_a_time_as_a_number_counts_milliseconds_in_a_trace_and_nanoseconds_in_a_span() -> None:
    trace = mapped(bare(span(start_time_unix_nano=START), request_time=1_000))
    assert trace.started_at == "1970-01-01T00:00:01.000000Z"
    assert trace.turns[0].spans[0].started_at == "2026-08-22T08:00:00.000000Z"


# --- detection --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        whole(), whole_2x(), frame_row(whole()), {key: frame_row(whole())[key] for key in ("trace_id", "trace")},
        {key: value for key, value in frame_row(whole()).items() if key != "trace"}, {"spans": [ROOT]},
        {"spans": [span_2x()]}, {"info": whole()["info"]},
    ],
    ids=["3.x", "2.x", "frame", "two columns", "frame without trace", "artifact", "2.x artifact", "info"],
)  # fmt: skip
def test_each_shape_is_recognised(record: Any) -> None:
    guess = detect_format([record] * 3)
    assert guess.is_sure
    assert guess.mapper is MAPPER


@pytest.mark.parametrize(
    "record",
    [
        {"info": {"a": 1}, "data": [1]}, {"info": "text", "data": 1}, {"trace": {"id": "1"}, "spans": []},
        {"spans": [{"context": {}, "attributes": {"llm.model_name": "m"}}]}, span(), {"trace_id": "1", "name": "n"},
    ],
)  # fmt: skip
def test_what_only_looks_alike_is_not_taken_for_it(record: Any) -> None:
    guess = detect_format([record] * 3)
    assert not (guess.is_sure and guess.mapper is MAPPER)
