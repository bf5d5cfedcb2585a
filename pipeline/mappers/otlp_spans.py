"""One span, or one log record, read alike whether OTLP or the Python SDK wrote it (otlp_jaeger makes OTLP of Jaeger's).

Sources: opentelemetry-proto 1.45.2 (trace.proto, logs.proto, common.proto, and what protobuf's json_format makes of
them), opentelemetry-sdk 1.45.2 (ReadableSpan.to_json, ReadableLogRecord.to_json), the SDK's
opentelemetry-exporter-otlp-json-common 0.66b1, formats.md section 3, and the files in shared/samples/otlp. CloudWatch's
lines (attributes as an object) are read, and not verified.

| OTLP | Python SDK | here |
|---|---|---|
| traceId, spanId: hex, or base64 | context.trace_id, span_id: "0x…", or integers | lower-case hex |
| parentSpanId ("" and zeros are none) | parent_id, parent.span_id | parent_id |
| startTimeUnixNano, endTimeUnixNano (0 is none) | start_time, end_time: ISO, or nanoseconds | ISO UTC |
| attributes (AnyValue) | attributes (an object) | plain values; bytes stay base64 |
| events | events | events |
| status.code 2, STATUS_CODE_ERROR | status.status_code | is_error |
| status.message | status.description | message |
| kind | kind | kind, without INTERNAL, which is the default |
| resource.attributes | resource.attributes | resource |
| snake_case for camelCase | | the same |

Not kept: flags, schemaUrl, durationNano, which repeats the times, and of contexts and parents that are objects all but
the ids and the trace state. Of two attributes with one key the last counts. Whatever else is not empty is in `rest`.
"""

from __future__ import annotations

from collections.abc import Mapping
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


class Row(NamedTuple):
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

_IDS = {
    "traceId": "trace", "trace_id": "trace", "traceID": "trace", "spanId": "id", "span_id": "id", "spanID": "id",
}  # fmt: skip
_TIMES = {"timeUnixNano": "time", "time_unix_nano": "time", "timestamp": "time"}
_NOT_KEPT = dict.fromkeys(("flags", "trace_flags", "traceFlags", "schemaUrl", "schema_url"), "not kept")
_NAMES_OF_EVENTS = _TIMES | {"name": "name", "attributes": "attributes"}
_NAMES_OF_LINKS = _IDS | _NOT_KEPT | {"context": "context", "attributes": "attributes"}
_SHARED = _IDS | _NOT_KEPT | {
    "attributes": "attributes", "resource": "resource", "scope": "scope", "instrumentationScope": "scope",
    "instrumentation_scope": "scope",
}  # fmt: skip
_NAMES_OF_LOGS = _SHARED | _TIMES | {
    "observedTimeUnixNano": "seen", "observed_time_unix_nano": "seen", "observed_timestamp": "seen", "body": "body",
    "eventName": "event_name", "event_name": "event_name",
}  # fmt: skip
_STARTS = ("startTimeUnixNano", "start_time_unix_nano", "start_time")
_ENDS = ("endTimeUnixNano", "end_time_unix_nano", "end_time")
_NAMES = _SHARED | dict.fromkeys(_STARTS, "start") | dict.fromkeys(_ENDS, "end") | {
    "context": "context", "parentSpanId": "parent", "parent_span_id": "parent", "parent_id": "parent",
    "parent": "parent", "parentSpanContext": "parent", "name": "name", "kind": "kind", "events": "events",
    "links": "links", "status": "status", "status_code": "code", "statusCode": "code", "status_message": "message",
    "statusMessage": "message", "final_output": "final_output", "durationNano": "not kept",
}  # fmt: skip
_SIGNS_OF_LOGS = frozenset(
    ["body", "severityNumber", "severity_number", "severityText", "eventName", "event_name", "observedTimeUnixNano",
     "observed_time_unix_nano", "observed_timestamp"]
)  # fmt: skip
_SIGNS_OF_SPANS = frozenset(_STARTS)


def is_log(line: Mapping[str, Any]) -> bool:
    """Is this a log record, not a span?"""
    return not _SIGNS_OF_LOGS.isdisjoint(line) and _SIGNS_OF_SPANS.isdisjoint(line)


def ids_of(line: Mapping[str, Any]) -> tuple[str, str | None]:
    """The ids of the trace and the span. Raises RejectedError where there is no trace id."""
    if "traceId" in line:
        trace, span = line["traceId"], line.get("spanId")
    elif "trace_id" in line:
        trace, span = line["trace_id"], line.get("span_id")
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
    """Start and end of a span; of a log record, when it was written, or else seen."""
    if "startTimeUnixNano" in line:
        start, end = line["startTimeUnixNano"], line.get("endTimeUnixNano")
        return moment(start, "startTimeUnixNano"), moment(end, "endTimeUnixNano")
    if is_log(line):
        known, _ = _sorted_fields(line, _NAMES_OF_LOGS)
        time = moment(known.get("time"), "timeUnixNano") or moment(known.get("seen"), "observedTimeUnixNano")
        return time, time
    known, _ = _sorted_fields(line, _NAMES)
    return moment(known.get("start"), "start_time"), moment(known.get("end"), "end_time")


def row_of(line: Mapping[str, Any]) -> Row:
    """A span. Raises RejectedError, naming the field."""
    trace_id, span_id = ids_of(line)
    if span_id is None:
        raise no_id("spanId is missing or empty")
    known, rest = _sorted_fields(line, _NAMES)
    started_at, ended_at = times_of(line)
    parent = known.get("parent")
    if isinstance(parent, dict):
        parent = parent.get("span_id", parent.get("spanId"))
    is_error, message = _status(known, rest)
    _keep(rest, "kind", _kind(known.get("kind")))
    _keep(rest, "scope", scope_of(known.get("scope")))
    if "links" in known:
        rest["links"] = _links(known["links"])
    _keep(rest, "traceState", _trace_state(known.get("context")))
    return Row(
        trace_id=trace_id,
        id=span_id,
        parent_id=id_of(parent, "parentSpanId", SPAN_ID_BYTES),
        name=fields.text_of(known.get("name"), "name") or "",
        started_at=started_at,
        ended_at=ended_at,
        attributes=decoded(known.get("attributes"), "attributes"),
        events=_events(known.get("events")),
        is_error=is_error,
        message=message,
        resource=resource_of(known.get("resource"), "resource"),
        rest=rest,
        final_output=known.get("final_output"),
    )


def log_of(line: Mapping[str, Any]) -> Log:
    """A log record. Raises RejectedError, naming the field."""
    trace_id, span_id = ids_of(line)
    if span_id is None:
        raise no_id("spanId is missing or empty")
    known, rest = _sorted_fields(line, _NAMES_OF_LOGS)
    attributes = decoded(known.get("attributes"), "attributes")
    _keep(rest, "scope", scope_of(known.get("scope")))
    name = known.get("event_name") or attributes.pop("event.name", None)
    event = Event(
        name=fields.text_of(name, "eventName") or "",
        time=times_of(line)[0],
        attributes=attributes,
        body=value_of(known.get("body")),
        rest=rest,
    )
    return Log(trace_id, span_id, event, resource_of(known.get("resource"), "resource"))


def _sorted_fields(line: Mapping[str, Any], names: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    known: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in line.items():
        if not value and (value.__class__ in fields.EMPTY or value.__class__ is int):
            continue  # a count of 0 dropped attributes, and a kind or status of 0, are the default
        name = names.get(key)
        if name is None or name in known:
            rest[key] = value
        elif name != "not kept":
            known[name] = value
    return known, rest


def _keep(rest: dict[str, Any], key: str, value: Any) -> None:
    if not fields.is_empty(value):
        rest[key] = value


# --- what stands under several names ------------------------------------------------------------------------

_KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
_ERRORS = frozenset([2, "2", "error"])
_NO_ERRORS = frozenset([0, 1, "0", "1", "ok", "unset", None])
_READ_OF_STATUS = frozenset(["code", "status_code", "message", "description"])


def _kind(kind: Any) -> Any:
    """None where it says nothing; one that we do not know as it stands."""
    name = kind.rpartition(".")[2].removeprefix("SPAN_KIND_").upper() if isinstance(kind, str) else kind
    name = _KINDS.get(name, name) if name.__class__ is int else name
    if name in ("INTERNAL", "UNSPECIFIED"):
        return None
    return name if name in _KINDS.values() else kind


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
    name = code.rpartition(".")[2].removeprefix("STATUS_CODE_").lower() if isinstance(code, str) else code
    is_known = name is None or isinstance(name, (str, int))
    if is_known and name in _ERRORS:
        return True, text
    _keep(rest, "status_message", text)
    if not is_known or name not in _NO_ERRORS:
        _keep(rest, "status_code", code)
    return False, None


def _links(links: Any) -> Any:
    return [_link(link) if isinstance(link, dict) else link for link in links] if isinstance(links, list) else links


def _link(link: Mapping[str, Any]) -> dict[str, Any]:
    """Another span that this one has to do with."""
    known, rest = _sorted_fields(link, _NAMES_OF_LINKS)
    context = known.get("context")
    if isinstance(context, dict):
        known |= _sorted_fields(context, _NAMES_OF_LINKS)[0]
    ids = {
        "traceId": id_of(known.get("trace"), "links.traceId", TRACE_ID_BYTES),
        "spanId": id_of(known.get("id"), "links.spanId", SPAN_ID_BYTES),
        "attributes": decoded(known.get("attributes"), "links.attributes"),
        "traceState": _trace_state(context),
    }
    return {key: value for key, value in ids.items() if not fields.is_empty(value)} | rest


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
        known, rest = _sorted_fields(event, _NAMES_OF_EVENTS)
        found.append(
            Event(
                name=fields.text_of(known.get("name"), f"{place}.name") or "",
                time=moment(known.get("time"), f"{place}.timeUnixNano"),
                attributes=decoded(known.get("attributes"), f"{place}.attributes"),
                rest=rest,
            )
        )
    return found
