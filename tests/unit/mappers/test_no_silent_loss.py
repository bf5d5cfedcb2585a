"""Whatever text stands in a record is found in its trace, but for what a mapper's docstring says is not kept."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pipeline.mappers import MAPPERS
from tests.unit.mappers.test_mappers_fuzz import VALID

READ = frozenset(["role", "type", "start_time", "end_time", "created_at", "request_created_at", "response_created_at"])
READ |= frozenset(["last_updated_at", "updated_at", "prompt_tokens"])
"""What is turned into something else: an enum, a time, a number."""
NOT_KEPT = {"opik": {"downloaded_at"}, "helicone": set[str]()}
READ |= frozenset(
    ["traceId", "spanId", "traceID", "spanID", "trace_id", "span_id", "processID", "refType", "eventName"]
)
READ |= frozenset(["key", "kind", "startTimeUnixNano", "endTimeUnixNano", "timeUnixNano", "status_code"])
NOT_KEPT["otlp"] = {"schemaUrl", "schema_url"}


def marked(value: Any, found: list[tuple[str, str]], key: str = "") -> Any:
    """The same record with a text of its own in each place; `found` tells which text stands under which key."""
    if isinstance(value, dict):
        return {name: marked(inner, found, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [marked(inner, found, key) for inner in value]
    if not isinstance(value, str) or key in READ:
        return value
    found.append((key, f"text-{len(found)}."))
    return found[-1][1]


@pytest.mark.parametrize(("name", "record"), [(name, record) for name in NOT_KEPT for record in VALID[name]])
def test_no_text_of_a_record_is_lost(name: str, record: Any) -> None:
    found: list[tuple[str, str]] = []
    trace = MAPPERS[name].map_trace(marked(record, found))
    kept = json.dumps(dataclasses.asdict(trace))
    assert found
    assert {key for key, text in found if text not in kept} - NOT_KEPT[name] == set()
