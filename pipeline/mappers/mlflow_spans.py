"""MLflow spans become spans; together they tell how a trace ended, where the trace itself does not say.

Sources: mlflow 3.17.2 and 2.22.5, entities/span.py (to_dict, from_dict, from_dict_v2), span_event.py, link.py,
document.py, tracing/constant.py (SpanAttributeKey, TokenUsageKey, CostKey); files written by both.

| in 3.x (`Span.to_dict`) | in 2.x | Span field |
|---|---|---|
| span_id: 8 bytes as base64; in 3.5.0 as hex | context.span_id: hex | id, as hex |
| parent_span_id (null: none) | parent_id | parent_id, as hex |
| name | name | name |
| start_time_unix_nano, end_time_unix_nano | start_time, end_time | started_at, ended_at: nanoseconds |
| status.code STATUS_CODE_ERROR, status.message | status_code ERROR, status_message | error |
| attributes: every value is JSON in a text, once | the same | decoded once, whatever JSON it is |

| attribute | Span field |
|---|---|
| mlflow.spanType | type: LLM and CHAT_MODEL are GENERATION, WORKFLOW is CHAIN; what Galtea lacks is SPAN |
| mlflow.spanInputs, mlflow.spanOutputs | input, output |
| mlflow.llm.model; else `model` in the inputs of a GENERATION, as MLflow itself reads it | model |
| mlflow.chat.tokenUsage: input_tokens, output_tokens, total_tokens | tokens input, output, total; other kinds by name |
| mlflow.llm.cost: total_cost (USD) | cost |
| other mlflow.* attributes, a type of another name, the other costs, events, links, … | metadata.mlflow |
| all other attributes | metadata |

What 2.x's data frames hold when pandas writes them as JSON (span_id, start_time_ns, inputs, outputs, span_type)
is read too: there everything is decoded already. Not kept: the ids of the trace, which every span repeats.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.span_tree import exception_in, not_summed_above
from pipeline.models import Span, Status

_TYPES = {
    "LLM": "GENERATION",
    "CHAT_MODEL": "GENERATION",
    "WORKFLOW": "CHAIN",
    **{same: same for same in ("AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR", "EMBEDDING", "GUARDRAIL")},
}
_SAYS_NOTHING = frozenset(["UNKNOWN", "SPAN"])
_NAMES = {
    "span_id": "id",
    "name": "name",
    "parent_span_id": "parent",
    "parent_id": "parent",
    "start_time_unix_nano": "start",
    "start_time_ns": "start",
    "start_time": "start",
    "end_time_unix_nano": "end",
    "end_time_ns": "end",
    "end_time": "end",
    "status": "status",
    "status_code": "code",
    "status_message": "message",
    "attributes": "attributes",
    "context": "context",
    "span_type": "type",
    "inputs": "inputs",
    "outputs": "outputs",
}
_ATTRIBUTES = {
    "mlflow.spanType": "type",
    "mlflow.spanInputs": "inputs",
    "mlflow.spanOutputs": "outputs",
    "mlflow.llm.model": "model",
    "mlflow.chat.tokenUsage": "tokens",
    "mlflow.llm.cost": "cost",
}
_KINDS_OF_TOKENS = {"input_tokens": "input", "output_tokens": "output", "total_tokens": "total"}
_NO_MESSAGE = "status ERROR, without a message"
TRACE_ID = "mlflow.traceRequestId"


@dataclass(frozen=True, slots=True)
class Spans:
    """The spans of one trace, in order of start, and what they say together."""

    spans: tuple[Span, ...]
    outer: tuple[Span, ...]
    """Those without a parent here."""
    status: Status
    error: str | None
    """Of the outer span that started last; where it has no message, of the last one inside that has."""
    started_at: str | None
    ended_at: str | None
    models: tuple[str, ...]
    tokens: Mapping[str, int]
    cost: float | None
    trace_id: str | None
    """The trace they all belong to; None where they do not say, or do not agree."""


def read(spans: Any, field: str = "spans") -> Spans:
    """All spans of a trace. Raises RejectedError, naming the span and its field."""
    listed = unwrap(spans, 1)
    if fields.is_empty(listed):
        listed = []
    if not isinstance(listed, list):
        raise fields.bad_field(field, "a list", spans)
    read_spans: dict[str, Span] = {}
    trace_ids: set[str | None] = set()
    for index, item in enumerate(listed):
        place = f"{field}[{index}]"
        row = unwrap(item, 1)
        if not isinstance(row, dict):
            raise fields.bad_field(place, "an object", item)
        span, trace_id = _span(row, place)
        trace_ids.add(trace_id)
        earlier = read_spans.get(span.id)
        if earlier is None or earlier.ended_at is None or span.ended_at is not None:
            read_spans[span.id] = span
    # Exports list spans in no promised order, and another order must not look like another trace.
    ordered = tuple(sorted(read_spans.values(), key=lambda span: (span.started_at or "", span.id)))
    outer = tuple(span for span in ordered if span.parent_id not in read_spans)
    ends = [span.ended_at for span in ordered if span.ended_at is not None]
    costs = [span.cost for span in not_summed_above(ordered, lambda span: span.cost is not None)]
    return Spans(
        spans=ordered,
        outer=outer,
        status=_status(outer),
        error=_error(outer, ordered),
        started_at=next((span.started_at for span in ordered if span.started_at is not None), None),
        ended_at=max(ends, default=None),
        models=tuple(dict.fromkeys(span.model for span in ordered if span.model is not None)),
        tokens=fields.sum_tokens(not_summed_above(ordered, lambda span: bool(span.tokens))),
        cost=math.fsum(cost for cost in costs if cost is not None) if costs else None,
        trace_id=trace_ids.pop() if len(trace_ids) == 1 else None,
    )


def generations(spans: Spans) -> list[Span]:
    """The calls of language models, in order."""
    return [span for span in spans.spans if span.type == "GENERATION"]


def decoded(text: Any) -> Any:
    """An attribute as it was before MLflow wrote it as JSON, which it does once; a text that is no JSON as it is."""
    if text.__class__ is not str:
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


def hex_id(value: Any, field: str, size: int) -> str | None:
    """An id of `size` bytes as hex, whether MLflow wrote it as base64 or hex; any other text as it stands."""
    text = fields.id_of(value, field)
    if text is None or len(text) != 4 * math.ceil(size / 3) or not text.endswith("="):
        return text
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text
    return raw.hex() if len(raw) == size else text


def counts_of(usage: Any) -> tuple[dict[str, int], Any]:
    """Token counts by kind, and what is left: an object of what is no count, or what is no object at all."""
    if not isinstance(usage, dict):
        return {}, usage
    counts = {kind: count for kind, count in usage.items() if count.__class__ is int}
    counts |= {kind: int(count) for kind, count in usage.items() if count.__class__ is float and count.is_integer()}
    left = {kind: count for kind, count in usage.items() if kind not in counts and not fields.is_empty(count)}
    return {_KINDS_OF_TOKENS.get(kind, kind): count for kind, count in counts.items()}, left


def cost_of(cost: Any) -> tuple[float | None, Any]:
    """The total, and what is left: the other costs, or what is no cost at all."""
    if not isinstance(cost, dict):
        return None, cost
    total = cost.get("total_cost")
    if isinstance(total, bool) or not isinstance(total, (int, float)):
        return None, cost
    try:
        total = fields.number_of(total, "total_cost")
    except RejectedError:
        return None, cost
    return total, {kind: value for kind, value in cost.items() if kind != "total_cost"}


# --- one span ---------------------------------------------------------------------------------------------


def _span(row: Mapping[str, Any], place: str) -> tuple[Span, str | None]:
    known: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    trace_id: Any = None
    for key, value in row.items():
        if not value and value.__class__ in fields.EMPTY and key not in ("inputs", "outputs"):
            continue
        name = _NAMES.get(key)
        if name is not None and name not in known:
            known[name] = value
        elif key == "trace_id":
            trace_id = value
        elif key != "request_id":
            rest[key] = fields.without_nulls(value)
    _open_context(known, rest, place)
    span_id = hex_id(known.get("id"), f"{place}.span_id", 8)
    if span_id is None:
        raise RejectedError(f"{place}.span_id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    own, stated_trace_id = _open_attributes(known, rest, place)
    error = _status_error(known, rest, place)
    kind, model = _type(known, rest), _model(known, rest)
    tokens, left = counts_of(known.get("tokens"))
    _keep(rest, "mlflow.chat.tokenUsage", left)
    cost, left = cost_of(known.get("cost"))
    _keep(rest, "mlflow.llm.cost", left)
    inputs = known.get("inputs")
    if model is None and kind == "GENERATION" and isinstance(inputs, dict):
        model = inputs["model"] if isinstance(inputs.get("model"), str) else None
    span = Span(
        id=span_id,
        name=fields.text_of(known.get("name"), f"{place}.name") or "",
        type=kind,
        parent_id=hex_id(known.get("parent"), f"{place}.parent_span_id", 8),
        started_at=fields.time_of(known.get("start") or None, f"{place}.start_time_unix_nano", "ns"),
        ended_at=fields.time_of(known.get("end") or None, f"{place}.end_time_unix_nano", "ns"),
        input=inputs,
        output=known.get("outputs"),
        error=error,
        model=model or None,
        tokens=tokens,
        cost=cost,
        metadata=fields.beside(own, "mlflow", rest),
    )
    return span, stated_trace_id or _trace_id(trace_id)


def _open_context(known: dict[str, Any], rest: dict[str, Any], place: str) -> None:
    """In 2.x the ids of a span stand in an object of their own."""
    context = known.pop("context", None)
    if context is None:
        return
    if not isinstance(context, dict):
        raise fields.bad_field(f"{place}.context", "an object", context)
    known.setdefault("id", context.get("span_id"))
    _keep(rest, "context", {key: value for key, value in context.items() if key not in ("span_id", "trace_id")})


def _open_attributes(known: dict[str, Any], rest: dict[str, Any], place: str) -> tuple[dict[str, Any], str | None]:
    """Sorts the attributes into `known` and `rest`; returns the user's own, and the id of the trace."""
    attributes = unwrap(known.pop("attributes", None), 1)
    if fields.is_empty(attributes):
        return {}, None
    if not isinstance(attributes, dict):
        way_out = "write whole traces with Trace.to_json() or search_traces()"
        raise fields.bad_field(f"{place}.attributes", "an object", attributes, way_out=way_out)
    is_decoded = "type" in known or "inputs" in known  # pandas wrote the properties of 2.x spans
    own: dict[str, Any] = {}
    trace_id: str | None = None
    for key, text in attributes.items():
        value = text if is_decoded else decoded(text)
        name = _ATTRIBUTES.get(key)
        if name is not None:
            known.setdefault(name, value)
        elif fields.is_empty(value):
            continue
        elif key == TRACE_ID:
            trace_id = fields.id_of(value, f"{place}.attributes.{key}")
        elif key.startswith("mlflow."):
            rest[key] = value
        else:
            own[key] = value
    return own, trace_id


def _status_error(known: Mapping[str, Any], rest: dict[str, Any], place: str) -> str | None:
    status, code, message = known.get("status"), known.get("code"), known.get("message")
    if isinstance(status, dict):
        code = status.get("code", status.get("status_code", code))
        message = status.get("message", status.get("description", message))
    elif status is not None:
        code = status
    message = fields.text_of(message, f"{place}.status.message")
    if code.__class__ is str:
        code = code.removeprefix("STATUS_CODE_")
    if code in ("ERROR", 2):
        return message or exception_in(rest.get("events")) or _NO_MESSAGE
    if code not in ("OK", "UNSET", 0, 1):
        _keep(rest, "status_code", code)
    _keep(rest, "status_message", message)
    return None


def _type(known: Mapping[str, Any], rest: dict[str, Any]) -> str:
    stated = known.get("type")
    kind = _TYPES.get(stated, "SPAN") if isinstance(stated, str) else "SPAN"
    if stated != kind and not (isinstance(stated, str) and stated in _SAYS_NOTHING):
        _keep(rest, "mlflow.spanType", stated)
    return kind


def _model(known: Mapping[str, Any], rest: dict[str, Any]) -> str | None:
    model = known.get("model")
    if model is None or isinstance(model, str):
        return model
    _keep(rest, "mlflow.llm.model", model)
    return None


def _trace_id(value: Any) -> str | None:
    """What stands in `trace_id`: base64, hex, or the id itself ("tr-…"), as 3.5.0 wrote it."""
    text = hex_id(value, "trace_id", 16) if isinstance(value, str) else None
    if text is None:
        return None
    return f"tr-{text}" if len(text) == 32 and text != value else text


def _keep(rest: dict[str, Any], name: str, value: Any) -> None:
    if not fields.is_empty(value):
        rest[name] = value


# --- all of them ------------------------------------------------------------------------------------------


def _status(outer: Sequence[Span]) -> Status:
    if any(span.ended_at is None and span.error is None for span in outer):
        return Status.PENDING
    return Status.FAILED if outer and outer[-1].error is not None else Status.COMPLETED


def _error(outer: Sequence[Span], spans: Sequence[Span]) -> str | None:
    last = outer[-1].error if outer else None
    if last != _NO_MESSAGE and last is not None:
        return last
    told = [span.error for span in spans if span.error not in (None, _NO_MESSAGE)]
    return told[-1] if told else last
