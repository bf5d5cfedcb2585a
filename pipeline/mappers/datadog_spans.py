"""One span of Datadog's LLM Observability: an item of the export API, its attributes alone, or an event of an SDK.

The sources: datadog.py.

| export field | Span field |
|---|---|
| span_id, else the id of the item | id |
| parent_id ("undefined" is none) | parent_id |
| name | name |
| span_kind, meta.span.kind, meta.kind | type: llm GENERATION, workflow CHAIN, agent AGENT, tool TOOL, task SPAN |
| … | embedding EMBEDDING, retrieval RETRIEVER; another is SPAN, and kept in metadata.datadog |
| start_ns (also in milliseconds: the size tells) | started_at |
| start_ns + duration (nanoseconds) | ended_at |
| input, output: value (JSON in it decoded), messages or documents, where there is only one of them | input, output |
| … where there are more | messages without a value that one of them repeats; else the object |
| status error, or the tag error:1 | error: meta.error, error or status_message; else the tag error_type |
| model_name | model |
| metrics.input_tokens, output_tokens, total_tokens; other …_tokens | tokens input, output, total; others by name |
| metrics.total_cost, else estimated_total_cost: nanodollars; in an event of an SDK dollars | cost, USD |
| metadata | metadata |
| all else that is not empty (evaluation, tool_definitions, model_provider, other metrics, …) | metadata.datadog |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, span_rows
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.span_rows import Row
from pipeline.mappers.span_tree import NO_MESSAGE
from pipeline.models import Span

_TYPES = {
    "llm": "GENERATION",
    "workflow": "CHAIN",
    "agent": "AGENT",
    "tool": "TOOL",
    "task": "SPAN",
    "embedding": "EMBEDDING",
    "retrieval": "RETRIEVER",
}
_TOKENS = {"input_tokens": "input", "output_tokens": "output", "total_tokens": "total"}
_MODELLED = frozenset(
    [
        "span_id",
        "trace_id",
        "parent_id",
        "name",
        "span_kind",
        "start_ns",
        "duration",
        "input",
        "output",
        "status",
        "error",
        "status_message",
        "model_name",
        "metrics",
        "metadata",
        "tags",
        "meta",
        "attributes",
    ]
)
_VALUES = frozenset(["value", "messages", "documents"])
_ROOT = "undefined"
_PER_DOLLAR = 1_000_000_000
_FIRST_MILLISECONDS, _FIRST_MICROSECONDS = 10**11, 10**14
_LONGEST_NUMBER = 40


def attributes_of(row: dict[str, Any]) -> dict[str, Any]:
    """The attributes of an item of the API, and what an event of an SDK has under `meta`, in one object."""
    inner = row.get("attributes")
    if isinstance(inner, dict):
        item = {key: value for key, value in row.items() if key != "attributes" and (key, value) != ("type", "span")}
        row = _joined(inner, item, "item")
    meta = row.get("meta")
    if isinstance(meta, dict):
        row = _joined(row, meta, "meta")
        span, kind = row.get("span"), row.get("kind")
        if isinstance(span, dict) and "kind" in span:
            row["span"], kind = {key: value for key, value in span.items() if key != "kind"}, span["kind"]
        else:
            row.pop("kind", None)
        row = _joined(row, {"span_kind": kind}, "meta")
    return row


def _joined(row: dict[str, Any], more: dict[str, Any], place: str) -> dict[str, Any]:
    """Both; where both say something else under one name, `more` has its place before the name."""
    joined = dict(row)
    for key, value in more.items():
        if fields.is_empty(joined.get(key)):
            joined[key] = value
        elif not fields.is_empty(value):
            joined[f"{place}.{key}"] = value
    return joined


def read_span(row: dict[str, Any]) -> Row:
    rest = {key: value for key, value in row.items() if key not in _MODELLED and (value or not fields.is_empty(value))}
    own = span_rows.object_in(row.get("metadata"), "metadata")
    metrics = dict(span_rows.object_in(row.get("metrics"), "metrics"))
    tags = [tag for tag in fields.tags_of(row.get("tags"), "tags") if not tag.endswith(":")]
    span_id = span_id_of(row)
    if rest.get("id") == span_id:
        del rest["id"]
    is_event = isinstance(row.get("meta"), dict)
    if not is_event and not fields.is_empty(row.get("meta")):
        rest["meta"] = row["meta"]
    kind = fields.text_of(row.get("span_kind"), "span_kind")
    type = span_rows.type_of(kind, _TYPES)
    if type is None:
        rest["span_kind"] = kind
    started_at, ended_at = times_of(row)
    span = Span(
        id=span_id,
        name=fields.text_of(row.get("name"), "name") or "",
        type=type or "SPAN",
        parent_id=_parent_id(row),
        started_at=started_at,
        ended_at=ended_at,
        input=_said(row.get("input")),
        output=_said(row.get("output")),
        error=_error(row, tags, rest),
        model=fields.text_of(row.get("model_name"), "model_name"),
        tokens=span_rows.taken(metrics, _TOKENS, "metrics"),
        cost=_take_cost(metrics, is_event),
    )
    if metrics := {key: value for key, value in metrics.items() if not fields.is_empty(value)}:
        rest["metrics"] = metrics
    again = {f"ml_app:{row.get('ml_app')}", f"session_id:{row.get('session_id')}", "error:0", "error:1"}
    if tags := [tag for tag in tags if tag not in again and not _is_in(span.error, tag)]:
        rest["tags"] = tags
    return Row(span, own, rest)


def trace_id_of(row: dict[str, Any]) -> str:
    trace_id = fields.id_of(row.get("trace_id"), "trace_id")
    if trace_id is None:
        raise RejectedError(f"trace_id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    return trace_id


def span_id_of(row: dict[str, Any]) -> str:
    span_id = fields.id_of(row.get("span_id"), "span_id") or fields.id_of(row.get("id"), "id")
    if span_id is None:
        raise RejectedError(f"span_id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    return span_id


def _parent_id(row: dict[str, Any]) -> str | None:
    parent_id = fields.id_of(row.get("parent_id"), "parent_id")
    return None if parent_id in (_ROOT, "0") else parent_id


def times_of(row: dict[str, Any]) -> tuple[str | None, str | None]:
    start, duration = _whole(row.get("start_ns"), "start_ns"), _whole(row.get("duration"), "duration")
    if start is None:
        return None, None
    if _FIRST_MILLISECONDS <= start < _FIRST_MICROSECONDS:
        start *= 1_000_000
    started_at = fields.time_of(start, "start_ns", "ns")
    return started_at, None if duration is None else fields.time_of(start + duration, "start_ns + duration", "ns")


def _whole(value: Any, field: str) -> int | None:
    """An integer, exactly: nanoseconds since 1970 have more digits than a float."""
    if value.__class__ is int:
        return int(value)
    if isinstance(value, str) and len(value) < _LONGEST_NUMBER:
        try:
            return int(value) if value.strip() else None
        except ValueError:
            pass
    if value is None:
        return None
    number = fields.number_of(value, field)
    return None if number is None else round(number)


def _said(value: Any) -> Any:
    """What went in or came out: the only one of value, messages and documents, or all that there is."""
    value = unwrap(value)
    if not isinstance(value, dict):
        return None if fields.is_empty(value) else value
    told = {key: unwrap(inner) for key, inner in value.items() if not fields.is_empty(inner)}
    messages = told.get("messages")
    if "value" in told and isinstance(messages, list):
        texts = [message.get("content") for message in messages if isinstance(message, dict)]
        if value["value"] in texts or told["value"] == messages:
            del told["value"]
    if len(told) == 1 and told.keys() <= _VALUES:
        return next(iter(told.values()))
    return told or None


def _error(row: dict[str, Any], tags: Sequence[str], rest: dict[str, Any]) -> str | None:
    info, status = unwrap(row.get("error")), row.get("status")
    if isinstance(status, str) and status.lower() not in ("ok", "error", ""):
        rest["status"] = status
    told = [fields.text_of(row.get("status_message"), "status_message")]
    if isinstance(info, dict):
        told.insert(0, span_rows.take_error(info, rest, "error"))
    elif isinstance(info, str):
        told.insert(0, info or None)
    elif info not in (None, False, True, 0, 1):
        rest["error"] = info
    is_error = str(status).lower() == "error" or any(told[:-1]) or info in (True, 1) or "error:1" in tags
    if not is_error:
        if told[-1] is not None:
            rest["status_message"] = told[-1]
        return None
    told.append(next((tag.partition(":")[2] for tag in tags if tag.startswith("error_type:")), None))
    return next((text for text in told if text), NO_MESSAGE)


def _is_in(error: str | None, tag: str) -> bool:
    return error is not None and tag.startswith("error_type:") and tag.partition(":")[2] in error


def _take_cost(metrics: dict[str, Any], is_event: bool) -> float | None:
    stated = fields.number_of(metrics.pop("total_cost", None), "metrics.total_cost")
    if stated is not None:
        return stated if is_event else stated / _PER_DOLLAR
    estimated = fields.number_of(metrics.pop("estimated_total_cost", None), "metrics.estimated_total_cost")
    return None if estimated is None else estimated / _PER_DOLLAR
