from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import RejectedError
from pipeline.mappers.braintrust import MAPPER, split
from pipeline.models import Span, Status, Trace
from tests.unit.mappers.assembling import traces_of


def row(span_id: str = "s1", parent: str | None = None, **changes: Any) -> dict[str, Any]:
    """A row of project logs as the fetch API gives it; what `metrics` says is added to a start and an end."""
    metrics = {"start": 1787385600.25, "end": 1787385602.5, **changes.pop("metrics", {})}
    return {
        "id": f"row-{span_id}",
        "span_id": span_id,
        "root_span_id": "t1",
        "span_parents": None if parent is None else [parent],
        "_xact_id": "1000195000000000001",
        "created": "2026-08-22T08:00:00.000Z",
        "project_id": "parcels",
        "log_id": "g",
        "span_attributes": {"name": span_id},
        "metrics": metrics,
        **changes,
    }


def one(*rows: Any) -> Trace:
    [trace] = traces_of(MAPPER, rows)
    return trace


def span_of(**changes: Any) -> Span:
    spans = one(row("s0"), row("s1", "s0", **changes)).turns[0].spans
    return next(span for span in spans if span.id == "s1")


def test_the_rows_of_one_root_span_id_are_a_trace_with_what_the_root_says() -> None:
    root = row(
        input="Where?", output="In Girona.", expected="Girona", scores={"exact": 0.5}, tags=["vip"],
        metadata={"session_id": "c-1", "user_id": "ann", "plan": "gold"}, error=None,
        context={"caller_filename": "bot.py", "span_origin": {"environment": {"type": "server", "name": "staging"}}},
    )  # fmt: skip
    trace = one(row("s2", "s1"), root)
    assert (trace.id, trace.conversation_id, trace.user_id, trace.name) == ("t1", "c-1", "ann", "s1")
    assert (trace.environment, trace.tags, trace.status) == ("staging", ("vip",), Status.COMPLETED)
    assert trace.origin == {"format": "braintrust", "project": "parcels"}
    assert (trace.turns[0].input, trace.turns[0].output) == ("Where?", "In Girona.")
    assert trace.metadata == {
        "session_id": "c-1",
        "user_id": "ann",
        "plan": "gold",
        "braintrust": {
            "expected": "Girona",
            "scores": {"exact": 0.5},
            "id": "row-s1",
            "context": root["context"],
        },
    }
    assert [span.metadata for span in trace.turns[0].spans] == [{}, {"braintrust": {"id": "row-s2"}}]


def test_seconds_are_read_to_the_microsecond() -> None:
    span = span_of(metrics={"start": 1787385600.123457})
    assert (span.started_at, span.ended_at) == ("2026-08-22T08:00:00.123457Z", "2026-08-22T08:00:02.500000Z")


def test_without_a_start_a_span_starts_when_it_was_created() -> None:
    assert span_of(metrics={"start": None}).started_at == "2026-08-22T08:00:00.000000Z"


def test_a_call_of_a_model_has_model_tokens_and_cost() -> None:
    span = span_of(
        span_attributes={"name": "chat", "type": "llm", "purpose": "scorer"}, metadata={"model": "gpt-4.1", "k": 1},
        metrics={"prompt_tokens": 12, "completion_tokens": 5, "tokens": 17, "prompt_cached_tokens": 3,
                 "estimated_cost": 0.25, "time_to_first_token": 0.5},
    )  # fmt: skip
    assert (span.type, span.name, span.model, span.cost) == ("GENERATION", "chat", "gpt-4.1", 0.25)
    assert span.tokens == {"input": 12, "output": 5, "total": 17, "prompt_cached_tokens": 3}
    assert span.metadata == {
        "k": 1,
        "braintrust": {
            "id": "row-s1",
            "metrics": {"time_to_first_token": 0.5},
            "span_attributes": {"purpose": "scorer"},
        },
    }


@pytest.mark.parametrize(
    ("stated", "type", "kept"),
    [
        ("tool", "TOOL", None),
        ("score", "EVALUATOR", None),
        ("task", "CHAIN", None),
        ("function", "SPAN", None),
        ("retriever", "RETRIEVER", None),
        ("review", "SPAN", {"type": "review"}),
        (None, "SPAN", None),
    ],
)
def test_types_are_translated_and_unknown_ones_kept(stated: str | None, type: str, kept: Any) -> None:
    span = span_of(span_attributes={"type": stated})
    assert (span.type, span.metadata["braintrust"].get("span_attributes")) == (type, kept)


def test_of_two_states_that_with_the_higher_transaction_counts_whatever_its_length() -> None:
    newer, older = row(output="new", _xact_id="1000"), row(output="old", _xact_id=999)
    trace = one(newer, older)
    assert (trace.turns[0].output, trace.revision) == ("new", "00000000000000001000")
    assert len(trace.turns[0].spans) == 1


def test_a_deleted_row_takes_back_the_one_before() -> None:
    deleted = row("s2", "s1", _object_delete=True, _xact_id="1000195000000000009")
    assert [span.id for span in one(row(), row("s2", "s1"), deleted).turns[0].spans] == ["s1"]
    assert traces_of(MAPPER, [row("s2", _object_delete=True)]) == []


def test_several_parents_are_kept_and_the_first_counts() -> None:
    span = span_of(span_parents=["s0", "x"])
    assert (span.parent_id, span.metadata["braintrust"]["span_parents"]) == ("s0", ("s0", "x"))


def test_a_row_that_is_no_root_and_names_no_parent_hangs_on_the_root() -> None:
    trace = one(row("t1", is_root=True), row("s2", is_root=False))
    assert {span.id: span.parent_id for span in trace.turns[0].spans} == {"t1": None, "s2": "t1"}


@pytest.mark.parametrize(
    ("error", "text"),
    [("ValueError('no')\n\nTraceback …", "ValueError('no')\n\nTraceback …"), ({"message": "no"}, '{"message":"no"}')],
)
def test_an_error_of_the_root_makes_the_trace_fail(error: Any, text: str) -> None:
    trace = one(row(error=error))
    assert (trace.status, trace.error) == (Status.FAILED, text)


def test_attachments_are_kept_as_they_are() -> None:
    attachment = {"type": "braintrust_attachment", "filename": "a.png", "key": "k", "content_type": "image/png"}
    trace = one(row(input={"picture": attachment}))
    assert trace.turns[0].input == {"picture": attachment}


def test_pages_of_both_apis_and_rows_are_the_same_traces() -> None:
    rows = [row("s2", "s1"), row()]
    for page in ({"events": rows, "cursor": "x"}, {"data": rows, "schema": {"type": "array"}, "cursor": None}):
        assert list(split(page)) == [("span 1", rows[0]), ("span 2", rows[1])]
        assert traces_of(MAPPER, [page]) == traces_of(MAPPER, rows)


def test_a_row_of_a_table_is_the_same_as_the_row() -> None:
    whole = row(input=[{"role": "user", "content": "q"}], scores={"a": 1}, tags=["t"], metadata={"k": 1}, is_root=True)
    table = {key: value if isinstance(value, str) else "" if value is None else json.dumps(value)
             for key, value in whole.items()}  # fmt: skip
    assert one(table) == one(whole)


def test_without_a_root_the_spans_keep_what_is_theirs() -> None:
    trace = one(row("s2", "gone", tags=["a"], scores={"x": 1}), row("s3", "gone", tags=["b"]))
    assert trace.partial == "1 parent span(s) not in the export: gone"
    assert (trace.tags, trace.metadata) == (("a",), {})
    kept = [span.metadata["braintrust"] for span in trace.turns[0].spans]
    assert kept == [{"id": "row-s2", "scores": {"x": 1}}, {"id": "row-s3", "tags": ["b"]}]


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"root_span_id": None}, "no_id", "root_span_id is missing or empty; export whole rows"),
        ({"root_span_id": "", "dataset_id": "d"}, "not_a_trace", "a row of a Braintrust data set"),
        ({"span_id": None, "id": ""}, "no_id", "span_id is missing"),
        ({"metrics": {"start": "x"}}, "bad_time", 'metrics.start: "x" is not a time'),
        ({"metrics": {"prompt_tokens": "x"}}, "bad_field", 'span "s1": metrics.prompt_tokens must be a whole number'),
        ({"metadata": [1]}, "bad_field", 'span "s1": metadata must be an object, not a list of 1'),
    ],
)
def test_what_cannot_be_read_names_the_field_and_the_way_out(changes: dict[str, Any], kind: str, words: str) -> None:
    with pytest.raises(RejectedError) as error:
        traces_of(MAPPER, [row(**changes)])
    assert (error.value.kind, words in str(error.value)) == (kind, True)
