"""Spans as Phoenix's API and UI write them: attributes dotted, lists numbered."""

from __future__ import annotations

import json
from typing import Any

from pipeline.mappers.openinference import MAPPER
from tests.formats.canonical import CanonicalSpan, CanonicalTrace

__all__ = ["MAPPER", "write"]

KINDS = {"GENERATION": "LLM"}


def write(trace: CanonicalTrace) -> list[Any]:
    return [_span(trace, span) for span in reversed(trace.spans)]


def _span(trace: CanonicalTrace, span: CanonicalSpan) -> dict[str, Any]:
    return {
        "id": f"U3Bhbjo{int(span.id, 16)}",
        "name": span.name,
        "context": {"trace_id": trace.id, "span_id": span.id},
        "span_kind": KINDS.get(span.type, span.type),
        "parent_id": span.parent,
        "start_time": span.start.replace("Z", "000+00:00"),
        "end_time": span.end and span.end.replace("Z", "000+00:00"),
        "status_code": "ERROR" if span.error else "OK",
        "status_message": span.error or "",
        "attributes": attributes(trace, span),
        "events": [],
    }


def attributes(trace: CanonicalTrace, span: CanonicalSpan) -> dict[str, Any]:
    """Also those of a row in a data frame, where the lists are whole."""
    said: dict[str, Any] = {"session.id": trace.conversation, "user.id": trace.user}
    if span.type == "GENERATION":
        for index, message in enumerate(span.input):
            said[f"llm.input_messages.{index}.message.role"] = message["role"]
            said[f"llm.input_messages.{index}.message.content"] = message["content"]
        said["llm.output_messages.0.message.role"] = "assistant"
        said["llm.output_messages.0.message.content"] = span.output
        said["llm.token_count.prompt"] = span.tokens["input"]
        said["llm.token_count.completion"] = span.tokens["output"]
        said["llm.model_name"] = span.model
    else:
        said |= _value("input", span.input)
    if span.type == "RETRIEVER":
        for index, text in enumerate(span.output):
            said[f"retrieval.documents.{index}.document.content"] = text
    elif span.type != "GENERATION":
        said |= _value("output", span.output)
    return {key: value for key, value in said.items() if value is not None}


def _value(side: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    is_json = not isinstance(value, str) or value[:1] in "{["
    text = value if isinstance(value, str) else json.dumps(value)
    return {f"{side}.value": text, f"{side}.mime_type": "application/json" if is_json and text else "text/plain"}
