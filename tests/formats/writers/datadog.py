"""Canonical traces as spans of Datadog's LLM Observability: items of the export API.

The API tells no message of an error, so a span in error is written as the event that the SDK sends.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.mappers.datadog import MAPPER
from tests.formats.canonical import CanonicalSpan, CanonicalTrace

__all__ = ["MAPPER", "write"]
KINDS = {"GENERATION": "llm", "TOOL": "tool", "CHAIN": "workflow", "RETRIEVER": "retrieval"}


def write(trace: CanonicalTrace) -> list[Any]:
    return [_item(span, trace) for span in reversed(trace.spans)]


def _item(span: CanonicalSpan, trace: CanonicalTrace) -> dict[str, Any]:
    tags = ["service:bot", "ml_app:parcels", "version:", "language:python", f"user_id:{trace.user}"]
    attributes: dict[str, Any] = {
        "trace_id": trace.id,
        "span_id": span.id,
        "parent_id": span.parent or "undefined",
        "name": span.name,
        "start_ns": _nanoseconds(span.start),
        "status": "error" if span.error else "ok",
        "tags": [*tags, f"session_id:{trace.conversation}"] if trace.conversation else tags,
        "metrics": {f"{kind}_tokens": float(count) for kind, count in span.tokens.items()},
    }
    if span.end is not None:
        attributes["duration"] = _nanoseconds(span.end) - _nanoseconds(span.start)
    told = {"input": _io(span, span.input), "output": _io(span, span.output), "model_name": span.model}
    if span.error is not None:
        type, _, message = span.error.partition(": ")
        error = {"message": message, "type": type, "stack": "Traceback …"}
        return {**attributes, "meta": {"span": {"kind": KINDS[span.type]}, "error": error, **told}}
    attributes |= {"ml_app": "parcels", "span_kind": KINDS[span.type], **told}
    return {"id": span.id, "type": "span", "attributes": attributes}


def _io(span: CanonicalSpan, value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if span.type == "GENERATION":
        messages = value if isinstance(value, list) else [{"role": "assistant", "content": value}]
        return {"value": messages[-1]["content"], "messages": messages}
    if span.type == "RETRIEVER" and isinstance(value, list):
        return {"documents": [{"text": text, "name": "", "id": "1", "score": 0.5} for text in value]}
    return {"value": value}


def _nanoseconds(moment: str) -> int:
    since = datetime.fromisoformat(moment) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 1000
