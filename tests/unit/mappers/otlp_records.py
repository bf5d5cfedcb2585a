"""OpenTelemetry data for tests: small factories, and a valid document in every shape."""

from __future__ import annotations

import json
from typing import Any

TRACE = "5b8efff798038103d269b633813fc60c"
ROOT = "00000000000000a1"
CHILD = "00000000000000a2"
START = 1787385600_000000000
"""2026-08-22T08:00:00Z, in nanoseconds."""


def any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes(value)}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


def event(name: str, **values: Any) -> dict[str, Any]:
    named = {key.replace("__", "."): value for key, value in values.items()}
    return {"timeUnixNano": str(START + 500), "name": name, "attributes": attributes(named)}


def span(id: str = ROOT, parent: str | None = None, said: dict[str, Any] | None = None, **changes: Any) -> Any:
    known = {
        "traceId": TRACE, "spanId": id, "parentSpanId": parent or "", "name": "step", "kind": 1,
        "startTimeUnixNano": str(START), "endTimeUnixNano": str(START + 1_000_000_000),
        "attributes": attributes(said or {}), "status": {},
    }  # fmt: skip
    return known | changes


def log(name: str = "", body: Any = None, said: dict[str, Any] | None = None, **changes: Any) -> Any:
    known = {
        "traceId": TRACE, "spanId": ROOT, "timeUnixNano": str(START + 500), "severityNumber": 9, "eventName": name,
        "attributes": attributes(said or {}),
    }  # fmt: skip
    return known | ({} if body is None else {"body": any_value(body)}) | changes


def request(*spans: Any, resource: dict[str, Any] | None = None, scope: dict[str, Any] | None = None) -> Any:
    scoped = {"scope": scope or {"name": "lib", "version": "1.0"}, "spans": list(spans), "schemaUrl": "https://x.test"}
    about = {"attributes": attributes(resource or {"service.name": "bot"})}
    return {"resourceSpans": [{"resource": about, "scopeSpans": [scoped]}]}


def log_request(*logs: Any) -> Any:
    about = {"attributes": attributes({"service.name": "bot"})}
    scoped = {"scope": {"name": "lib"}, "logRecords": list(logs)}
    return {"resourceLogs": [{"resource": about, "scopeLogs": [scoped]}]}


def sdk_span(id: str = ROOT, parent: str | None = None, said: dict[str, Any] | None = None, **changes: Any) -> Any:
    """As ReadableSpan.to_json of opentelemetry-sdk 1.45.2 writes it."""
    known = {
        "name": "step", "context": {"trace_id": f"0x{TRACE}", "span_id": f"0x{id}", "trace_state": "[]"},
        "kind": "SpanKind.INTERNAL", "parent_id": f"0x{parent}" if parent else None,
        "start_time": "2026-08-22T08:00:00.000000Z", "end_time": "2026-08-22T08:00:01.000000Z",
        "status": {"status_code": "UNSET"}, "attributes": said or {}, "events": [], "links": [],
        "resource": {"attributes": {"service.name": "bot"}, "schema_url": ""},
    }  # fmt: skip
    return known | changes


def jaeger_span(id: str = ROOT, parent: str | None = None, said: dict[str, Any] | None = None, **changes: Any) -> Any:
    about = {"otel.scope.name": "lib", "otel.scope.version": "1.0", "span.kind": "internal"} | (said or {})
    reference = {"refType": "CHILD_OF", "traceID": TRACE, "spanID": parent}
    known = {
        "traceID": TRACE, "spanID": id, "operationName": "step", "references": [reference] if parent else [],
        "startTime": START // 1_000, "duration": 1_000_000, "logs": [], "processID": "p1", "warnings": None,
        "tags": [{"key": key, "type": "string", "value": value} for key, value in about.items()],
    }  # fmt: skip
    return known | changes


def jaeger(*spans: Any) -> Any:
    processes = {"p1": {"serviceName": "bot", "tags": []}}
    trace = {"traceID": TRACE, "spans": list(spans), "processes": processes, "warnings": None}
    return {"data": [trace], "total": 0, "limit": 0, "offset": 0, "errors": None}


CALL = {
    "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.response.model": "m-1",
    "gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 5, "gen_ai.conversation.id": "c-1", "user.id": "ann",
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]),
    "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "hello"}]}]),
}  # fmt: skip
FAILED = {"code": 2, "message": "no"}
OTHERS = {
    "traceState": "a=b", "flags": 256, "droppedAttributesCount": 1, "status": FAILED,
    "links": [{"traceId": TRACE, "spanId": CHILD, "attributes": attributes({"why": "x"})}],
    "events": [event("exception", exception__type="E", exception__message="no"), event("note", k="v")],
}  # fmt: skip
NUMBERED = {
    "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "hi", "gen_ai.completion.0.content": "hello",
    "gen_ai.completion.0.tool_calls.0.name": "f", "llm.request.type": "chat", "traceloop.entity.name": "n",
    "traceloop.association.properties.session_id": "c-1", "traceloop.association.properties.k": "v",
    "gen_ai.usage.cost": 0.5, "gen_ai.usage.details.audio_tokens": 2, "langfuse.trace.metadata.k": "v",
    "langfuse.trace.tags": ["a"], "langfuse.observation.level": "WARNING", "bytes": "AA==",
}  # fmt: skip
VALID: list[Any] = [
    request(span(said={"traceloop.entity.input": "q"}), span(CHILD, ROOT, CALL, **OTHERS)),
    {"batches": [{"resource": {"attributes": []}, "instrumentationLibrarySpans": [{"instrumentationLibrary": {
        "name": "lib"}, "spans": [span(said=NUMBERED)]}]}]},
    log_request(log("gen_ai.user.message", {"content": "hi"}), log("gen_ai.choice", {"message": {"content": "hello"}}),
                log("gen_ai.client.inference.operation.details", said=CALL)),
    jaeger(jaeger_span(said={"otel.status_code": "ERROR"}), jaeger_span(CHILD, ROOT, NUMBERED, warnings=["w"], logs=[
        {"timestamp": START // 1_000, "fields": [{"key": "event", "value": "note"}, {"key": "k", "value": "v"}]}])),
    {"spans": [sdk_span(said=NUMBERED), sdk_span(CHILD, ROOT, CALL)], "final_output": "done", "model": "m"},
    sdk_span(said={"ai.operationId": "ai.generateText.doGenerate", "ai.prompt.messages": "[]",
                   "ai.response.text": "hello", "ai.response.toolCalls": "[1]", "ai.usage.promptTokens": 3}),
    span(resource={"attributes": {"service.name": "bot"}}, scope={"name": "lib"}, status={"code": "UNSET"},
         attributes={"gcp.vertex.agent.llm_request": "{}", "gcp.vertex.agent.tool_call_args": '{"a": 1}'}),
]  # fmt: skip
