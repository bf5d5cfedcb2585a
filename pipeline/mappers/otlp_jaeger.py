"""Jaeger's spans, written as OTLP's.

Source: jaegertracing/jaeger model/json/model.go, and how OpenTelemetry's spans become Jaeger's (tags otel.status_code,
otel.scope.name, span.kind; events as logs; links as references): shared/samples/otlp/agentevals-k8s.json.

| Jaeger | OTLP |
|---|---|
| traceID, spanID, operationName | traceId, spanId, name |
| startTime, duration (microseconds) | startTimeUnixNano, endTimeUnixNano |
| references: the first CHILD_OF of this trace, else the first; parentSpanID where there are none | parentSpanId |
| other references | links |
| tags | attributes |
| tags otel.status_code, error; otel.status_description | status |
| tags span.kind; otel.scope.name, otel.scope.version | kind; scope |
| logs: fields, of which `event` is the name | events |
| process: serviceName, tags | resource: service.name, the others |

Whatever else is there (warnings, …) stays under its name; startTimeMillis repeats startTime.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.mappers import fields
from pipeline.mappers.otlp_values import TRACE_ID_BYTES, WAY_OUT, decoded, id_of

_READ = frozenset(
    ["traceID", "spanID", "parentSpanID", "operationName", "startTime", "startTimeMillis", "duration", "references",
     "tags", "logs", "process"]
)  # fmt: skip


def is_jaeger(line: Mapping[str, Any]) -> bool:
    """Is this a span as Jaeger writes it?"""
    return "spanID" in line or "operationName" in line


def as_otlp(line: Mapping[str, Any]) -> dict[str, Any]:
    """Raises RejectedError, naming the field."""
    tags = decoded(line.get("tags"), "tags")
    is_error = tags.get("error") in (True, "true")
    code = tags.pop("otel.status_code", None)
    if is_error:
        tags.pop("error")
    scope = {"name": tags.pop("otel.scope.name", None), "version": tags.pop("otel.scope.version", None)}
    start = _microseconds(line, "startTime")
    duration = _microseconds(line, "duration")
    parent, others = _references(line)
    return {key: value for key, value in line.items() if key not in _READ} | {
        "traceId": line.get("traceID"),
        "spanId": line.get("spanID"),
        "parentSpanId": parent or line.get("parentSpanID"),
        "name": line.get("operationName"),
        "startTimeUnixNano": None if start is None else start * 1_000,
        "endTimeUnixNano": None if start is None or duration is None else (start + duration) * 1_000,
        "attributes": tags,
        "status": {"code": "ERROR" if is_error else code, "message": tags.pop("otel.status_description", None)},
        "kind": tags.pop("span.kind", None),
        "scope": {key: value for key, value in scope.items() if value is not None},
        "links": others,
        "events": _events(line.get("logs")),
        "resource": {"attributes": _process(line.get("process"))},
    }


def _microseconds(line: Mapping[str, Any], field: str) -> int | None:
    value = line.get(field)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise fields.bad_field(field, "a whole number of microseconds", value)


def _references(line: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    references = line.get("references")
    if fields.is_empty(references):
        return None, []
    if not isinstance(references, list) or not all(isinstance(item, dict) for item in references):
        raise fields.bad_field("references", "a list of objects", references, way_out=WAY_OUT)
    trace_id = id_of(line.get("traceID"), "traceID", TRACE_ID_BYTES)
    here = [
        item
        for item in references
        if id_of(item.get("traceID"), "references.traceID", TRACE_ID_BYTES) in (None, trace_id)
    ]
    parent = next((item for item in here if item.get("refType") == "CHILD_OF"), here[0] if here else None)
    return None if parent is None else parent.get("spanID"), [item for item in references if item is not parent]


def _events(logs: Any) -> Any:
    if not isinstance(logs, list) or not all(isinstance(log, dict) for log in logs):
        return logs  # what is no list of objects is refused as events
    events: list[dict[str, Any]] = []
    for index, log in enumerate(logs):
        attributes = decoded(log.get("fields"), f"logs[{index}].fields")
        time = fields.time_of(log.get("timestamp"), f"logs[{index}].timestamp", "us")
        known = {"name": attributes.pop("event", None), "timestamp": time, "attributes": attributes}
        events.append({key: value for key, value in log.items() if key not in ("timestamp", "fields")} | known)
    return events


def _process(process: Any) -> dict[str, Any]:
    if process is None:
        return {}
    if not isinstance(process, dict):
        raise fields.bad_field("process", "an object", process, way_out=WAY_OUT)
    name = process.get("serviceName")
    others = {key: value for key, value in process.items() if key not in ("serviceName", "tags") and value}
    return ({"service.name": name} if name else {}) | decoded(process.get("tags"), "process.tags") | others
