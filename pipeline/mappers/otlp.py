"""OpenTelemetry: spans in OTLP/JSON, Jaeger's JSON or the Python SDK's, with log records of the GenAI conventions.

`split` cuts documents into lines, a span or a log record each, with its resource and scope inside (otlp_documents);
otlp_spans reads a line (otlp_jaeger one of Jaeger's), genai_messages and genai what its attributes mean. A trace's
spans may lie scattered over lines and files. Sources: see there.

| export | Trace field |
|---|---|
| traceId | id |
| the first of genai's `conversation` attributes, on any span: gen_ai.conversation.id, session.id, … | conversation_id |
| langfuse.trace.name; else the root's name | name |
| user.id, langfuse.user.id, enduser.id, … | user_id |
| langfuse.trace.tags, tag.tags, ai.telemetry.metadata.tags | tags |
| langfuse.environment; deployment.environment.name, also of the resource | environment |
| langfuse.release | release |
| langfuse.version; else service.version of the resource | version |
| langfuse.trace.input, .output; final_output beside the spans | input and output of the turn, before the spans' own |
| openinference.project.name of the resource, else service.name | origin.project |
| langfuse.trace.metadata | metadata |
| the resource of the first span | metadata.otlp.resource |

| of a span | Span field |
|---|---|
| its meaning (genai) | type, input, output, model, tokens, cost |
| status ERROR | error: its message; else the last exception's "type: message"; else error.type |
| other attributes | metadata, each under its name |
| kind, scope, links, events that are no messages, a resource of its own, … | metadata.otlp |

A log record of the GenAI conventions is an event of its span; where the span is not in the export it stands in for it,
and the trace is partial. Other log records, and those without traceId and spanId, are ignored, as metrics are.

Not kept: what a span repeats of its trace (the conversation, the user, …), the resource of a log record, and what
otlp_documents, otlp_spans and genai_messages name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, genai, genai_messages, otlp_documents, otlp_jaeger, otlp_spans
from pipeline.mappers.mapper import Detection, Mapper, Piece
from pipeline.mappers.otlp_spans import Event, Log, Row
from pipeline.mappers.scoring import Score, judge
from pipeline.mappers.span_tree import NO_MESSAGE, exception_in, trace_of_spans
from pipeline.models import Span, Trace

_SHOWN_SPANS = 3


def split(record: Any) -> list[tuple[str, Any]]:
    """The spans and GenAI log records of a document, each with its place in it."""
    return [(place, line) for place, line in otlp_documents.lines_of(record) if _is_of_a_trace(line)]


def piece_of(record: Any) -> Piece:
    """Which span of which trace. Raises RejectedError where the record is neither span nor log record."""
    line = _line(record)
    trace_id, span_id = otlp_spans.ids_of(line)
    started_at, ended_at = otlp_spans.times_of(line)
    if otlp_spans.is_log(line):
        return Piece(trace_id, _hash(line), "", started_at, started_at)
    if span_id is None:
        raise otlp_spans.no_id("spanId is missing or empty")
    return Piece(trace_id, span_id, ended_at or "", started_at, ended_at)


def assemble(records: Iterable[Any]) -> Trace | None:
    """All spans and log records of one trace. Raises RejectedError, naming the field."""
    rows: dict[str, Row] = {}
    logs: dict[str, list[Log]] = {}
    for record in records:
        line = _line(record)
        if otlp_spans.is_log(line):
            log = otlp_spans.log_of(line)
            logs.setdefault(log.span_id, []).append(log)
        else:
            row = otlp_spans.row_of(line)
            rows[row.id] = row
    missing = [span_id for span_id in logs if span_id not in rows]
    rows |= {span_id: _stand_in(logs[span_id]) for span_id in missing}
    return _trace(sorted(rows.values(), key=lambda row: (row.started_at or "", row.id)), logs, missing)


def map_trace(record: Any) -> Trace | None:
    """A document that holds one whole trace."""
    lines = [line for _, line in split(record)]
    ids = {piece_of(line).trace_id for line in lines}
    if len(ids) > 1:
        raise RejectedError(
            f"this document holds spans of {len(ids)} traces; give each its own", kind="not_a_whole_trace"
        )
    return assemble(lines) if lines else None


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are OpenTelemetry spans?"""
    return judge(sample, _score, "no OpenTelemetry spans (OTLP, Jaeger, Python SDK)")


# --- pieces -------------------------------------------------------------------------------------------------


def _line(record: Any) -> dict[str, Any]:
    line = fields.object_of(record)
    return otlp_jaeger.as_otlp(line) if otlp_jaeger.is_jaeger(line) else line


def _is_of_a_trace(line: Any) -> bool:
    if not isinstance(line, dict) or not otlp_spans.is_log(line):
        return True
    try:
        return genai_messages.is_genai(otlp_spans.log_of(line).event)
    except RejectedError as error:
        return error.kind != "no_id"  # piece_of or assemble says what is wrong with it


def _hash(line: Mapping[str, Any]) -> str:
    """A log record has no id: one that was delivered twice is known by what it says."""
    said = {key: value for key, value in line.items() if key not in ("resource", "scope")}
    text = fields.json_text(said).encode("utf-8", "surrogatepass")
    return f"log:{hashlib.sha256(text).hexdigest()[:32]}"


def _stand_in(logs: Sequence[Log]) -> Row:
    times = [log.event.time for log in logs if log.event.time is not None]
    return Row(
        trace_id=logs[0].trace_id,
        id=logs[0].span_id,
        parent_id=None,
        name=logs[0].event.name,
        started_at=min(times, default=None),
        ended_at=max(times, default=None),
        attributes={},
        events=[],
        is_error=False,
        message=None,
        resource=logs[0].resource,
        rest={key: value for key, value in logs[0].event.rest.items() if key == "scope"},
    )


# --- the trace ----------------------------------------------------------------------------------------------


def _trace(rows: Sequence[Row], logs: Mapping[str, Sequence[Log]], missing: Sequence[str]) -> Trace | None:
    if not rows:
        return None
    read = [_meaning(row, logs.get(row.id, ())) for row in rows]
    stated: dict[str, genai.Stated] = {}
    metadata: dict[str, Any] = {}
    for meaning, _ in read:
        for name, candidate in meaning.of_trace.items():
            if name not in stated or candidate.rank < stated[name].rank:
                stated[name] = candidate
        metadata = meaning.trace_metadata | metadata
    resource = rows[0].resource
    spans = [
        _span(row, meaning, events, _repeats(meaning, stated, metadata), resource)
        for row, (meaning, events) in zip(rows, read, strict=True)
    ]
    said = {name: value for name, (_, _, value) in stated.items()}
    project = resource.get("openinference.project.name") or resource.get("service.name")
    output = said.get("trace_output")
    return trace_of_spans(
        spans,
        Trace(
            id=rows[0].trace_id,
            conversation_id=said.get("conversation"),
            name=said.get("trace_name"),
            user_id=said.get("user"),
            tags=said.get("tags", ()),
            environment=said.get("environment")
            or _text(resource, "deployment.environment.name")
            or _text(resource, "deployment.environment"),
            release=said.get("release"),
            version=said.get("version") or _text(resource, "service.version"),
            metadata=fields.beside(metadata, "otlp", {"resource": resource} if resource else {}),
            origin={"format": "otlp", "project": project} if isinstance(project, str) else {"format": "otlp"},
            partial=_partial(missing),
        ),
        input=said.get("trace_input"),
        output=next((row.final_output for row in rows if row.final_output is not None), None)
        if output is None
        else output,
    )


def _text(resource: Mapping[str, Any], key: str) -> str | None:
    value = resource.get(key)
    return value if isinstance(value, str) and value else None


def _partial(missing: Sequence[str]) -> str | None:
    if not missing:
        return None
    shown = ", ".join(sorted(missing)[:_SHOWN_SPANS]) + (", …" if len(missing) > _SHOWN_SPANS else "")
    return f"{len(missing)} span(s) not in the export, only log records of them: {shown}"


def _meaning(row: Row, logs: Sequence[Log]) -> tuple[genai.Meaning, list[Event]]:
    events = [*row.events, *genai_messages.in_order(log.event for log in logs)]
    attributes, left = genai_messages.with_messages(row.attributes, events)
    return genai.meaning_of(attributes), left


def _repeats(meaning: genai.Meaning, stated: Mapping[str, genai.Stated], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What this span says of the trace otherwise than the trace has it."""
    others = {said.key: said.value for name, said in meaning.of_trace.items() if said.value != stated[name].value}
    for key, value in meaning.trace_metadata.items():
        if metadata[key] != value:
            others[f"langfuse.trace.metadata.{key}"] = value
    return others


def _span(
    row: Row, meaning: genai.Meaning, events: Sequence[Event], others: Mapping[str, Any], resource: Mapping[str, Any]
) -> Span:
    rest = row.rest
    noted = [_as_json(event) for event in events]
    if noted:
        rest = {**rest, "events": noted}
    if row.resource != resource:
        rest = {**rest, "resource": row.resource}
    error = meaning.error
    if row.is_error:
        error = error or row.message or exception_in(noted) or _text(meaning.own, "error.type") or NO_MESSAGE
    return Span(
        id=row.id,
        name=row.name,
        type=meaning.type,
        parent_id=row.parent_id,
        started_at=row.started_at,
        ended_at=row.ended_at,
        input=meaning.input,
        output=meaning.output,
        error=error,
        model=meaning.model,
        tokens=meaning.tokens,
        cost=meaning.cost,
        metadata=fields.beside({**meaning.own, **others}, "otlp", rest),
    )


def _as_json(event: Event) -> dict[str, Any]:
    known = {"name": event.name, "time": event.time, "attributes": event.attributes, "body": event.body}
    return {key: value for key, value in known.items() if not fields.is_empty(value)} | dict(event.rest)


# --- detection ----------------------------------------------------------------------------------------------


def _first(items: Any) -> dict[str, Any]:
    first = items[0] if isinstance(items, list) and items else None
    return first if isinstance(first, dict) else {}


def _score(row: dict[str, Any]) -> Score:
    request = otlp_documents.request_in(row)
    batch = _first(request.get("batches"))
    if request.keys() & {"resourceSpans", "resource_spans"}:
        return Score(0.98, "OTLP requests (resourceSpans)")
    if "resource" in batch and batch.keys() & {"scopeSpans", "instrumentationLibrarySpans"}:
        return Score(0.95, "OTLP spans in batches, as Grafana Tempo exports them")
    if row.keys() & {"resourceLogs", "resource_logs", "resourceMetrics", "resource_metrics", "resourceProfiles"}:
        return Score(0.95, "OTLP requests of logs or metrics")
    if "traceID" in _first(row.get("data")) or {"traceID", "spans"} <= row.keys():
        return Score(0.95, "a Jaeger export (traceID, spans)")
    if {"traceID", "spanID", "operationName"} <= row.keys():
        return Score(0.95, "Jaeger spans, one a record")
    if row.keys() >= {"traceId", "spanId"} and row.keys() & {"startTimeUnixNano", "observedTimeUnixNano"}:
        return Score(0.95, "OTLP spans or log records, one a record")
    if row.keys() >= {"trace_id", "span_id"} and row.keys() & {"start_time_unix_nano", "observed_timestamp"}:
        return Score(0.0, "") if _is_mlflow(row) else Score(0.9, "OTLP spans or log records, one a record")
    span = row if "context" in row else _first(row.get("spans"))
    if _is_of_the_sdk(span):
        return Score(0.9, "spans as OpenTelemetry's SDK writes them (name, context, attributes)")
    return Score(0.0, "")


def _is_mlflow(span: Mapping[str, Any]) -> bool:
    attributes = span.get("attributes")
    return isinstance(attributes, dict) and any(key.startswith("mlflow.") for key in attributes)


def _is_of_the_sdk(span: Mapping[str, Any]) -> bool:
    """OpenInference's spans look much alike, and have a span_kind of their own; MLflow's 2.x hold mlflow.* only."""
    context = span.get("context")
    return (
        isinstance(context, dict)
        and context.keys() >= {"trace_id", "span_id"}
        and span.keys() >= {"name", "attributes", "start_time"}
        and "span_kind" not in span
        and not _is_mlflow(span)
    )


MAPPER = Mapper(
    name="otlp",
    family="otel",
    detect=detect,
    map_trace=map_trace,
    split=split,
    piece_of=piece_of,
    assemble=assemble,
)
