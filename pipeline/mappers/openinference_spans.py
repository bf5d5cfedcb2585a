"""One span of Phoenix, as JSON or as a row of its data frame; its fields are in the table of openinference.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.errors import RejectedError
from pipeline.mappers import fields, span_tree
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.numbered import keep
from pipeline.mappers.openinference_attributes import Said, read_attributes
from pipeline.models import Span, Trace

ATTRIBUTES = "attributes."
_OF_SPAN = frozenset(
    ["id", "name", "context", "context.trace_id", "context.span_id", "__index_level_0__", "span_kind", "parent_id",
     "start_time", "end_time", "status_code", "status_message", "attributes"]
)  # fmt: skip
_SAYS_NOTHING = frozenset(["", "OK", "UNSET"])


class SpanRow(NamedTuple):
    """A span whose metadata waits until the trace is known."""

    trace_id: str
    span_id: str
    name: str
    parent_id: str | None
    started_at: str | None
    ended_at: str | None
    error: str | None
    said: Said
    conversation_id: str | None
    rest: dict[str, Any]


def read_span(row: Mapping[str, Any], place: str) -> SpanRow:
    """Raises RejectedError that names the field, after `place` ("spans[3].")."""
    try:
        return _read(row, place)
    except RecursionError as error:
        raise RejectedError(f"{place}attributes: nested too deep; {fields.WAY_OUT}", kind="bad_field") from error


def _read(row: Mapping[str, Any], place: str) -> SpanRow:
    trace_id, span_id = ids_of(row, place)
    attributes, rest = _sorted_out(row, place)
    kind = row.get("span_kind")
    said = read_attributes(attributes, kind if isinstance(kind, str) else "")
    if not isinstance(kind, str):
        add(rest, {"span_kind": kind})
    for key, value in said.rest.items():
        keep(rest, key, value)
    conversation = rest.get("conversation")
    conversation_id = conversation.get("conversation_id") if isinstance(conversation, dict) else None
    return SpanRow(
        trace_id,
        span_id,
        name=fields.text_of(row.get("name"), f"{place}name") or "",
        parent_id=fields.id_of(row.get("parent_id"), f"{place}parent_id"),
        started_at=fields.time_of(row.get("start_time"), f"{place}start_time"),
        ended_at=fields.time_of(row.get("end_time"), f"{place}end_time"),
        error=_error(row, rest, place),
        said=said,
        conversation_id=conversation_id if isinstance(conversation_id, str) else None,
        rest=rest,
    )


def _sorted_out(row: Mapping[str, Any], place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attributes, and what has no field of its own."""
    attributes: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in row.items():
        if value is None:
            continue
        if key.startswith(ATTRIBUTES):
            attributes[key[len(ATTRIBUTES) :]] = value
        elif key not in _OF_SPAN and not fields.is_empty(value):
            rest[key] = fields.without_nulls(value)
    nested = unwrap(row.get("attributes"), 1)
    if isinstance(nested, dict):
        attributes = {(f"{key}.*" if key in nested else key): value for key, value in attributes.items()} | nested
    elif not fields.is_empty(nested):
        raise fields.bad_field(f"{place}attributes", "an object", nested)
    index = row.get("__index_level_0__")
    if index != row.get("context.span_id", index):
        add(rest, {"__index_level_0__": index})
    context = row.get("context")
    if isinstance(context, dict) and len(context) > 2:
        add(rest, {"context": {key: context[key] for key in context if key not in ("trace_id", "span_id")}})
    return attributes, rest


def ids_of(row: Mapping[str, Any], place: str) -> tuple[str, str]:
    """The ids of its trace and of the span itself."""
    context = row.get("context")
    if isinstance(context, dict):
        trace_id, span_id = context.get("trace_id"), context.get("span_id")
    elif context is None:
        trace_id, span_id = row.get("context.trace_id"), row.get("context.span_id", row.get("__index_level_0__"))
    else:
        raise fields.bad_field(f"{place}context", "an object", context)
    return required(trace_id, f"{place}context.trace_id"), required(span_id, f"{place}context.span_id")


def required(value: Any, place: str) -> str:
    """An id that must be there."""
    found = fields.id_of(value, place)
    if found is None:
        raise RejectedError(
            f"{place} is missing or empty; export whole spans, not a selection of their fields, or {fields.WAY_OUT}",
            kind="no_id",
        )
    return found


def _error(row: Mapping[str, Any], rest: dict[str, Any], place: str) -> str | None:
    code = fields.text_of(row.get("status_code"), f"{place}status_code") or ""
    message = fields.text_of(row.get("status_message"), f"{place}status_message")
    if code.upper() == "ERROR":
        return message or span_tree.exception_in(rest.get("events")) or span_tree.NO_MESSAGE
    add(rest, {"status_message": message, "status_code": None if code.upper() in _SAYS_NOTHING else code})
    return None


def annotated_at(row: Mapping[str, Any], place: str) -> str:
    """When the newest annotation of a span was changed; "" where it has none that says so."""
    listed = row.get("annotations")
    told = [item.get("updated_at") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    times = [fields.time_of(moment, f"{place}annotations[{index}].updated_at") for index, moment in enumerate(told)]
    return max((moment for moment in times if moment is not None), default="")


def span_of(read: SpanRow, trace: Trace, root: Said) -> Span:
    """The span with its metadata, without what only repeats the trace's."""
    said, rest = read.said, read.rest
    if said.session_id != trace.conversation_id:
        add(rest, {"session.id": said.session_id})
    if rest.get("conversation") == {"conversation_id": trace.conversation_id}:
        del rest["conversation"]
    if said.user_id != trace.user_id:
        add(rest, {"user.id": said.user_id})
    if said.tags != trace.tags:
        add(rest, {"tag.tags": list(said.tags)})
    own = said.own if said.own != root.own else {}
    return Span(
        id=read.span_id,
        name=read.name,
        type=said.type,
        parent_id=read.parent_id,
        started_at=read.started_at,
        ended_at=read.ended_at,
        input=said.input,
        output=said.output,
        error=read.error,
        model=said.model,
        tokens=said.tokens,
        cost=said.cost,
        metadata=fields.beside(own, "openinference", rest),
    )


def add(kept: dict[str, Any], more: Mapping[str, Any]) -> None:
    """What says something is kept too; lists of one name become one list."""
    for key, value in more.items():
        if isinstance(value, list) and isinstance(kept.get(key), list):
            kept[key] = [*kept[key], *value]
        elif not fields.is_empty(value):
            keep(kept, key, value)
