"""Langfuse exports whose record is a whole trace.

Shapes (formats.md 1.3, 1.4, 1.5; langfuse.com/docs: blob-storage export, UI export, public API):

- a row of the API's or UI's list of traces (camelCase, no observations or only their ids),
- `GET /api/public/traces/{id}` (the same with whole `observations`),
- a row of the blob export's `traces` table (snake_case; JSON lines or Parquet),
- the UI's "download trace as JSON": `{"trace": {…}, "observations": […]}`, its texts JSON-encoded twice.

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
| all else that is not empty (scores, public, createdAt, …) | metadata.langfuse, under its own name |

Status (an *outer* observation has no parent in the export and is no EVENT, which never ends):
PENDING   an outer observation has no end and is not in error;
FAILED    else the outer observation that started last has level ERROR; its statusMessage is the error.
          (A step that failed inside a trace which went on is no failure);
COMPLETED else. So is a row without observations: it states no end, and nothing says that it failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.errors import RejectedError
from pipeline.mappers import fields, langfuse_observations
from pipeline.mappers.mapper import Detection, Mapper
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score, judge
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
_TRACES_WAY_OUT = "export the traces table, or use the API's traces or the UI's “download trace as JSON”"


def map_trace(record: Any) -> Trace:
    """One whole trace. Raises RejectedError, naming the field and the way out."""
    row = fields.object_of(record)
    listed: Any = None
    if row.get("trace").__class__ is dict and "id" not in row:
        row, listed = _opened_download(row)
    if "traceId" in row or "trace_id" in row or ("timestamp" not in row and "input" not in row):
        _require_whole_trace(row)

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

    started_at, revision = _time(known, row, "timestamp"), _time(known, row, "updated")
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
            error=error,
            latency_ms=langfuse_observations.milliseconds(started_at, ended_at) or _latency_ms(rest),
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


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are whole Langfuse traces?"""
    return judge(sample, _score, "no Langfuse fields (timestamp, sessionId or session_id, userId or user_id, …)")


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


def _opened_download(download: dict[str, Any]) -> tuple[dict[str, Any], list[Any] | None]:
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


def _require_whole_trace(row: Mapping[str, Any]) -> None:
    kind = _other_kind(row)
    if kind is not None:
        raise RejectedError(f"this is {kind.what}, not a whole trace; {kind.way_out}", kind="not_a_whole_trace")
    if not any(key in row for key in ("timestamp", "input", "output", "observations")):
        raise RejectedError(
            f"this is no Langfuse trace (no timestamp, input, output or observations); {fields.WAY_OUT}",
            kind="not_a_whole_trace",
        )


class _Kind(NamedTuple):
    """What a Langfuse record is, if not a trace; what to do about it; and how much it looks like Langfuse."""

    what: str
    way_out: str
    score: float = 0.2


_SPANS_WAY_OUT = f"spans cannot be imported yet: {_TRACES_WAY_OUT}"
_OBSERVATION = _Kind("a Langfuse observation (a span)", _SPANS_WAY_OUT)
_SPAN = _Kind("a span (it has a trace id and a start or type)", _SPANS_WAY_OUT, 0.05)
_SCORE = _Kind("a Langfuse score", f"scores cannot be imported yet: {_TRACES_WAY_OUT}")
_PART = _Kind("a part of a trace (it has a trace id)", _TRACES_WAY_OUT, 0.05)
_PAGE = _Kind("a page of an API", "write the items of its `data` one per line: jq -c '.data[]' page.json")
_MANIFEST = _Kind("a manifest of the Langfuse blob export", "leave the folder manifests/ out of source.paths")
_SESSION = _Kind("a Langfuse session", f"sessions hold no messages of their own: {_TRACES_WAY_OUT}")


def _other_kind(row: Mapping[str, Any]) -> _Kind | None:
    """What this record is, where it is not a trace."""
    kind: _Kind | None = None
    if "traceId" in row or "trace_id" in row:
        if "startTime" in row or "start_time" in row or "type" in row:
            kind = _OBSERVATION if row.keys() & _OBSERVATION_SIGNS else _SPAN
        else:
            kind = _SCORE if "value" in row and "source" in row else _PART
    elif isinstance(row.get("data"), list) and isinstance(row.get("meta"), dict):
        kind = _PAGE
    elif "exportSource" in row and "files" in row:
        kind = _MANIFEST
    elif not row.keys() & {"timestamp", "input", "observations"}:
        is_session = row.keys() & {"countTraces", "sessionDuration"} or isinstance(row.get("traces"), list)
        if is_session or row.keys() >= {"id", "createdAt", "projectId"}:
            kind = _SESSION
    return kind


# --- detection --------------------------------------------------------------------------------------------

_OWN = frozenset(["projectId", "project_id", "release", "public", "bookmarked", "htmlPath", "observations", "scores"])
_COMMON = frozenset(
    [
        "sessionId",
        "session_id",
        "userId",
        "user_id",
        "tags",
        "environment",
        "version",
        "createdAt",
        "created_at",
        "updatedAt",
        "updated_at",
    ]
)
_OTHERS = frozenset(["messages", "conversations", "conversation", "conversation_hash", "run_type", "spans"])


_OBSERVATION_SIGNS = frozenset(
    [
        "parentObservationId",
        "parent_observation_id",
        "statusMessage",
        "status_message",
        "completionStartTime",
        "completion_start_time",
        "usageDetails",
        "usage_details",
        "providedModelName",
        "provided_model_name",
        "level",
    ]
)


def _score(row: dict[str, Any]) -> Score:
    if isinstance(row.get("trace"), dict) and "observations" in row and "spans" not in row:
        return Score(0.98, "downloads of Langfuse traces (trace, observations)")
    kind = _other_kind(row)
    if kind is not None:
        return Score(kind.score, f"each record is {kind.what}, not a whole trace, and {kind.way_out}")
    if "timestamp" not in row or row.keys() & _OTHERS:
        return Score(0.0, "")
    own, common = len(row.keys() & _OWN), len(row.keys() & _COMMON)
    has_values = "input" in row or "output" in row
    if own >= 2 and own + common >= 5:
        score = Score(0.95, "rows of Langfuse traces")
    elif own >= 1 and own + common >= 3:
        score = Score(0.8, "rows of Langfuse traces, with few of their fields")
    elif own + common >= 2 and has_values:
        score = Score(0.5, "rows with a timestamp and little else that Langfuse writes")
    else:
        score = Score(0.2 if has_values else 0.0, "rows with a timestamp, and input or output")
    return score


MAPPER = Mapper(name="langfuse", family="langfuse", detect=detect, map_trace=map_trace)
