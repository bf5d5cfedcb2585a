"""Rows of Langfuse's blob export, table observations_v2: snake_case, texts, times without zone, "" for null."""

from __future__ import annotations

import json
from typing import Any

from pipeline.mappers.langfuse import MAPPER
from tests.formats.canonical import CanonicalSpan, CanonicalTrace

__all__ = ["MAPPER", "write"]


def write(trace: CanonicalTrace) -> list[Any]:
    return [_row(trace, span) for span in reversed(trace.spans)]


def _row(trace: CanonicalTrace, span: CanonicalSpan) -> dict[str, Any]:
    return {
        "id": span.id, "trace_id": trace.id, "start_time": _time(span.start), "end_time": _time(span.end),
        "project_id": "p-1", "parent_observation_id": span.parent or "", "type": span.type, "name": span.name,
        "level": "ERROR" if span.error else "DEFAULT", "status_message": span.error or "", "version": "",
        "environment": "default", "bookmarked": False, "public": False, "user_id": trace.user or "",
        "session_id": trace.conversation or "", "is_root_observation": span.parent is None,
        "completion_start_time": None, "created_at": _time(span.start), "updated_at": _time(span.end or span.start),
        "input": _text(span.input), "output": _text(span.output), "metadata": {"attributes.k": "v"},
        "provided_model_name": span.model or "", "model_id": "", "model_parameters": "{}",
        "usage_details": span.tokens, "cost_details": {}, "total_cost": 0, "prompt_id": "", "prompt_version": None,
        "latency": None, "tags": [], "release": "", "trace_name": "", "tool_definitions": {}, "tool_calls": [],
    }  # fmt: skip


def _time(moment: str | None) -> str | None:
    return None if moment is None else moment.replace("T", " ").replace("Z", "000")


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
