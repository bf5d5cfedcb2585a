"""Whatever text stands in a record is found in its trace, but for what a mapper's docstring says is not kept."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pipeline.mappers import MAPPERS
from tests.unit.mappers.assembling import traces_of
from tests.unit.mappers.test_mappers_fuzz import (
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
READ |= frozenset(["last_updated_at", "updated_at", "prompt_tokens"])
"""What is turned into something else: an enum, a time, a number."""
NOT_KEPT = {"opik": {"downloaded_at"}, "helicone": set[str](), "langsmith-dataset": set[str]()}


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


@pytest.mark.parametrize(("name", "record"), [(name, record) for name in NOT_KEPT for record in VALID[name]])
def test_no_text_of_a_record_is_lost(name: str, record: Any) -> None:
    found: list[tuple[str, str]] = []
    trace = MAPPERS[name].map_trace(marked(record, found))
    kept = json.dumps(dataclasses.asdict(trace))
    assert found
    assert {key for key, text in found if text not in kept} == NOT_KEPT[name]


JOINS = frozenset(["id", "trace_id", "traceId", "observation_id", "parent_observation_id", "parentObservationId"])
JOINS |= frozenset(["parent_run_ids", "run_type", "completion_tokens", "total_cost"])
JOINS |= frozenset(["level", "timestamp", "startTime", "endTime", "updatedAt", "traceTimestamp", "kind", "scores"])
"""What must stay as it is, so that scattered records are one trace still."""
SCATTERED: dict[str, tuple[Any, set[str]]] = {
    "langfuse: observations alone": ([LANGFUSE_ROW, {**LANGFUSE_ROW, "id": "o2"}, LANGFUSE_SCORE], {"project_id"}),
    "langfuse: observations of the UI": (
        [OBSERVATION | {"traceName": "n", "traceTags": ["a"], "userId": "u", "quality": "good"}, LANGFUSE_SCORE],
        {"project_id"},
    ),
    "langfuse: with a row of the trace": (
        [{key: value for key, value in LANGFUSE.items() if key != "observations"}, LANGFUSE_ROW, LANGFUSE_SCORE],
        {"project_id"},
    ),
    "langfuse: with a stand-in for it": (
        [{**LANGFUSE_ROW, "id": "t-t1", "name": "n", "trace_name": "n"}, LANGFUSE_ROW, LANGFUSE_SCORE],
        {"project_id"},
    ),
    "langsmith: runs": ([RUN, CHILD_RUN], {"dotted_order", "inputs_preview"}),
    "langsmith: a create and its update": (
        [{key: RUN[key] for key in ("id", "start_time", "run_type", "name", "inputs", "tags", "serialized")}, UPDATE],
        set(),
    ),
}
"""Records of one trace, and the keys of what is not kept: projects that repeat the trace's."""


@pytest.mark.parametrize("case", SCATTERED)
def test_no_text_of_scattered_records_is_lost(case: str) -> None:
    records, not_kept = SCATTERED[case]
    found: list[tuple[str, str]] = []
    [trace] = traces_of(
        MAPPERS[case.partition(":")[0]], [marked(record, found, unmarked=READ | JOINS) for record in records]
    )
    kept = json.dumps(dataclasses.asdict(trace))
    assert found
    assert {key for key, text in found if text not in kept} - not_kept == set()
