from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.langsmith import MAPPER
from pipeline.models import Span, Status, Trace, Turn
from pipeline.readers import read_records
from tests.unit.mappers.assembling import traces_of

START, END = "2026-08-22T08:00:00.250000", "2026-08-22T08:00:09.250000"
RUNTIME = {"library": "langchain-core", "runtime": "python"}
DOTTED = "20260822T080000250000Zr-1"
CREATE = {"id": "r-1", "trace_id": "r-1", "dotted_order": DOTTED, "run_type": "chain", "start_time": START,
          "inputs": {"question": "hi"}, "session_name": "bot"}  # fmt: skip
UPDATE = {"id": "r-1", "dotted_order": DOTTED, "end_time": END, "outputs": {"answer": "hello"}, "error": None}
USAGE = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9, "input_token_details": {"cache_read": 1}}
NO_COUNTS = {"total_tokens": 0, "prompt_tokens": 0, "completion_tokens": 0, "total_cost": 0}


def run(**changes: Any) -> dict[str, Any]:
    """The outer run of a trace, as list_runs gives it."""
    known = {
        "id": "r-1", "trace_id": "r-1", "parent_run_id": None, "dotted_order": DOTTED, "session_id": "p-1",
        "name": "bot", "run_type": "chain", "start_time": START, "end_time": END, "status": "success", "error": None,
        "inputs": {"question": "hi"}, "outputs": {"answer": "hello"}, "tags": ["a"], "feedback_stats": {},
        "extra": {"metadata": {"thread_id": "c-1", "user_id": "ann", "plan": "free"}, "runtime": RUNTIME},
        "total_tokens": 12, "prompt_tokens": 9, "completion_tokens": 3, "total_cost": "0.250000",
    }  # fmt: skip
    return known | changes


def call(**changes: Any) -> dict[str, Any]:
    """A call of a model inside it."""
    metadata = {
        "thread_id": "c-1",
        "user_id": "ann",
        "plan": "free",
        "ls_model_name": "gpt-4.1",
        "ls_provider": "openai",
    }
    inner = {
        "id": "r-2", "parent_run_id": "r-1", "dotted_order": f"{DOTTED}.20260822T080001250000Zr-2", "name": "chat",
        "run_type": "llm", "start_time": "2026-08-22T08:00:01.250000", "tags": ["a", "seq:step:1"],
        "inputs": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]},
        "outputs": {"choices": [{"message": {"role": "assistant", "content": "hello"}}]},
        "extra": {"metadata": metadata, "runtime": RUNTIME, "invocation_params": {"temperature": 0}},
    }  # fmt: skip
    return run(**(inner | changes))


def one(*records: Any) -> Trace:
    (trace,) = traces_of(MAPPER, records)
    return trace


def span(*records: Any, id: str = "r-1") -> Span:
    return next(span for span in one(*records).turns[0].spans if span.id == id)


def test_the_runs_of_a_trace_become_its_one_turn_with_a_span_each() -> None:
    started_at, ended_at = f"{START}Z", f"{END}Z"
    tokens = {"input": 9, "output": 3, "total": 12}
    outer = Span(
        id="r-1",
        name="bot",
        type="CHAIN",
        started_at=started_at,
        ended_at=ended_at,
        input={"question": "hi"},
        output={"answer": "hello"},
        tokens=tokens,
        cost=0.25,
    )
    inner = Span(
        id="r-2",
        name="chat",
        type="GENERATION",
        parent_id="r-1",
        started_at="2026-08-22T08:00:01.250000Z",
        ended_at=ended_at,
        input=call()["inputs"],
        output=call()["outputs"],
        model="gpt-4.1",
        tokens=tokens,
        cost=0.25,
        metadata={
            "ls_provider": "openai",
            "langsmith": {"extra": {"invocation_params": {"temperature": 0}}, "tags": ["seq:step:1"]},
        },
    )
    assert one(call(), run()) == Trace(
        id="r-1",
        conversation_id="c-1",
        name="bot",
        started_at=started_at,
        ended_at=ended_at,
        user_id="ann",
        tags=("a",),
        status=Status.COMPLETED,
        system="Be brief.",
        turns=(
            Turn(
                input={"question": "hi"},
                output={"answer": "hello"},
                started_at=started_at,
                ended_at=ended_at,
                latency_ms=9000.0,
                tokens=tokens,
                cost=0.25,
                spans=(outer, inner),
            ),
        ),
        models=("gpt-4.1",),
        tokens=tokens,
        cost=0.25,
        metadata={"plan": "free", "langsmith": {"extra": {"runtime": RUNTIME}}},
        origin={"format": "langsmith", "project": "p-1"},
        revision=ended_at,
    )


class TestShapes:
    """Whatever way the same two runs are written, they are the same trace."""

    def test_a_page_of_a_query(self) -> None:
        assert one({"runs": [run(), call()], "cursors": {"next": "x"}}) == one(run(), call())

    def test_a_run_with_the_runs_inside_it(self) -> None:
        inner = {key: value for key, value in call().items() if key not in ("trace_id", "parent_run_id")}
        assert one(run(child_runs=[inner])) == one(run(), call())

    def test_runs_inside_that_say_nothing_of_their_place(self) -> None:
        inner = {"id": "r-2", "run_type": "tool", "child_runs": [{"id": "r-3", "run_type": "llm"}]}
        outer = {"id": "r-1", "run_type": "chain", "end_time": END, "child_runs": [inner, {"id": "r-4"}]}
        trace = one(outer)
        assert (trace.id, trace.partial) == ("r-1", None)
        assert {span.id: span.parent_id for span in trace.turns[0].spans} == {
            "r-1": None, "r-2": "r-1", "r-3": "r-2", "r-4": "r-1",
        }  # fmt: skip

    def test_lines_of_langsmith_cli(self) -> None:
        counts = ("total_tokens", "prompt_tokens", "completion_tokens")
        moved = {"id", "extra", "dotted_order", "session_id", "total_cost", *counts}

        def line(run: dict[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in run.items() if key not in moved} | {
                "run_id": run["id"],
                "duration_ms": 9000,
                "custom_metadata": run["extra"]["metadata"],
                "token_usage": {key: run[key] for key in counts},
                "costs": {"total_cost": 0.25},
            }

        bare = {"runtime": {}}
        traces = [one(run(session_id=None, extra=run()["extra"] | bare)), one(line(run()))]
        assert traces[0] == traces[1]

    def test_runs_of_the_newer_api(self) -> None:
        written = run(
            run_type="CHAIN", status="SUCCESS", session_id=None, project_id="p-1", metadata=run()["extra"]["metadata"],
            extra={"runtime": RUNTIME}, thread_id="c-1", is_root=True, parent_run_ids=[], total_cost=0.25,
            inputs_preview="hi", latency_seconds=9.0, share_url="https://smith.test/public/s/r",
        )  # fmt: skip
        assert one({"items": [written]}) == one(run())

    def test_a_trace_of_langsmith_cli(self) -> None:
        bare = [{key: value for key, value in each.items() if key != "trace_id"} for each in (run(), call())]
        assert one({"trace_id": "r-1", "run_count": 2, "runs": bare}) == one(run(), call())

    def test_a_thread_with_its_runs(self) -> None:
        bare = run(extra={})
        assert one({"thread_id": "c-7", "runs": [bare], "count": 1}).conversation_id == "c-7"

    @pytest.mark.parametrize("zone", [None, UTC])
    def test_rows_of_a_bulk_export_in_parquet(self, tmp_path: Path, zone: Any) -> None:
        def row(run: dict[str, Any]) -> dict[str, Any]:
            texts = {key: json.dumps(run[key]) for key in ("inputs", "outputs", "extra", "feedback_stats")}
            times = {key: datetime.fromisoformat(run[key]).replace(tzinfo=zone) for key in ("start_time", "end_time")}
            others = {"events": "null", "is_root": run["parent_run_id"] is None, "parent_run_ids": ["r-1"]}
            return run | texts | times | others | {"total_cost": Decimal("0.250000")}

        pq.write_table(pa.Table.from_pylist([row(run()), row(call())]), tmp_path / "runs.parquet")
        records = [record.data for record in read_records(tmp_path / "runs.parquet", name="r", max_record_bytes=10**6)]
        assert MAPPER.detect(records).confidence > 0.9
        assert one(*records) == one(run(), call())

    def test_a_batch_of_creates_and_updates(self) -> None:
        created = {key: run()[key] for key in ("id", "trace_id", "name", "run_type", "start_time", "inputs", "extra")}
        batch = {
            "post": [created | {"outputs": {}, "tags": ["a"], "session_name": "p-1", "dotted_order": DOTTED}],
            "patch": [
                {"id": "r-1", "dotted_order": DOTTED, "end_time": END, "outputs": run()["outputs"], "error": None,
                 "tags": [], "extra": {"metadata": {"late": 1}}}
            ],
        }  # fmt: skip
        trace = one(batch)
        assert trace.turns[0].spans[0].output == {"answer": "hello"}
        assert trace.metadata == {"plan": "free", "late": 1, "langsmith": {"extra": {"runtime": RUNTIME}}}
        assert (trace.tags, trace.user_id, trace.status) == (("a",), "ann", Status.COMPLETED)
        assert MAPPER.map_trace(batch) == trace


class TestCreatesAndUpdates:
    def test_the_order_of_records_does_not_matter(self) -> None:
        assert one(CREATE, UPDATE) == one(UPDATE, CREATE)

    def test_an_update_without_the_trace_finds_the_outer_run_that_it_updates(self) -> None:
        bare = {key: value for key, value in UPDATE.items() if key != "dotted_order"}
        assert one(CREATE, bare) == one(CREATE, UPDATE)

    def test_an_update_alone_is_a_partial_trace(self) -> None:
        trace = one(UPDATE)
        assert (trace.id, trace.started_at, trace.ended_at) == ("r-1", f"{START}Z", f"{END}Z")
        assert (trace.turns[0].output, trace.partial) == (
            {"answer": "hello"},
            "an update of the outer run, without its create",
        )

    def test_an_update_alone_that_does_not_tell_its_trace_is_rejected(self) -> None:
        bare = {key: value for key, value in UPDATE.items() if key != "dotted_order"}
        with pytest.raises(RejectedError, match="an update of a run whose create is not in the export"):
            one(bare)

    def test_a_create_alone_is_pending(self) -> None:
        trace = one(CREATE)
        assert (trace.status, trace.ended_at, trace.revision, trace.partial) == (
            Status.PENDING,
            None,
            f"{START}Z",
            None,
        )

    def test_what_an_update_leaves_empty_stays(self) -> None:
        older = {"id": 1, "inputs": {"q": 1}, "tags": ["a"], "extra": {"k": 1, "metadata": {"a": 1, "b": 1}}}
        newer = {"id": 1, "inputs": None, "tags": [], "error": None, "extra": {"metadata": {"b": 2}}}
        assert MAPPER.merge is not None
        assert MAPPER.merge(older, newer) == {
            "id": 1, "inputs": {"q": 1}, "tags": ["a"], "error": None,
            "extra": {"k": 1, "metadata": {"a": 1, "b": 2}},
        }  # fmt: skip

    def test_inputs_are_replaced_whole(self) -> None:
        assert MAPPER.merge is not None
        assert MAPPER.merge({"inputs": {"a": 1}}, {"inputs": {"b": 2}}) == {"inputs": {"b": 2}}


class TestIds:
    def test_a_parent_stands_in_dotted_order_too(self) -> None:
        assert span(run(), call(parent_run_id=None), id="r-2").parent_id == "r-1"

    def test_or_last_among_the_parents(self) -> None:
        inner = call(parent_run_id=None, dotted_order=None, parent_run_ids=["r-1", "r-9"])
        assert span(run(), inner, id="r-2").parent_id == "r-9"

    def test_a_dotted_order_of_another_run_tells_no_parent(self) -> None:
        assert span(call(id="r-5", parent_run_id=None), id="r-5").parent_id is None

    @pytest.mark.parametrize("dotted", [None, "", "20260822T080000250000Z.1", "2026-08-22T08:00:00.250000+00:00r-1", 7])
    def test_a_dotted_order_that_is_none_tells_nothing(self, dotted: Any) -> None:
        assert one(run(dotted_order=dotted)) == one(run())

    def test_the_trace_stands_first_in_dotted_order(self) -> None:
        assert one(call(trace_id=None)).id == "r-1"

    def test_or_first_among_the_parents(self) -> None:
        assert one(call(trace_id=None, dotted_order=None, parent_run_ids=["r-0", "r-1"])).id == "r-0"

    def test_a_run_without_a_parent_is_its_own_trace(self) -> None:
        assert one(run(trace_id=None, dotted_order=None)).id == "r-1"

    def test_the_start_stands_in_dotted_order_too(self) -> None:
        assert span(run(start_time=None)).started_at == f"{START}Z"

    def test_lists_may_be_json_in_texts(self) -> None:
        inner = call(parent_run_id=None, trace_id=None, dotted_order=None, parent_run_ids='["r-1"]', tags='["a", "b"]')
        mapped = span(run(), inner, id="r-2")
        assert (mapped.parent_id, mapped.metadata["langsmith"]["tags"]) == ("r-1", ["b"])

    def test_runs_of_an_export_without_any_of_these_stand_alone_and_are_marked(self) -> None:
        fields = ("id", "name", "run_type", "start_time", "end_time", "status", "total_tokens", "total_cost")
        trace = one({key: call()[key] for key in fields})
        assert (trace.id, trace.partial) == (
            "r-2",
            "the export does not tell which runs belong together (trace_id, parent_run_id, dotted_order)",
        )

    def test_a_run_whose_parent_is_not_there_is_kept_and_marked(self) -> None:
        trace = one(call())
        assert trace.partial == "1 parent span(s) not in the export: r-1"
        assert (trace.turns[0].input, trace.turns[0].output, trace.conversation_id) == ("hi", "hello", "c-1")

    def test_a_run_that_is_there_twice_counts_once_in_its_later_state(self) -> None:
        running = run(end_time=None, status="pending", outputs=None)
        assert one(run(), running, run()) == one(run())


class TestFields:
    @pytest.mark.parametrize(
        ("stated", "kind"),
        [("llm", "GENERATION"), ("chain", "CHAIN"), ("tool", "TOOL"), ("retriever", "RETRIEVER"),
         ("embedding", "EMBEDDING"), ("LLM", "GENERATION")],
    )  # fmt: skip
    def test_types_are_mapped(self, stated: str, kind: str) -> None:
        assert span(run(run_type=stated)).type == kind

    @pytest.mark.parametrize("stated", ["prompt", "parser", "oracle"])
    def test_a_type_that_we_have_not_is_kept(self, stated: str) -> None:
        mapped = span(run(), call(run_type=stated), id="r-2")
        assert (mapped.type, mapped.metadata["langsmith"]["run_type"]) == ("SPAN", stated)

    def test_what_the_sdk_wraps_is_taken_out(self) -> None:
        turn = one(run(inputs={"input": "hi"}, outputs={"output": ["hello"]})).turns[0]
        assert (turn.input, turn.output) == ("hi", ["hello"])

    def test_a_call_of_a_model_alone_is_the_question_and_its_answer(self) -> None:
        trace = one(call(parent_run_id=None, id="r-1", dotted_order=DOTTED))
        assert (trace.turns[0].input, trace.turns[0].output, trace.system) == ("hi", "hello", "Be brief.")
        assert trace.turns[0].spans[0].input == call()["inputs"]

    def test_calls_of_a_model_without_their_outer_run_are_the_first_question_and_the_last_answer(self) -> None:
        later = {"messages": [{"role": "user", "content": "and now?"}]}, {"content": "nothing", "role": "assistant"}
        trace = one(call(), call(id="r-3", start_time=END, dotted_order=None, inputs=later[0], outputs=later[1]))
        assert (trace.turns[0].input, trace.turns[0].output) == ("hi", "nothing")

    def test_documents_are_the_retrieval_context(self) -> None:
        documents = [{"page_content": "one", "metadata": {}}, {"page_content": "two", "metadata": {}}]
        trace = one(run(), call(run_type="retriever", outputs={"documents": documents}))
        assert trace.turns[0].retrieval_context == "one\n\ntwo"

    def test_a_run_in_error_has_failed(self) -> None:
        trace = one(run(status="error", error="ValueError: boom", outputs=None))
        assert (trace.status, trace.error) == (Status.FAILED, "ValueError: boom")

    def test_an_error_may_have_no_message(self) -> None:
        trace = one(run(status="error"))
        assert (trace.status, trace.error) == (Status.FAILED, "in error, without a message")

    def test_an_error_inside_is_no_failure_of_a_trace_that_went_on(self) -> None:
        assert one(run(), call(status="error", error="no")).status is Status.COMPLETED

    def test_a_status_decides_where_the_end_is_not_exported(self) -> None:
        trace = one({key: value for key, value in run().items() if key != "end_time"})
        assert (trace.status, trace.metadata["langsmith"]["status"]) == (Status.COMPLETED, "success")

    def test_a_status_that_we_do_not_know_is_kept(self) -> None:
        trace = one(run(status="interrupted"))
        assert (trace.status, trace.metadata["langsmith"]["status"]) == (Status.COMPLETED, "interrupted")

    @pytest.mark.parametrize("key", ["thread_id", "session_id", "conversation_id"])
    def test_a_conversation_has_one_of_three_names(self, key: str) -> None:
        trace = one(run(extra={"metadata": {key: "c-5", "plan": "free"}}))
        assert (trace.conversation_id, trace.metadata) == ("c-5", {"plan": "free"})

    def test_the_outer_run_tells_the_conversation_before_those_inside(self) -> None:
        inner = call(extra={"metadata": {"thread_id": "subgraph"}})
        assert one(run(extra={"metadata": {"session_id": "c-5"}}), inner).conversation_id == "c-5"

    def test_the_project_is_no_conversation(self) -> None:
        trace = one(run(extra=None))
        assert (trace.conversation_id, trace.origin["project"]) == (None, "p-1")

    @pytest.mark.parametrize("odd", [{"a": 1}, True, [], " "])
    def test_what_is_no_id_stays_metadata(self, odd: Any) -> None:
        trace = one(run(extra={"metadata": {"thread_id": odd}}))
        assert (trace.conversation_id, trace.metadata) == (None, {"thread_id": odd})

    def test_environment_and_release_are_taken_from_the_metadata(self) -> None:
        trace = one(run(extra={"metadata": {"environment": "production", "revision_id": "v7"}}))
        assert (trace.environment, trace.release, trace.metadata) == ("production", "v7", {})

    def test_metadata_that_differ_are_all_kept(self) -> None:
        trace = one(run(extra={"metadata": {"plan": "free"}}, metadata={"plan": "paid", "k": 1}))
        assert trace.metadata == {"plan": "free", "k": 1, "langsmith": {"metadata": {"plan": "paid"}}}

    def test_an_extra_that_is_no_object_is_kept(self) -> None:
        trace = one(run(extra=7), call(extra="odd"))
        assert trace.metadata == {"langsmith": {"extra": 7}}
        assert trace.turns[0].spans[1].metadata["langsmith"]["extra"] == "odd"

    def test_offloaded_values_are_named_and_their_urls_lose_the_signature(self) -> None:
        urls = {"ROOT": {"presigned_url": "/download?jwt=secret", "s3_url": "s3://b/k"}}
        trace = one(run(inputs={}, inputs_s3_urls=urls, outputs_s3_urls=urls))
        unsigned = {"ROOT": {"presigned_url": "/download", "s3_url": "s3://b/k"}}
        assert trace.metadata["langsmith"] == {
            "extra": {"runtime": RUNTIME},
            "inputs_s3_urls": unsigned,
            "outputs_s3_urls": unsigned,
            "offloaded": ["inputs"],
        }

    def test_events_are_kept_where_they_tell_more_than_start_and_end(self) -> None:
        events = [{"name": "start", "time": "t"}, {"name": "new_token", "kwargs": {"token": "he"}}, {"name": "retry"}]
        assert one(run(events=events)).metadata["langsmith"]["events"] == [{"name": "retry"}]
        assert one(run(events=events, outputs=None)).metadata["langsmith"]["events"] == events[1:]

    def test_feedback_and_whatever_we_do_not_know_is_kept(self) -> None:
        trace = one(
            run(feedback_stats='{"tone": {"n": 1}}', in_dataset=False, app_path="/o/p", serialized={"name": "n"})
        )
        assert trace.metadata["langsmith"] == {
            "extra": {"runtime": RUNTIME}, "feedback_stats": {"tone": {"n": 1}}, "in_dataset": False,
            "app_path": "/o/p", "serialized": {"name": "n"},
        }  # fmt: skip


class TestUsage:
    def test_details_of_the_counts_are_kinds_of_tokens(self) -> None:
        mapped = span(
            run(
                prompt_token_details={"cache_read": 4}, completion_token_details={"raw": {"reasoning": 2}}, total_cost=1
            )
        )
        assert mapped.tokens == {"input": 9, "output": 3, "total": 12, "input_cache_read": 4, "output_reasoning": 2}

    @pytest.mark.parametrize(
        "outputs",
        [
            {"usage_metadata": USAGE},
            {"generations": [[{"text": "a", "message": {"kwargs": {"usage_metadata": USAGE}}}]]},
            {"generations": [{"text": "a", "message": {"kwargs": {"usage_metadata": USAGE}}}]},
            {"usage": USAGE},
        ],
    )
    def test_without_counts_a_call_of_a_model_may_tell_them_itself(self, outputs: Any) -> None:
        mapped = span(run(), call(outputs=outputs, **NO_COUNTS), id="r-2")
        assert mapped.tokens == {"input": 7, "output": 2, "total": 9, "input_cache_read": 1}
        assert mapped.output == outputs

    def test_older_models_tell_them_in_llm_output(self) -> None:
        outputs = {"generations": [], "llm_output": {"token_usage": {"prompt_tokens": 7}, "model_name": "m"}}
        mapped = span(run(), call(outputs=outputs, extra={}, **NO_COUNTS), id="r-2")
        assert (mapped.tokens, mapped.model) == ({"input": 7}, "m")

    def test_zeros_of_an_outer_run_do_not_hide_what_is_inside(self) -> None:
        trace = one(run(**NO_COUNTS), call())
        assert (trace.tokens, trace.cost) == ({"input": 9, "output": 3, "total": 12}, 0.25)

    def test_without_a_total_the_parts_are_the_cost(self) -> None:
        assert span(run(total_cost=None, prompt_cost="0.5", completion_cost=0.25)).cost == 0.75

    def test_an_application_may_tell_its_own_cost(self) -> None:
        outputs = {"usage_metadata": {"input_tokens": 1, "total_cost": 0.5}}
        assert span(run(), call(outputs=outputs, total_cost=None), id="r-2").cost == 0.5


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        ([], "not_an_object", "an empty list, not an object"),
        (run(id=None), "no_id", "id is missing or empty; export the runs with their id"),
        ({"run_id": ""}, "no_id", "run_id is missing"),
        (run(id={}), "bad_field", "id must be a string"),
        (run(start_time="soon"), "bad_time", "start_time: .soon. is not a time"),
        (run(end_time=[]), "bad_time", "end_time: list is not a time"),
        (run(tags=3), "bad_field", r"runs\[r-1\].tags must be a list"),
        (run(total_tokens=1.5), "bad_field", r"runs\[r-1\].total_tokens must be a whole number"),
        (run(total_cost="cheap"), "bad_field", r"runs\[r-1\].total_cost must be a number"),
        (call(trace_id=None, dotted_order=None), "no_trace_id", "trace_id is missing, and so are dotted_order"),
        ({"id": "r-2", "run_type": "llm", "is_root": False}, "no_trace_id", "export the runs with their trace_id"),
        ({"runs": 3}, "bad_field", "runs must be a list of runs"),
        ({"runs": [3]}, "not_an_object", "a number, not an object"),
        ({"runs": [run(), run(id="r-9", trace_id="r-9")]}, "several_traces", "runs of several traces"),
    ],
)
def test_a_record_that_cannot_be_mapped_is_rejected_with_the_field_and_the_way_out(
    record: Any, kind: str, words: str
) -> None:
    with pytest.raises(RejectedError, match=words) as caught:
        MAPPER.map_trace(record)
    assert caught.value.kind == kind


def test_the_places_in_a_record_are_for_people() -> None:
    assert MAPPER.split is not None
    nested = {"runs": [run(child_runs=[call()]), run(id="r-3")]}
    assert [place for place, _ in MAPPER.split(nested)] == ["run 1", "run 2", "run 3"]
    assert [place for place, _ in MAPPER.split({"post": [run()], "patch": [run()]})] == ["post 1", "patch 1"]
    assert list(MAPPER.split(run())) == [("", run())]


def test_an_empty_page_holds_no_trace() -> None:
    assert traces_of(MAPPER, [{"runs": [], "cursors": {}}]) == []
    assert MAPPER.map_trace({"runs": []}) is None
