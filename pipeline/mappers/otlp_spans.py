"""One span, or one log record, read alike whether OTLP, Jaeger or the Python SDK wrote it.

Sources: opentelemetry-proto 1.45.2 (trace.proto, logs.proto, common.proto, and what protobuf's json_format makes of
them), opentelemetry-sdk 1.45.2 (ReadableSpan.to_json, ReadableLogRecord.to_json), the SDK's
opentelemetry-exporter-otlp-json-common 0.66b1, jaegertracing/jaeger model/json/model.go, formats.md section 3, and the
files in shared/samples/otlp. CloudWatch's lines (attributes as an object) are read, and not verified.

| OTLP | Python SDK | Jaeger | here |
|---|---|---|---|
| traceId, spanId: hex, or base64 | context.trace_id, span_id: "0x…", or integers | traceID, spanID | lower-case hex |
| parentSpanId ("" and zeros are none) | parent_id, parent.span_id | references, CHILD_OF first | parent_id |
| startTimeUnixNano, endTimeUnixNano | start_time, end_time: ISO, or ns | startTime, duration: µs | ISO UTC |
| attributes (AnyValue) | attributes (an object) | tags | plain values; bytes stay base64 |
| events | events | logs (`event` is the name) | events |
| status.code 2, STATUS_CODE_ERROR | status.status_code | tags otel.status_code, error | is_error |
| status.message | status.description | tag otel.status_description | message |
| kind | kind | tag span.kind | kind, without INTERNAL, which is the default |
| resource.attributes | resource.attributes | process; serviceName as service.name | resource |

Not kept: flags, schemaUrl, and what only repeats (durationNano, startTimeMillis, processID). Of two attributes with one
key the last counts. Whatever else is not empty is in `rest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.otlp_values import (
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    WAY_OUT,
    decoded,
    id_of,
    moment,
    nanoseconds,
    resource_of,
    scope_of,
    value_of,
)


class Event(NamedTuple):
    """Something noted at one moment of a span: an event of it, or a log record."""

    name: str
    time: str | None
    attributes: dict[str, Any]
    body: Any = None
    rest: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Row:
    """One span, whatever shape it came in. Its dictionaries are its own."""

    trace_id: str
    id: str
    parent_id: str | None
    name: str
    started_at: str | None
    ended_at: str | None
    attributes: dict[str, Any]
    events: list[Event]
    is_error: bool
    message: str | None
    """Of the status."""
    resource: dict[str, Any]
    rest: dict[str, Any]
    final_output: Any = None
    """Of the whole trace, where the document says it beside the spans."""


class Log(NamedTuple):
    """A log record that belongs to a span."""

    trace_id: str
    span_id: str
    event: Event
    resource: dict[str, Any]


# --- one line ------------------------------------------------------------------------------------------------

_NAMES = {
    "traceId": "trace", "trace_id": "trace", "traceID": "trace", "spanId": "id", "span_id": "id", "spanID": "id",
    "parentSpanId": "parent", "parent_span_id": "parent", "parentSpanID": "parent", "parent_id": "parent",
    "parent": "parent", "parentSpanContext": "parent", "name": "name", "operationName": "name", "kind": "kind",
    "startTimeUnixNano": "start_ns", "start_time_unix_nano": "start_ns", "endTimeUnixNano": "end_ns",
    "end_time_unix_nano": "end_ns", "start_time": "start", "startTime": "start", "end_time": "end", "endTime": "end",
    "attributes": "attributes", "tags": "tags", "events": "events", "logs": "logs", "links": "links",
    "references": "references", "status": "status", "status_code": "code", "statusCode": "code",
    "status_message": "message", "statusMessage": "message", "resource": "resource", "process": "process",
    "scope": "scope", "instrumentationScope": "scope", "instrumentation_scope": "scope", "context": "context",
    "timeUnixNano": "start_ns", "time_unix_nano": "start_ns", "timestamp": "start",
    "observedTimeUnixNano": "seen_ns", "observed_time_unix_nano": "seen_ns", "observed_timestamp": "seen",
    "body": "body", "eventName": "event_name", "event_name": "event_name", "final_output": "final_output",
    "duration": "duration", "processID": "not kept", "flags": "not kept", "trace_flags": "not kept",
    "traceFlags": "not kept", "schemaUrl": "not kept", "schema_url": "not kept", "durationNano": "not kept",
    "startTimeMillis": "not kept",
}  # fmt: skip
_SIGNS_OF_LOGS = frozenset(
    ["body", "severityNumber", "severity_number", "severityText", "eventName", "event_name", "observedTimeUnixNano",
     "observed_time_unix_nano", "observed_timestamp"]
)  # fmt: skip
_SIGNS_OF_SPANS = frozenset(["startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime"])


def is_log(line: Mapping[str, Any]) -> bool:
    """Is this a log record, not a span?"""
    return not _SIGNS_OF_LOGS.isdisjoint(line) and _SIGNS_OF_SPANS.isdisjoint(line)


def ids_of(line: Mapping[str, Any]) -> tuple[str, str | None]:
    """The ids of the trace and the span. Raises RejectedError where there is no trace id."""
    if "traceId" in line:
        trace, span = line["traceId"], line.get("spanId")
    elif "trace_id" in line:
        trace, span = line["trace_id"], line.get("span_id")
    elif "traceID" in line:
        trace, span = line["traceID"], line.get("spanID")
    else:
        context = line.get("context")
        context = context if isinstance(context, dict) else {}
        trace = context.get("trace_id", context.get("traceId"))
        span = context.get("span_id", context.get("spanId"))
    trace_id = id_of(trace, "traceId", TRACE_ID_BYTES)
    if trace_id is None:
        raise no_id("there is no traceId in this record")
    return trace_id, id_of(span, "spanId", SPAN_ID_BYTES)


def no_id(what: str) -> RejectedError:
    """The error for a record that cannot be told from others."""
    return RejectedError(f"{what}; {WAY_OUT}", kind="no_id")


def times_of(line: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Start and end of a span or log record."""
    start, end = line.get("startTimeUnixNano"), line.get("endTimeUnixNano")
    if start is not None:
        return nanoseconds(start, "startTimeUnixNano"), nanoseconds(end, "endTimeUnixNano")
    known = {_NAMES[key]: value for key, value in line.items() if key in _NAMES}
    return _times(known, _is_jaeger(line))


def row_of(line: Mapping[str, Any]) -> Row:
    """A span. Raises RejectedError, naming the field."""
    trace_id, span_id = ids_of(line)
    if span_id is None:
        raise no_id("spanId is missing or empty")
    known, rest = _sorted_fields(line)
    is_jaeger = _is_jaeger(line)
    started_at, ended_at = _times(known, is_jaeger)
    if "duration" in known and not is_jaeger:
        rest["duration"] = known["duration"]
    attributes = decoded(known.get("attributes"), "attributes")
    parent = known.get("parent")
    if isinstance(parent, dict):
        parent = parent.get("span_id", parent.get("spanId"))
    if is_jaeger:
        attributes |= _tags(known, rest)
        parent = _reference(known, trace_id, rest) or parent
    is_error, message = _status(known, rest)
    _keep(rest, "kind", _kind(known.get("kind")))
    _keep(rest, "scope", scope_of(known.get("scope")))
    _keep(rest, "links", _links(known.get("links")))
    _keep(rest, "traceState", _trace_state(known.get("context")))
    final_output = known.get("final_output")
    return Row(
        trace_id=trace_id,
        id=span_id,
        parent_id=id_of(parent, "parentSpanId", SPAN_ID_BYTES),
        name=fields.text_of(known.get("name"), "name") or "",
        started_at=started_at,
        ended_at=ended_at,
        attributes=attributes,
        events=[*_events(known.get("events")), *_jaeger_logs(known.get("logs"))],
        is_error=is_error,
        message=message,
        resource=_process(known["process"]) if "process" in known else resource_of(known.get("resource"), "resource"),
        rest=rest,
        final_output=final_output,
    )


def log_of(line: Mapping[str, Any]) -> Log:
    """A log record. Raises RejectedError, naming the field."""
    trace_id, span_id = ids_of(line)
    if span_id is None:
        raise no_id("spanId is missing or empty")
    known, rest = _sorted_fields(line)
    attributes = decoded(known.get("attributes"), "attributes")
    _keep(rest, "scope", scope_of(known.get("scope")))
    name = known.get("event_name") or attributes.pop("event.name", None)
    event = Event(
        name=fields.text_of(name, "eventName") or "",
        time=_times(known, False)[0],
        attributes=attributes,
        body=value_of(known.get("body")),
        rest=rest,
    )
    return Log(trace_id, span_id, event, resource_of(known.get("resource"), "resource"))


def _sorted_fields(line: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    known: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in line.items():
        if not value and (value.__class__ in fields.EMPTY or value.__class__ is int):
            continue  # a count of 0 dropped attributes, and a kind or status of 0, are the default
        name = _NAMES.get(key)
        if name is None or name in known:
            rest[key] = value
        elif name != "not kept":
            known[name] = value
    return known, rest


def _keep(rest: dict[str, Any], key: str, value: Any) -> None:
    if not fields.is_empty(value):
        rest[key] = value


def _times(known: Mapping[str, Any], is_jaeger: bool) -> tuple[str | None, str | None]:
    if is_jaeger:
        start, duration = known.get("start"), known.get("duration")
        started_at = fields.time_of(start, "startTime", "us")
        if started_at is None or duration is None:
            return started_at, started_at if "duration" in known else None
        if not _is_whole(start) or not _is_whole(duration):
            raise fields.bad_field("duration", "a whole number of microseconds", duration)
        return started_at, fields.time_of(start + duration, "duration", "us")
    started_at = nanoseconds(known.get("start_ns"), "startTimeUnixNano") or moment(known.get("start"), "start_time")
    if started_at is None:
        started_at = nanoseconds(known.get("seen_ns"), "observedTimeUnixNano")
    if started_at is None:
        started_at = moment(known.get("seen"), "observed_timestamp")
    ended_at = nanoseconds(known.get("end_ns"), "endTimeUnixNano") or moment(known.get("end"), "end_time")
    return started_at, ended_at


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _process(process: Any) -> dict[str, Any]:
    if not isinstance(process, dict):
        raise fields.bad_field("process", "an object", process, way_out=WAY_OUT)
    name = process.get("serviceName")
    others = {key: value for key, value in process.items() if key not in ("serviceName", "tags") and value}
    return ({"service.name": name} if name else {}) | decoded(process.get("tags"), "process.tags") | others


# --- what only some shapes have ------------------------------------------------------------------------------

_KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
_ERRORS = frozenset(["2", "error"])
_NO_ERRORS = frozenset(["0", "1", "ok", "unset"])


def _kind(kind: Any) -> Any:
    if kind.__class__ is int:
        kind = _KINDS.get(kind, kind)
    elif isinstance(kind, str):
        kind = kind.rpartition(".")[2].removeprefix("SPAN_KIND_").upper()
    return None if kind in ("INTERNAL", "UNSPECIFIED", 0) else kind


def _status(known: Mapping[str, Any], rest: dict[str, Any]) -> tuple[bool, str | None]:
    status, code, message = known.get("status"), known.get("code"), known.get("message")
    if isinstance(status, dict):
        code = status.get("code", status.get("status_code", code))
        message = status.get("message", status.get("description", message))
        others = {key: value for key, value in status.items() if key not in _READ_OF_STATUS and value}
        _keep(rest, "status", others)
    elif status is not None:
        code = status
    text = fields.text_of(message, "status.message")
    name = str(code).rpartition(".")[2].removeprefix("STATUS_CODE_").lower() if isinstance(code, (str, int)) else code
    if isinstance(name, str) and name in _ERRORS:
        return True, text
    _keep(rest, "status_message", text)
    if not (isinstance(name, str) and name in _NO_ERRORS):
        _keep(rest, "status_code", code)
    return False, None


_READ_OF_STATUS = frozenset(["code", "status_code", "message", "description"])


def _links(links: Any) -> Any:
    """As they stand, their attributes decoded."""
    if not isinstance(links, list):
        return links
    return [
        {**link, "attributes": decoded(link["attributes"], f"links[{index}].attributes")}
        if isinstance(link, dict) and link.get("attributes")
        else link
        for index, link in enumerate(links)
    ]


def _trace_state(context: Any) -> Any:
    state = context.get("trace_state") if isinstance(context, dict) else None
    return None if state in ("[]", {"entries": {}}) else state


def _events(events: Any) -> list[Event]:
    if fields.is_empty(events):
        return []
    if not isinstance(events, list):
        raise fields.bad_field("events", "a list", events, way_out=WAY_OUT)
    found: list[Event] = []
    for index, event in enumerate(events):
        place = f"events[{index}]"
        if not isinstance(event, dict):
            raise fields.bad_field(place, "an object", event, way_out=WAY_OUT)
        known, rest = _sorted_fields(event)
        time = nanoseconds(known.get("start_ns"), f"{place}.timeUnixNano")
        found.append(
            Event(
                name=fields.text_of(known.get("name"), f"{place}.name") or "",
                time=time or moment(known.get("start"), f"{place}.timestamp"),
                attributes=decoded(known.get("attributes"), f"{place}.attributes"),
                rest=rest,
            )
        )
    return found


def _is_jaeger(line: Mapping[str, Any]) -> bool:
    return "spanID" in line or "operationName" in line


def _jaeger_logs(logs: Any) -> list[Event]:
    if fields.is_empty(logs):
        return []
    if not isinstance(logs, list):
        raise fields.bad_field("logs", "a list", logs, way_out=WAY_OUT)
    found: list[Event] = []
    for index, log in enumerate(logs):
        place = f"logs[{index}]"
        if not isinstance(log, dict):
            raise fields.bad_field(place, "an object", log, way_out=WAY_OUT)
        attributes = decoded(log.get("fields"), f"{place}.fields")
        name = attributes.pop("event", None)
        found.append(
            Event(
                name=fields.text_of(name, f"{place}.fields.event") or "",
                time=moment(log.get("timestamp"), f"{place}.timestamp", "us"),
                attributes=attributes,
                rest={key: value for key, value in log.items() if key not in ("timestamp", "fields") and value},
            )
        )
    return found


def _tags(known: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """Jaeger has kind, status and scope among the tags."""
    tags = decoded(known.get("tags"), "tags")
    code = tags.pop("otel.status_code", None)
    if tags.get("error") in (True, "true"):
        code = "ERROR"
        tags.pop("error")
    known["code"] = code
    known["message"] = tags.pop("otel.status_description", None)
    known["kind"] = tags.pop("span.kind", None)
    scope = {"name": tags.pop("otel.scope.name", None), "version": tags.pop("otel.scope.version", None)}
    known["scope"] = {key: value for key, value in scope.items() if value is not None}
    return tags


def _reference(known: Mapping[str, Any], trace_id: str, rest: dict[str, Any]) -> Any:
    """The parent: the first reference to this trace that says CHILD_OF, else the first one; the others are links."""
    references = known.get("references")
    if fields.is_empty(references):
        return None
    if not isinstance(references, list) or not all(isinstance(item, dict) for item in references):
        raise fields.bad_field("references", "a list of objects", references, way_out=WAY_OUT)
    here = [
        item
        for item in references
        if id_of(item.get("traceID"), "references.traceID", TRACE_ID_BYTES) in (None, trace_id)
    ]
    parent = next((item for item in here if item.get("refType") == "CHILD_OF"), here[0] if here else None)
    _keep(rest, "references", [item for item in references if item is not parent])
    return None if parent is None else parent.get("spanID")
