"""Spans of Arize Phoenix, with OpenInference attributes: data frames, JSON of the API, the UI and the CLI.

| file | records |
|---|---|
| `get_spans_dataframe()` as Parquet (or `to_json(orient="records", lines=True)`) | rows, `context.span_id`, … |
| GET /v1/projects/…/spans; the UI's download as JSONL; `px span list` | spans, or pages of them |
| `px trace list`, `px trace get` of @arizeai/phoenix-cli | `{traceId, spans, rootSpan, …}` |
| GET …/trace_annotations | annotations, which go to their traces |
| JSONL of 2023 (phoenix.trace.span_json_encoder) | spans with `conversation`, ids are UUIDs, times without zone |

Sources: arize-phoenix 20.26, arize-phoenix-client 3.5 and openinference-semantic-conventions 0.1.42 from PyPI
(server/api/routers/v1/spans.py and annotations.py: the JSON; trace/dsl/query.py: the data frame; trace/schemas.py,
trace/span_json_encoder.py: 2023; the UI's script: annotations as attributes); Arize-ai/phoenix,
js/packages/phoenix-cli/src/trace.ts: `{traceId, …}`; files that a running Phoenix of that version gave; formats.md 4.

| export field (of a row) | Trace or Span field |
|---|---|
| context.trace_id | id (required) |
| context.span_id (or `__index_level_0__`) | span id (required) |
| parent_id, name, start_time, end_time | the same; times without zone are UTC |
| span_kind | type, where the attributes have no kind |
| status_code ERROR, status_message | error; without a message that of the last exception in events |
| attributes; columns `attributes.…` | openinference_attributes.py |
| session.id of the root, or else of any span; `conversation` (2023) | conversation_id |
| user.id, tag.tags, metadata of the root | user_id (or of any span), tags, metadata |
| attributes `trace.annotations`, annotations and notes of a trace | metadata.openinference |
| all else that is not empty (events, annotations, notes, other status codes, …) | the span's metadata.openinference |
| the latest end, or updated_at of an annotation | revision |

Not kept: `id`, the number of a row in Phoenix's database; rootSpan, startTime, endTime, duration and status of a trace
of the CLI, which repeat its spans; session.id, `conversation`, user.id, tag.tags and metadata of a span where they
repeat the trace's. There is no project in these files. Annotations of spans that stand in a file of their own name
no trace: they are rejected, and the way out is to export them with the spans. So are annotations whose trace has
no span in the export.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, span_tree
from pipeline.mappers.mapper import Detection, Mapper, Piece
from pipeline.mappers.openinference_spans import (
    ATTRIBUTES,
    SpanRow,
    add,
    annotated_at,
    ids_of,
    read_span,
    required,
    span_of,
)
from pipeline.mappers.scoring import Score, judge
from pipeline.models import Trace

_OF_ENVELOPE = frozenset(["traceId", "spans", "rootSpan", "startTime", "endTime", "duration", "status"])
_OF_TRACE = {"trace.annotations": "annotations", "trace.evaluations": "evaluations"}
_WAY_OUT = "export spans with their annotations: the UI's download, or px span list --include-annotations"


def split(record: Any) -> Iterator[tuple[str, Any]]:
    """The spans of a page, or of a trace of the CLI, and what else that says of the trace."""
    if isinstance(record, dict):
        page, envelope = record.get("data"), record.get("spans") if "traceId" in record else None
        listed = page if isinstance(page, list) else envelope
        if isinstance(listed, list) and not record.keys() & {"context", "context.trace_id"}:
            yield from ((f"item {number}", item) for number, item in enumerate(listed, 1))
            more = {
                key: value for key, value in record.items() if key not in _OF_ENVELOPE and not fields.is_empty(value)
            }
            if listed is envelope and more:
                yield "trace", {"traceId": record["traceId"], **more}
            return
    yield "item 1", record


def piece_of(record: Any) -> Piece:
    """What a span, an annotation of a trace, or the rest of a trace is a part of."""
    row = fields.object_of(record)
    if _is_envelope(row):
        return Piece(required(row["traceId"], "traceId"), id="trace")
    if "annotator_kind" in row:
        return _piece_of_annotation(row)
    if isinstance(row.get("spans"), list) and "context" not in row:
        raise RejectedError(
            "this lists a trace without what was said in it (GET …/traces); export its spans (GET …/spans)",
            kind="not_a_span",
        )
    trace_id, span_id = ids_of(row, "")
    ended_at = fields.time_of(row.get("end_time"), "end_time")
    return Piece(
        trace_id=trace_id,
        id=span_id,
        revision=max(ended_at or "", annotated_at(row, "")),
        started_at=fields.time_of(row.get("start_time"), "start_time"),
        ended_at=ended_at,
    )


def assemble(records: Iterable[Any]) -> Trace:
    """The spans of one trace, and the annotations that name it."""
    reads: list[SpanRow] = []
    beside: dict[str, Any] = {}
    revisions: list[str] = []
    for index, record in enumerate(records):
        row = fields.object_of(record)
        if _is_envelope(row):
            add(beside, {key: value for key, value in row.items() if key != "traceId"})
        elif "annotator_kind" in row:
            revisions.append(_piece_of_annotation(row).revision)
            add(beside, {"annotations": [{key: value for key, value in row.items() if key != "trace_id"}]})
        else:
            reads.append(read_span(row, f"spans[{index}]."))
            revisions.append(annotated_at(row, f"spans[{index}]."))
    if not reads:
        raise RejectedError("there is no span of this trace, only what was said of it; export both", kind="no_spans")
    if len({read.trace_id for read in reads}) > 1:
        raise RejectedError("these are spans of several traces; give a file of them, not one", kind="several_traces")
    for read in reads:
        add(beside, {name: read.rest.pop(key) for key, name in _OF_TRACE.items() if key in read.rest})
    root = min(reads, key=lambda read: (read.parent_id is not None, read.started_at or "~")).said
    ended = [read.ended_at for read in reads if read.ended_at is not None]
    stated = Trace(
        id=reads[0].trace_id,
        conversation_id=root.session_id or _first(read.said.session_id or read.conversation_id for read in reads),
        user_id=root.user_id or _first(read.said.user_id for read in reads),
        tags=root.tags,
        metadata=fields.beside(root.own, "openinference", beside),
        origin={"format": "openinference"},
        revision=max((*ended, *revisions), default="") or None,
    )
    return span_tree.trace_of_spans((span_of(read, stated, root) for read in reads), stated)


def map_trace(record: Any) -> Trace | None:
    """One trace out of one record: a trace of the CLI, a page that holds only one, a span that is alone."""
    values = [value for _, value in split(record)]
    for value in values:
        piece_of(value)
    return assemble(values) if values else None


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are spans of Phoenix?"""
    return judge(sample, _score, "no spans of Phoenix (context, span_kind, attributes)")


# --- traces and annotations -------------------------------------------------------------------------------


def _is_envelope(row: Mapping[str, Any]) -> bool:
    return "traceId" in row and "context" not in row


def _piece_of_annotation(row: Mapping[str, Any]) -> Piece:
    if row.get("trace_id") is None:
        of = next((key for key in ("span_id", "session_id") if key in row), "")
        what = f"an annotation of a {of.removesuffix('_id')}" if of else "an annotation"
        raise RejectedError(f"this is {what}, which names no trace; {_WAY_OUT}", kind="no_trace_id")
    own_id = fields.id_of(row.get("id"), "id")
    return Piece(
        trace_id=required(row["trace_id"], "trace_id"),
        id=None if own_id is None else f"annotation {own_id}",
        revision=fields.time_of(row.get("updated_at"), "updated_at") or "",
    )


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)


# --- detection --------------------------------------------------------------------------------------------


def _score(row: dict[str, Any]) -> Score:
    listed = row.get("data") if "data" in row else row.get("spans") if "traceId" in row else None
    if isinstance(listed, list) and not row.keys() & {"context", "context.trace_id"}:
        inner = _score_one(listed[0]) if listed and isinstance(listed[0], dict) else Score(0.0, "")
        what = "pages" if "data" in row else "traces"
        return inner._replace(reason=f"{what} of {inner.reason}") if inner.value else inner
    return _score_one(row)


def _score_one(row: Mapping[str, Any]) -> Score:
    context = row.get("context")
    if isinstance(context, dict):
        if context.keys() >= {"trace_id", "span_id"} and row.keys() >= {"span_kind", "start_time"}:
            return Score(0.97, "spans of Phoenix (context, span_kind)")
    elif "context.trace_id" in row or "context.span_id" in row:
        if "span_kind" in row or any(key.startswith(ATTRIBUTES) for key in row):
            is_whole = "context.trace_id" in row
            return Score(0.97 if is_whole else 0.5, "rows of Phoenix's data frame of spans (context.span_id)")
    elif row.keys() >= {"annotator_kind", "result"} or row.keys() >= {"annotator_kind", "annotation_name"}:
        if row.get("trace_id") is not None:
            return Score(0.9, "annotations of Phoenix traces")
        return Score(0.3, f"annotations of Phoenix spans, which name no trace; {_WAY_OUT}")
    return Score(0.0, "")


MAPPER = Mapper(
    name="openinference",
    family="otel",
    detect=detect,
    map_trace=map_trace,
    split=split,
    piece_of=piece_of,
    assemble=assemble,
)
