"""Canonical traces as rows of Braintrust's project logs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipeline.mappers.braintrust import MAPPER
from tests.formats.canonical import CanonicalSpan, CanonicalTrace

__all__ = ["MAPPER", "write"]
TYPES = {"GENERATION": "llm", "TOOL": "tool", "CHAIN": "task", "RETRIEVER": "retriever"}


def write(trace: CanonicalTrace) -> list[Any]:
    return [_row(span, trace) for span in reversed(trace.spans)]


def _row(span: CanonicalSpan, trace: CanonicalTrace) -> dict[str, Any]:
    is_root = span.parent is None
    metrics = {
        "start": _seconds(span.start),
        "end": _seconds(span.end) if span.end is not None else None,
        "prompt_tokens": span.tokens.get("input"),
        "completion_tokens": span.tokens.get("output"),
    }
    return {
        "id": f"row-{span.id}",
        "_xact_id": "1000195000000000001",
        "_pagination_key": f"p{span.id}",
        "created": span.start,
        "org_id": "org",
        "project_id": "parcels",
        "log_id": "g",
        "input": span.input,
        "output": span.output,
        "expected": None,
        "error": span.error,
        "scores": {},
        "metadata": {"session_id": trace.conversation, "user_id": trace.user, "model": span.model},
        "tags": None,
        "metrics": {name: value for name, value in metrics.items() if value is not None},
        "context": {"caller_filename": "app.py"},
        "span_id": span.id,
        "span_parents": None if is_root else [span.parent],
        "root_span_id": trace.id,
        "is_root": is_root,
        "span_attributes": {"name": span.name, "type": TYPES[span.type]},
    }


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
