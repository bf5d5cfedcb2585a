"""Whatever text stands in a record is found in what is sent, but for what a mapper's docstring says is not kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.mappers import MAPPERS
from pipeline.models import Trace, plain
from tests.unit.factories import make_session
from tests.unit.mappers.assembling import traces_of
from tests.unit.mappers.valid_records import (
    CHILD_RUN,
    LANGFUSE,
    LANGFUSE_ROW,
    LANGFUSE_SCORE,
    OBSERVATION,
    RUN,
    UPDATE,
    VALID,
)

READ = frozenset(["role", "type", "start_time", "end_time", "created_at", "request_created_at", "response_created_at"])
READ |= frozenset(["last_updated_at", "updated_at", "prompt_tokens", "completion_tokens", "created"])
READ |= frozenset(["started_at", "ended_at", "start_ns"])
READ |= frozenset(["span_kind", "openinference.span.kind", "status_code", "input.mime_type"])
READ |= frozenset(["trace_id", "context.trace_id", "traceId", "from"])
"""What is turned into something else (an enum, a time, a number), and what brings records together."""
JOINS: dict[str, frozenset[str]] = {
    "langfuse": frozenset(
        ["id", "observation_id", "parent_observation_id", "parentObservationId", "level", "timestamp", "startTime",
         "endTime", "updatedAt", "traceTimestamp", "kind", "scores", "total_cost"]
    ),
    "langsmith": frozenset(["id", "parent_run_ids", "run_type", "total_cost"]),
    "otlp": frozenset(
        ["spanId", "traceID", "spanID", "span_id", "processID", "refType", "eventName", "key", "kind",
         "startTimeUnixNano", "endTimeUnixNano", "timeUnixNano"]
    ),
}  # fmt: skip
"""What must stay as it is besides, so that the records of a format are one trace still."""
NOT_KEPT: dict[str, set[str]] = {
    "langfuse": {"project_id"},
    "langsmith": {"dotted_order", "inputs_preview"},
    "langsmith-dataset": set(),
    "langsmith-fetch": set(),
    "otlp": {"schemaUrl", "schema_url"},
    "openinference": {"id"},
    "opik": {"downloaded_at"},
    "helicone": set(),
    "braintrust": {"_pagination_key", "log_id", "org_id"},
    "weave": {"trace_name"},
    "datadog": set(),
    "chat": set(),
}
"""The keys of what is not kept, as the mappers' docstrings say: projects that repeat the trace's, and the like."""
SCATTERED: dict[str, list[Any]] = {
    "langfuse: observations alone": [LANGFUSE_ROW, {**LANGFUSE_ROW, "id": "o2"}, LANGFUSE_SCORE],
    "langfuse: observations of the UI": [
        OBSERVATION | {"traceName": "n", "traceTags": ["a"], "userId": "u", "quality": "good"},
        LANGFUSE_SCORE,
    ],
    "langfuse: with a row of the trace": [
        {key: value for key, value in LANGFUSE.items() if key != "observations"},
        LANGFUSE_ROW,
        LANGFUSE_SCORE,
    ],
    "langfuse: with a stand-in for it": [
        {**LANGFUSE_ROW, "id": "t-t1", "name": "n", "trace_name": "n"},
        LANGFUSE_ROW,
        LANGFUSE_SCORE,
    ],
    "langsmith: runs": [RUN, CHILD_RUN],
    "langsmith: a create and its update": [
        {key: RUN[key] for key in ("id", "start_time", "run_type", "name", "inputs", "tags", "serialized")},
        UPDATE,
    ],
}
"""Records of one trace."""
WHOLE = {
    f"{name}: {number}": [record]
    for name in NOT_KEPT
    if name not in ("langfuse", "langsmith")
    for number, record in enumerate(VALID[name], 1)
    if not isinstance(record, dict) or "rootSpan" not in record  # a trace of Phoenix's CLI says its root span twice
}


def marked(value: Any, found: list[tuple[str, str]], key: str = "", *, unmarked: frozenset[str] = READ) -> Any:
    """The same record with a text of its own in each place; `found` tells which text stands under which key."""
    if isinstance(value, dict):
        return {name: marked(inner, found, name, unmarked=unmarked) for name, inner in value.items()}
    if isinstance(value, list):
        return [marked(inner, found, key, unmarked=unmarked) for inner in value]
    if not isinstance(value, str) or key in unmarked or value.replace(".", "").isdigit():
        return value
    found.append((key, f"text-{len(found)}."))
    return found[-1][1]


@pytest.mark.parametrize("case", [*WHOLE, *SCATTERED])
def test_no_text_of_a_record_is_lost(case: str) -> None:
    name = case.partition(":")[0]
    found: list[tuple[str, str]] = []
    unmarked = READ | JOINS.get(name, frozenset())
    records = [marked(record, found, unmarked=unmarked) for record in (WHOLE | SCATTERED)[case]]
    [trace] = traces_of(MAPPERS[name], records)
    kept = json.dumps(plain(trace))
    assert {text for _, text in found if text in kept} == {text for _, text in found if text in _sent(trace)}
    assert found
    assert {key for key, text in found if text not in kept} == NOT_KEPT[name] & {key for key, _ in found}


def _sent(trace: Trace) -> str:
    session = make_session(trace, data={}, extent="full")
    assert session.content is not None
    bodies = [body for turn in session.content.turns for body in (turn.body, *(span.body for span in turn.spans))]
    return b"\n".join(
        [*bodies, session.content.finish or b"", session.context, session.metadata, session.custom_id.encode()]
    ).decode()
