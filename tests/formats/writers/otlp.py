"""OTLP/JSON requests, one span each, with the attributes of the GenAI conventions and of OpenLLMetry."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pipeline.mappers import otlp
from tests.formats.canonical import CanonicalSpan, CanonicalTrace

MAPPER = otlp.MAPPER
_OPERATIONS = {"GENERATION": "chat", "TOOL": "execute_tool", "RETRIEVER": "retrieval"}


def write(trace: CanonicalTrace) -> list[Any]:
    beside = {"session.id": trace.conversation, "user.id": trace.user}
    return [request(span, trace, _content(span) | beside) for span in reversed(trace.spans)]


def request(span: CanonicalSpan, trace: CanonicalTrace, said: dict[str, Any]) -> dict[str, Any]:
    """Also of spans with the attributes of another convention."""
    resource = {"attributes": _attributes({"service.name": "parcel-bot"})}
    scope = {"name": "opentelemetry.instrumentation.openai_v2", "version": "2.4b0"}
    return {
        "resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [_span(span, trace, said)]}]}]
    }


def _span(span: CanonicalSpan, trace: CanonicalTrace, said: dict[str, Any]) -> dict[str, Any]:
    written = {
        "traceId": trace.id.upper(),
        "spanId": span.id,
        "parentSpanId": span.parent or "",
        "flags": 256,
        "name": span.name,
        "kind": 3 if span.type == "GENERATION" else 1,
        "startTimeUnixNano": _nanoseconds(span.start),
        "attributes": _attributes(said),
        "status": {} if span.error is None else {"code": 2, "message": span.error},
    }
    return written if span.end is None else written | {"endTimeUnixNano": _nanoseconds(span.end)}


def _content(span: CanonicalSpan) -> dict[str, Any]:
    if span.type == "CHAIN":
        sides = {"traceloop.entity.input": span.input, "traceloop.entity.output": span.output}
        return {"traceloop.span.kind": "workflow"} | sides
    told: dict[str, Any] = {"gen_ai.operation.name": _OPERATIONS[span.type]}
    if span.type == "TOOL":
        told |= {"gen_ai.tool.call.arguments": json.dumps(span.input)}
        return told | {"gen_ai.tool.call.result": json.dumps(span.output)}
    if span.type == "RETRIEVER":
        documents = [{"id": str(number), "content": text} for number, text in enumerate(span.output)]
        return told | {"gen_ai.retrieval.query.text": span.input, "gen_ai.retrieval.documents": json.dumps(documents)}
    said = [_message(message["role"], message["content"]) for message in span.input]
    return told | {
        "gen_ai.request.model": span.model,
        "gen_ai.system_instructions": json.dumps(said[0]["parts"]),
        "gen_ai.input.messages": json.dumps(said[1:]),
        "gen_ai.output.messages": json.dumps([_message("assistant", span.output)]) if span.output else None,
        "gen_ai.usage.input_tokens": span.tokens.get("input"),
        "gen_ai.usage.output_tokens": span.tokens.get("output"),
    }


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in values.items() if value is not None]


def _any_value(value: Any) -> dict[str, Any]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def _nanoseconds(moment: str) -> str:
    return str(int(datetime.fromisoformat(moment).timestamp() * 1_000) * 1_000_000)
