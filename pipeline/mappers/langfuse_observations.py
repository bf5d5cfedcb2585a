"""Langfuse observations become spans; together they tell how a trace ended.

Sources: formats.md 1.2 to 1.5, and the downloads in shared/samples/langfuse.

| export field (also in snake_case) | Span field |
|---|---|
| id | id (required; of two with one id the newest counts) |
| name, parentObservationId ("" is none) | name, parent_id |
| type | type; one that we do not know is SPAN, and metadata.type keeps it |
| startTime, endTime | started_at, ended_at |
| input, output | the same, JSON in texts decoded |
| level ERROR | error: the statusMessage, or that there is none |
| other levels than DEFAULT, and their statusMessage | metadata.langfuse |
| model, providedModelName | model |
| usageDetails; else usage (in tokens); else inputUsage, …; else promptTokens, … | tokens |
| totalCost, calculatedTotalCost; else costDetails.total | cost; a 0 without costDetails is "no cost known" |
| metadata, and everything else that is not empty | metadata; what Langfuse adds under metadata.langfuse |

Not kept: traceId and projectId (they repeat the trace's), createdAt and updatedAt (which counts in the
trace's revision: a re-export that only touched it is the same trace).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.span_tree import in_order
from pipeline.models import Span, Status

NO_MESSAGE = "level ERROR, without a message"
_TYPES = frozenset(
    [
        "SPAN",
        "GENERATION",
        "EVENT",
        "AGENT",
        "TOOL",
        "CHAIN",
        "RETRIEVER",
        "EVALUATOR",
        "EMBEDDING",
        "GUARDRAIL",
    ]
)
_NAMES = {
    "id": "id",
    "name": "name",
    "type": "type",
    "level": "level",
    "input": "input",
    "output": "output",
    "metadata": "metadata",
    "model": "model",
    "providedModelName": "model",
    "provided_model_name": "model",
    "parentObservationId": "parent",
    "parent_observation_id": "parent",
    "startTime": "start",
    "start_time": "start",
    "endTime": "end",
    "end_time": "end",
    "statusMessage": "message",
    "status_message": "message",
    "usageDetails": "usage_details",
    "usage_details": "usage_details",
    "totalCost": "cost",
    "total_cost": "cost",
    "calculatedTotalCost": "cost",
    "updatedAt": "updated",
    "updated_at": "updated",
}
_REPEATED = frozenset(
    ["traceId", "trace_id", "projectId", "project_id", "createdAt", "created_at", "updatedAt", "updated_at"]
)
_COUNTS = (
    {"inputUsage": "input", "outputUsage": "output", "totalUsage": "total"},
    {"promptTokens": "input", "completionTokens": "output", "totalTokens": "total"},
)
_NAMES_OF_COUNTS = frozenset(name for names in _COUNTS for name in names)


@dataclass(frozen=True, slots=True)
class Spans:
    """The observations of one trace, in order of start, and what they say together."""

    spans: tuple[Span, ...]
    outer: tuple[Span, ...]
    """Those without a parent here, events left out."""
    status: Status
    error: str | None
    started_at: str | None
    ended_at: str | None
    models: tuple[str, ...]
    tokens: Mapping[str, int]
    cost: float | None
    revision: str | None


def read(observations: Any, field: str = "observations") -> Spans:
    """All observations of a trace. Raises RejectedError, naming the observation and its field."""
    if not isinstance(observations, list):
        raise fields.bad_field(field, "a list", observations)
    newest: dict[str, tuple[str, Span]] = {}
    for index, observation in enumerate(observations):
        place = f"{field}[{index}]"
        if not isinstance(observation, dict):
            raise fields.bad_field(place, "an object", observation)
        span, revision = span_of(observation, place)
        if span.id not in newest or newest[span.id][0] <= revision:
            newest[span.id] = (revision, span)
    spans = in_order(span for _, span in newest.values())
    ids = newest.keys()
    outer = tuple(span for span in spans if span.parent_id not in ids and span.type != "EVENT")
    status = _status(outer)
    ends = [span.ended_at for span in spans if span.ended_at is not None]
    costs = [span.cost for span in spans if span.cost is not None]
    return Spans(
        spans=spans,
        outer=outer,
        status=status,
        error=_error(outer, spans) if status is Status.FAILED else None,
        started_at=next((span.started_at for span in spans if span.started_at is not None), None),
        ended_at=max(ends) if ends and status is not Status.PENDING else None,
        models=tuple(dict.fromkeys(span.model for span in spans if span.model is not None)),
        tokens=fields.sum_tokens(spans),
        cost=math.fsum(costs) if costs else None,
        revision=max((revision for revision, _ in newest.values()), default="") or None,
    )


def turn_values(first: Any, last: Any, spans: Spans) -> tuple[Any, Any]:
    """Input and output of the turn: the trace's own, or those of an outer observation, or of a generation.

    The input is the first one there is, the output the last one, as they stand.
    """
    sources = (*spans.outer, *(span for span in spans.spans if span.type == "GENERATION"))
    if first is None:
        first = next((span.input for span in sources if span.input is not None), None)
    if last is None:
        generations = sources[len(spans.outer) :]
        backwards = (*reversed(spans.outer), *reversed(generations))
        last = next((span.output for span in backwards if span.output is not None), None)
    return first, last


def span_of(observation: Mapping[str, Any], place: str) -> tuple[Span, str]:
    """One observation, and when it was last updated ("" where it does not tell)."""
    try:
        return _span_of(observation)
    except RejectedError as error:  # it begins with the field
        raise RejectedError(f"{place}.{error}", kind=error.kind) from error


def _span_of(observation: Mapping[str, Any]) -> tuple[Span, str]:
    known: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in observation.items():
        if not value and value.__class__ in fields.EMPTY:
            continue
        name = _NAMES.get(key)
        if name is not None and name not in known:
            known[name] = value
        elif key not in _REPEATED:
            rest[key] = value
    get = known.get
    revision = fields.time_of(get("updated"), "updatedAt") or ""
    span_id = fields.id_of(get("id"), "id")
    if span_id is None:
        raise RejectedError(f"id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    # Each of these may leave something in `rest`, which is complete when the metadata are made.
    kind, tokens, error = _type(known, rest), _tokens(known, rest), _span_error(known, rest)
    span = Span(
        id=span_id,
        name=fields.text_of(get("name"), "name") or "",
        type=kind,
        parent_id=fields.id_of(get("parent"), "parentObservationId"),
        started_at=fields.time_of(get("start"), "startTime"),
        ended_at=fields.time_of(get("end"), "endTime"),
        input=unwrap(get("input")),
        output=unwrap(get("output")),
        error=error,
        model=fields.text_of(get("model"), "model"),
        tokens=tokens,
        cost=_cost(known, rest),
        metadata=fields.beside(_metadata(known), "langfuse", rest),
    )
    return span, revision


# --- one field at a time ----------------------------------------------------------------------------------


def _type(known: Mapping[str, Any], rest: dict[str, Any]) -> str:
    stated = fields.text_of(known.get("type"), "type") or "SPAN"
    if stated in _TYPES or stated.upper() in _TYPES:
        return stated.upper()
    rest["type"] = stated
    return "SPAN"


def _metadata(known: Mapping[str, Any]) -> dict[str, Any]:
    own = unwrap(known.get("metadata"))
    if isinstance(own, dict):
        return own
    return {} if fields.is_empty(own) else {"metadata": own}


def _span_error(known: Mapping[str, Any], rest: dict[str, Any]) -> str | None:
    message = fields.text_of(known.get("message"), "statusMessage")
    level = known.get("level")
    if level == "ERROR":
        return message or NO_MESSAGE
    if level is not None and level != "DEFAULT":
        rest["level"] = level
    if message is not None:
        rest["statusMessage"] = message
    return None


def _tokens(known: Mapping[str, Any], rest: dict[str, Any]) -> dict[str, int]:
    """The counts; those that only repeat usageDetails are taken out of `rest`."""
    tokens = fields.tokens_of(known.get("usage_details"), "usageDetails")
    usage = rest.get("usage")
    if isinstance(usage, dict) and usage.get("unit") in (None, "TOKENS"):
        counts = {kind: usage[kind] for kind in ("input", "output", "total") if usage.get(kind)}
        tokens = tokens or fields.tokens_of(counts, "usage")
        rest.pop("usage")
    if not _NAMES_OF_COUNTS.isdisjoint(rest):
        for names in _COUNTS:
            counts = {kind: rest.pop(name) for name, kind in names.items() if name in rest}
            tokens = tokens or fields.tokens_of({kind: n for kind, n in counts.items() if n}, "tokens")
    return tokens


def _cost(known: Mapping[str, Any], rest: Mapping[str, Any]) -> float | None:
    cost = fields.number_of(known.get("cost"), "totalCost")
    details = rest.get("costDetails") or rest.get("cost_details")
    if not cost and isinstance(details, dict):
        return fields.number_of(details.get("total"), "costDetails.total") if cost is None else cost
    return cost or None


# --- all of them ------------------------------------------------------------------------------------------


def _status(outer: Sequence[Span]) -> Status:
    if any(span.ended_at is None and span.error is None for span in outer):
        return Status.PENDING
    if outer and outer[-1].error is not None:
        return Status.FAILED
    return Status.COMPLETED


def _error(outer: Sequence[Span], spans: Sequence[Span]) -> str | None:
    """The message of the outer observation; where it has none, of the last one inside that has."""
    told = [span.error for span in (*spans, outer[-1]) if span.error not in (None, NO_MESSAGE)]
    if outer[-1].error in told:
        return outer[-1].error
    return told[-1] if told else outer[-1].error
