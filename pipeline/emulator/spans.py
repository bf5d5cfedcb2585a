"""The routes of spans, which the API calls traces in its paths."""

from __future__ import annotations

from typing import Any

import orjson

from pipeline.emulator.json_body import body_of, object_body
from pipeline.emulator.options import Options
from pipeline.emulator.query import SORTABLE, Query, require_all, selection
from pipeline.emulator.session_life import mark_active
from pipeline.emulator.span_batch import Checked, check_spans
from pipeline.emulator.span_rules import TYPES, CheckedSpan
from pipeline.emulator.store import Row, Store
from pipeline.emulator.wire import Answer, RefusalError, Request, iso, json_answer, new_id

FILTERS = (
    "inferenceResultIds",
    "sessionIds",
    "types",
    "names",
    "fromStartTime",
    "toStartTime",
    "includeRejected",
)
COLUMNS = "id, turn_id, name, type, start_time, fields, created_at, deleted_at"
INSERT = f"INSERT INTO span ({COLUMNS}, session_id, of_context, visible_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
CONTEXT_SPAN_NAME = "retrieval_context"


def create_span(store: Store, options: Options, request: Request) -> Answer:
    checked = check_spans(store, options, [object_body(request, options)])
    if checked.rejected:
        raise RefusalError(checked.rejected[0].status, checked.rejected[0].reason)
    created = _stored(store, request, checked)
    return Answer(
        options.span_created_status,
        orjson.dumps(created[0]),
        session_id=checked.session_id,
        spans=len(checked.accepted),
    )


def create_spans(store: Store, options: Options, request: Request) -> Answer:
    """Stores what can be stored; `includeRejected=true` tells of the rest, which a bare array does not."""
    body = body_of(request, options)
    spans = body.get("traces") if isinstance(body, dict) else body
    if not isinstance(spans, list) or not spans:
        raise RefusalError(400, "traces must be a non-empty array.")
    if options.max_batch_spans and len(spans) > options.max_batch_spans:
        raise RefusalError(400, f"traces must not have more than {options.max_batch_spans} entries.")
    checked = check_spans(store, options, spans, request.keep_first)
    errors = [{"index": one.index, "name": one.name, "reason": one.reason} for one in checked.rejected]
    if not checked.accepted and not checked.known:
        reasons = "; ".join(f"{one.index} ({one.name}): {one.reason}" for one in checked.rejected)
        refused = RefusalError(400, f"No span could be created. {reasons}").answer()
        refused.rejected_spans = len(errors)
        return refused
    value: Any = _stored(store, request, checked)
    with_rejected = Query(request.query, FILTERS, options).many("includeRejected")
    if with_rejected and with_rejected[-1].lower() == "true":
        value = {"spans": value}
        if errors:
            value["partialSuccess"] = {"rejectedSpans": len(errors), "errors": errors}
    return Answer(
        options.span_created_status,
        orjson.dumps(value),
        session_id=checked.session_id,
        spans=len(checked.accepted),
        rejected_spans=len(errors),
    )


def get_span(store: Store, options: Options, request: Request) -> Answer:
    row = store.row(
        f"SELECT {COLUMNS}, session_id FROM span WHERE id = ? AND deleted_at IS NULL AND visible_at <= ?",
        (request.id, store.now_ms() / 1000),
    )
    if row is None:
        raise _not_found(request.id)
    return Answer(200, orjson.dumps(shown(row[:-1])), session_id=row[-1])


def list_spans(store: Store, options: Options, request: Request) -> Answer:
    query = Query(request.query, FILTERS, options)
    types = query.many("types")
    if types is not None and not set(types) <= set(TYPES):
        raise RefusalError(400, f"types must be among {', '.join(TYPES)}.")
    chosen = selection(query, options, {**SORTABLE, "startTime": "start_time"})
    chosen.where("visible_at <= ?", store.now_ms() / 1000)
    chosen.where("created_at <= ?", store.now_ms() - options.list_lag_ms)
    chosen.is_one_of("turn_id", query.many("inferenceResultIds"))
    chosen.is_one_of("session_id", query.many("sessionIds"))
    chosen.is_one_of("type", types)
    chosen.is_one_of("name", query.many("names"))
    if (start := query.time_ms("fromStartTime")) is not None:
        chosen.where("start_time >= ?", start)
    if (end := query.time_ms("toStartTime")) is not None:
        chosen.where("start_time <= ?", end)
    if (ids := query.many("ids")) is not None:
        found = store.rows(f"SELECT id FROM span WHERE {chosen.filter}", chosen.values)
        require_all("Span", ids, [row[0] for row in found])
    rows = store.rows(f"SELECT {COLUMNS} FROM span WHERE {chosen.page}", chosen.values)
    return json_answer(200, [_listed(row, options) for row in rows])


def delete_span(store: Store, options: Options, request: Request) -> Answer:
    row = store.row("SELECT session_id FROM span WHERE id = ? AND deleted_at IS NULL", (request.id,))
    if row is None:
        raise _not_found(request.id)
    store.change("UPDATE span SET deleted_at = ? WHERE id = ?", (store.now_ms(), request.id))
    return Answer(204, session_id=row[0])


def delete_spans_of_turn(store: Store, turn_id: str) -> None:
    store.change("UPDATE span SET deleted_at = ? WHERE turn_id = ? AND deleted_at IS NULL", (store.now_ms(), turn_id))


def set_retrieval_context(
    store: Store, turn_id: str, session_id: str, context: str | None, visible_at: float = 0.0
) -> None:
    """The retrieval context of a turn is a span of type RETRIEVER, which takes the place of an earlier one."""
    store.change(
        "UPDATE span SET deleted_at = ? WHERE turn_id = ? AND of_context AND deleted_at IS NULL",
        (store.now_ms(), turn_id),
    )
    if context is not None:
        fields = {"outputData": context}
        span = CheckedSpan(None, turn_id, None, CONTEXT_SPAN_NAME, "RETRIEVER", None, None, fields)
        _insert(store, span, session_id, visible_at, of_context=True)


def shown(row: Row) -> dict[str, Any]:
    span_id, turn_id, name, kind, start_time, fields, created_at, deleted_at = row
    more = orjson.loads(fields)
    return {
        "id": span_id,
        "inferenceResultId": turn_id,
        "parentTraceId": more.get("parentTraceId"),
        "name": name,
        "type": kind,
        "description": more.get("description"),
        "inputData": more.get("inputData"),
        "outputData": more.get("outputData"),
        "error": more.get("error"),
        "latencyMs": more.get("latencyMs"),
        "metadata": more.get("metadata"),
        "startTime": iso(start_time),
        "endTime": iso(more.get("endTime")),
        "createdAt": iso(created_at),
        "deletedAt": iso(deleted_at),
    }


def _listed(row: Row, options: Options) -> dict[str, Any]:
    span = shown(row)
    if options.listed_span_metadata == "hide":
        span["metadata"] = None
    elif options.listed_span_metadata == "text" and span["metadata"] is not None:
        span["metadata"] = orjson.dumps(span["metadata"]).decode()
    return span


def _stored(store: Store, request: Request, checked: Checked) -> list[dict[str, Any]]:
    """The spans of the answer: the new ones, and those that were there already and count as created."""
    rows = [_insert(store, span, session_id, request.visible_at) for span, session_id in checked.accepted]
    for session_id in {session_id for _, session_id in checked.accepted}:
        mark_active(store, session_id)
    rows += [store.one(f"SELECT {COLUMNS} FROM span WHERE id = ?", (span_id,)) for span_id in checked.known]
    return [shown(row) for row in rows]


def _insert(store: Store, span: CheckedSpan, session_id: str, visible_at: float, *, of_context: bool = False) -> Row:
    row: Row = (
        span.id or new_id("trace"),
        span.turn_id,
        span.name,
        span.type,
        span.start_ms,
        orjson.dumps({**span.fields, "endTime": span.end_ms}),
        store.now_ms(),
        None,
    )
    store.change(INSERT, (*row, session_id, of_context, visible_at))
    return row


def _not_found(span_id: str) -> RefusalError:
    return RefusalError(404, f"Span {span_id} not found")
