"""Langfuse records that are a whole trace: rows of traces, `GET /traces/{id}`, “download trace as JSON”.

Sources: formats.md 1.3, 1.4, 1.5; langfuse.com/docs: blob-storage export, UI export, public API.

| export field | Trace field |
|---|---|
| id | id (required) |
| sessionId, session_id | conversation_id ("" is none) |
| timestamp | started_at; without it the start of the first observation |
| end of the last observation | ended_at, once the trace has ended; a row without observations tells no end |
| name, release, version, environment, tags | the same |
| userId, user_id | user_id |
| input, output | of the one turn, JSON in texts decoded; where null: langfuse_observations.turn_values |
| metadata | metadata; anything but an object is kept as `metadata.metadata` |
| totalCost, total_cost | cost; without it the sum over the observations |
| usageDetails, usage_details | tokens; without them the sums over the observations, as in Langfuse |
| model, providedModelName of observations | models, each once, in order of start |
| latency (seconds) | latency of the turn, where no observation tells it |
| updatedAt, updated_at | revision: the newest of trace and observations |
| projectId, project_id | origin.project |
| observations | spans of the turn |
| documents of RETRIEVER observations | retrieval_context of the turn |
| all else that is not empty (scores, public, createdAt, …) | metadata.langfuse, under its own name |

Status (an *outer* observation has no parent in the export and is no EVENT, which never ends):
PENDING   an outer observation has no end and is not in error;
FAILED    else the outer observation that started last has level ERROR; its statusMessage is the error.
          (A step that failed inside a trace which went on is no failure);
COMPLETED else. So is a row without observations: it states no end, and nothing says that it failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, langfuse_observations
from pipeline.mappers.langfuse_records import Kind, is_download, kind_of
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.span_tree import milliseconds, retrieved
from pipeline.mappers.times import iso_utc
from pipeline.models import Status, Trace, Turn

_SPELLINGS = {
    "session": ("sessionId", "session_id"),
    "user": ("userId", "user_id"),
    "project": ("projectId", "project_id"),
    "updated": ("updatedAt", "updated_at"),
    "timestamp": ("timestamp", "timestamp"),
    "cost": ("totalCost", "total_cost"),
    "tokens": ("usageDetails", "usage_details"),
}
_SAME = ["id", "name", "input", "output", "metadata", "tags", "release", "version", "environment", "observations"]
_NAMES = {name: name for name in _SAME} | {
    spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings
}
"""What we model, in both spellings; a field that is not here goes to metadata.langfuse."""


def map_whole(row: Mapping[str, Any]) -> Trace:
    """One whole trace. Raises RejectedError, naming the field and the way out."""
    listed: Any = None
    if is_download(row):
        row, listed = opened_download(row)
        if listed is None and kind_of(row) is Kind.OTHER:
            raise RejectedError(f"trace is {Kind.OTHER.value}; {fields.WAY_OUT}", kind="not_a_whole_trace")
    known: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in row.items():
        if not value and value.__class__ in fields.EMPTY:
            continue
        name = _NAMES.get(key)
        if name is None or name in known:
            rest[key] = value
        else:
            known[name] = value

    trace_id = fields.id_of(known.get("id"), "id")
    if trace_id is None:
        raise RejectedError(f"id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    observations = unwrap(known.get("observations")) if listed is None else listed
    spans: langfuse_observations.Spans | None = None
    if observations:
        if observations.__class__ is list and all(item.__class__ is str for item in observations):
            rest["observations"] = observations  # the API's list of traces names them only
        else:
            spans = langfuse_observations.read(observations)

    revision, started_at = _time(known, row, "updated"), _time(known, row, "timestamp")
    cost = fields.number_of(known.get("cost"), _spelling(row, "cost")) if "cost" in known else None
    tokens: Mapping[str, int] = fields.tokens_of(known["tokens"], _spelling(row, "tokens")) if "tokens" in known else {}
    first, last = unwrap(known.get("input")), unwrap(known.get("output"))
    ended_at: str | None = None
    error: str | None = None
    status = Status.COMPLETED
    models: tuple[str, ...] = ()
    if spans is None:
        latency_ms = _latency_ms(rest)
        turn = Turn(input=first, output=last, started_at=started_at, latency_ms=latency_ms, tokens=tokens, cost=cost)
    else:
        started_at = started_at or spans.started_at
        status, error, ended_at, models = spans.status, spans.error, spans.ended_at, spans.models
        revision = max(revision or "", spans.revision or "") or None
        cost = spans.cost if cost is None else cost
        tokens = tokens or spans.tokens
        first, last = langfuse_observations.turn_values(first, last, spans)
        turn = Turn(
            input=first,
            output=last,
            started_at=started_at,
            ended_at=ended_at,
            retrieval_context=retrieved(spans.spans),
            error=error,
            latency_ms=milliseconds(started_at, ended_at) or _latency_ms(rest),
            tokens=tokens,
            cost=cost,
            spans=spans.spans,
        )
    project = _id(known, row, "project")
    return Trace(
        id=trace_id,
        conversation_id=_id(known, row, "session"),
        name=_text(known, "name"),
        started_at=started_at,
        ended_at=ended_at,
        user_id=_id(known, row, "user"),
        tags=_tags(known),
        environment=_text(known, "environment"),
        release=_text(known, "release"),
        version=_text(known, "version"),
        status=status,
        error=error,
        turns=(turn,),
        models=models,
        tokens=tokens,
        cost=cost,
        metadata=_metadata(known, rest),
        origin={"format": "langfuse"} if project is None else {"format": "langfuse", "project": project},
        revision=revision,
    )


# --- one field at a time ----------------------------------------------------------------------------------


def _text(known: Mapping[str, Any], name: str) -> str | None:
    value = known.get(name)
    return value if value is None or value.__class__ is str else fields.text_of(value, name)


def _id(known: Mapping[str, Any], row: Mapping[str, Any], name: str) -> str | None:
    value = known.get(name)
    if value is None or (value.__class__ is str and not value.isspace()):
        return value
    return fields.id_of(value, _spelling(row, name))


def _time(known: Mapping[str, Any], row: Mapping[str, Any], name: str) -> str | None:
    try:
        return iso_utc(known.get(name))
    except ValueError:
        return fields.time_of(known[name], _spelling(row, name))


def _tags(known: Mapping[str, Any]) -> tuple[str, ...]:
    value = known.get("tags")
    return () if value is None else fields.tags_of(unwrap(value), "tags")


def _metadata(known: Mapping[str, Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    own = unwrap(known.get("metadata"))
    if own.__class__ is not dict:
        own = {} if fields.is_empty(own) else {"metadata": own}
    return fields.beside(own, "langfuse", rest)


def _latency_ms(rest: Mapping[str, Any]) -> float | None:
    latency = rest.get("latency")
    if isinstance(latency, (int, float)) and not isinstance(latency, bool) and 0 <= latency < 1e12:
        return round(latency * 1000, 3)
    return None


def _spelling(row: Mapping[str, Any], name: str) -> str:
    """The field's own name in this export, for messages."""
    camel, snake = _SPELLINGS[name]
    return camel if camel in row else snake


# --- shapes -----------------------------------------------------------------------------------------------


def opened_download(download: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any] | None]:
    """The trace of a download, with whatever else stands beside it, and its observations.

    Some downloads list the observations inside the trace too, without their input and output: the outer ones
    count, and an inner one only where the outer list lacks it.
    """
    trace: dict[str, Any] = download["trace"]
    others = {
        (f"download.{key}" if key in trace else key): value
        for key, value in download.items()
        if key not in ("trace", "observations")
    }
    row = {**trace, **others} if others else trace
    outer, inner = download.get("observations"), trace.get("observations")
    if not outer:
        return row, None
    if not isinstance(outer, list):
        raise fields.bad_field("observations", "a list", outer)
    if not isinstance(inner, list) or not all(isinstance(item, dict) for item in (*outer, *inner)):
        return row, outer
    ids = [item.get("id") for item in outer]
    return row, outer + [item for item in inner if item.get("id") not in ids]
