"""One Langfuse trace from all its records: its observations, its scores, its own row.

Sources: langfuse/langfuse, packages/shared/src/server/queries/clickhouse-sql/event-query-builder.ts (what a row of
observations_v2 repeats of its trace), packages/shared/src/server/repositories/definitions.ts and
worker/src/features/eventPropagation/handleEventPropagationJob.ts (the stand-in), worker/src/features/
database-read-stream/{event,observation}-stream.ts (UI exports); the types ObservationV2 and ScoreV3 of the SDK.

**With a row of the trace**, the trace is what `GET /traces/{id}` with these observations and scores would be
(langfuse_traces). Of several rows of one trace the newest counts. Where a project was written to both of Langfuse's
storages, observations_v2 has a *stand-in* for that row: a span `t-<trace id>` without end, which all outer
observations name as their parent. It counts as the row where the row itself is not there, and is never a span.

**Without one**, the observations tell the trace, by the rules of span_tree, and

| export field (also in snake_case) | Trace field |
|---|---|
| traceId | id |
| sessionId, userId, traceName, release, environment, version, projectId, tags or traceTags | conversation_id, user_id, name, …: of the root, else of the first observation that has it |
| traceTimestamp | started_at; 1970 is "none" |
| metadata of the root | metadata, and the span's too |
| usageDetails, totalCost of all | tokens, cost: their sums, as in Langfuse (and as with a row of the trace) |
| updatedAt of observations and scores | revision |

Observations of the legacy table repeat nothing of their trace: without its row it is partial, and a guess by them.

A root has no parent, or isRootObservation says it is one although the parent it names never came to Langfuse.

Left out of the spans: what repeats the trace (the fields above, where the value is the same), bookmarked and public
where they are false, isRootObservation where it only repeats whether there is a parent.

**Scores** go to metadata.langfuse.scores of the span they name, else of the trace, in the API's spelling and without
what is empty or repeats that place (traceId, projectId, observationId, subject). An API's row that lists ids of
scores and observations loses those that are there. A trace without any row or observation is none.
"""  # noqa: E501  (a table)

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from pipeline.mappers import fields, langfuse_observations
from pipeline.mappers.langfuse_observations import span_of
from pipeline.mappers.langfuse_pieces import place_of, time_in
from pipeline.mappers.langfuse_records import Kind, is_download, kind_of
from pipeline.mappers.langfuse_traces import map_whole, opened_download
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.span_tree import NO_MESSAGE, missing_parents, trace_of_spans
from pipeline.models import Trace

# fmt: off
_CONTEXT = (
    "sessionId", "userId", "traceName", "tags", "traceTags", "release", "environment", "version", "projectId",
    "traceTimestamp",
)
_JSON = ("usageDetails", "costDetails", "modelParameters", "toolDefinitions", "toolCalls", "toolCallNames")
"""What files of texts only (CSV) write as JSON."""
_OF_ENRICHED = frozenset([
    "sessionId", "session_id", "userId", "user_id", "traceName", "trace_name", "isRootObservation",
    "is_root_observation",
])
"""Where it repeats its trace, an observation has one of these, be it empty. Those of the legacy table have none."""
# fmt: on
_DEFAULTS = {"bookmarked": False, "public": False}
_OF_STAND_INS = {"type": "SPAN", "level": "DEFAULT", "isRootObservation": True, "totalCost": 0}
"""What Langfuse writes into each, so that it looks like an observation."""


def assemble(records: Iterable[Any]) -> Trace | None:
    """All there is of one trace; None where it is scores only."""
    wholes: list[dict[str, Any]] = []
    observations: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    is_enriched = False
    for record in records:
        kind = kind_of(record)
        if kind is Kind.OBSERVATION:
            is_enriched = is_enriched or not _OF_ENRICHED.isdisjoint(record)
            observations.append(_stated(record))
        elif kind is Kind.SCORE:
            scores.append(_stated(record))
        else:
            wholes.append(record)
    if not wholes and not observations:
        return None
    stand_in, observations = _without_stand_in(observations)
    if wholes:
        trace = _joined(*_newest(wholes), observations, scores)
    elif stand_in is not None:
        trace = _joined(_row_of(stand_in), [], observations, scores)
    else:
        trace = _of_observations(observations, scores)
        if not is_enriched:
            trace = replace(trace, partial=trace.partial or "the trace's own row is not in the export")
    newest = max((time_in(score, "updatedAt", "updatedAt") or "" for score in scores), default="")
    return replace(trace, revision=newest) if newest > (trace.revision or "") else trace


# --- rows -------------------------------------------------------------------------------------------------


def _stated(row: dict[str, Any]) -> dict[str, Any]:
    """What is not empty, as the API spells it, so that a span is the same wherever it was exported."""
    names = _camels(tuple(row)) if "trace_id" in row else row
    stated = {
        name: value
        for name, value in zip(names, row.values(), strict=True)
        if value or value.__class__ not in fields.EMPTY
    }
    for name in _JSON:
        if stated.get(name).__class__ is str:
            stated[name] = unwrap(stated[name])
    return stated


@lru_cache(maxsize=200)
def _camels(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_camel, names))


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def _without_stand_in(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    stand_in = next((row for row in rows if row.get("id") == f"t-{row.get('traceId')}"), None)
    return stand_in, [row for row in rows if row is not stand_in]


def _row_of(stand_in: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the trace that Langfuse made the stand-in from."""
    row = {name: value for name, value in stand_in.items() if value != _OF_STAND_INS.get(name) and value != {}}
    if row.setdefault("name", row.get("traceName")) == row.get("traceName"):
        row.pop("traceName", None)
    row["timestamp"] = row.pop("startTime", None)
    row["id"] = row.pop("traceId")
    return row


def _newest(wholes: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[Any]]:
    """The newest row of a trace, and the observations that any row holds."""
    rows: list[tuple[str, dict[str, Any]]] = []
    embedded: list[Any] = []
    for whole in wholes:
        row, listed = opened_download(whole) if is_download(whole) else (whole, None)
        listed = unwrap(row.get("observations")) if listed is None else listed
        if isinstance(listed, list) and any(isinstance(item, dict) for item in listed):
            embedded += listed
            row = {name: value for name, value in row.items() if name != "observations"}
        rows.append((time_in(row, "updatedAt", "updated_at") or "", row))
    return max(reversed(rows), key=lambda pair: pair[0])[1], embedded


def _cleaned(
    rows: Sequence[dict[str, Any]], ids: set[str | None], repeated: Mapping[str, Any], scores: Mapping[str, list[Any]]
) -> Iterator[dict[str, Any]]:
    """The rows with what is theirs only: their scores, and nothing that repeats the trace."""
    for row in rows:
        own = {name: value for name, value in row.items() if name not in repeated or value != repeated[name]}
        parent = fields.id_of(own.get("parentObservationId"), "parentObservationId")
        is_root = _is_true(own.pop("isRootObservation", parent is None))
        if parent == f"t-{row['traceId']}":
            own["parentObservationId"] = None
        elif is_root and parent is not None and parent not in ids:
            own["physicalParentObservationId"] = own.pop("parentObservationId")
        elif is_root is not (parent is None):
            own["isRootObservation"] = is_root
        yield _with_scores(own, scores.get(fields.id_of(row.get("id"), "id") or "", []))


def _is_true(value: Any) -> bool:
    return value in (True, "true", "True")


def _with_scores(row: dict[str, Any], scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row with these scores beside its own; ids of its own that name one of these go."""
    if not scores:
        return row
    own = unwrap(row.get("scores"))
    own = own if isinstance(own, list) else [] if fields.is_empty(own) else [own]
    ids = [score.get("id") for score in scores]
    others = [score for score in own if (score.get("id") if isinstance(score, dict) else score) not in ids]
    return {**row, "scores": [*others, *scores]}


def _by_place(scores: Iterable[Mapping[str, Any]], ids: set[str | None]) -> dict[str, list[Any]]:
    """The scores by the observation they are of; those of the trace, or of one that is not there, under ""."""
    found: dict[str, list[Any]] = {}
    for score in scores:
        observation_id = place_of(score)[1]
        own = {name: value for name, value in score.items() if name not in ("traceId", "projectId", "subject")}
        place = observation_id if observation_id is not None and observation_id in ids else ""
        if place:
            own.pop("observationId", None)
        elif observation_id is not None:
            own["observationId"] = observation_id
        found.setdefault(place, []).append(own)
    return found


# --- the trace --------------------------------------------------------------------------------------------


def _joined(
    row: dict[str, Any], embedded: list[Any], observations: list[dict[str, Any]], scores: list[dict[str, Any]]
) -> Trace:
    """What `GET /traces/{id}` would be mapped to."""
    ids = {fields.id_of(item.get("id"), "id") for item in (*embedded, *observations) if isinstance(item, dict)}
    by_place = _by_place(scores, ids)
    listed = unwrap(row.get("observations"))
    spans = [
        _with_scores(item, by_place.get(fields.id_of(item.get("id"), "id") or "", []))
        if isinstance(item, dict)
        else item
        for item in embedded
    ]
    spans += _cleaned(observations, ids, _repeated(row), by_place)
    known = {*ids, f"t-{row.get('id')}"}
    listed = listed if isinstance(listed, list) else []
    missing = [item for item in listed if not (isinstance(item, str) and item in known)]
    joined = _with_scores(row, by_place.get("", []))
    if spans:
        joined = {**joined, "observations": spans, "observationIds": missing}
    trace = map_whole(joined)
    partial = f"{len(missing)} observation(s) not in the export" if spans and missing else None
    return replace(trace, partial=partial or missing_parents(trace.turns[0].spans))


def _repeated(row: Mapping[str, Any]) -> dict[str, Any]:
    """What observations repeat of the row of their trace (their own environment and version are theirs)."""
    same = {name: row.get(name) for name in ("tags", "release")}
    named = {
        name: row.get(name, row.get(snake)) for name, snake in (("sessionId", "session_id"), ("userId", "user_id"))
    }
    of_trace = {"traceName": row.get("name"), "traceTags": row.get("tags"), "traceTimestamp": row.get("timestamp")}
    return _DEFAULTS | same | named | of_trace


def _of_observations(rows: list[dict[str, Any]], scores: list[dict[str, Any]]) -> Trace:
    """The trace that observations without a row of it tell."""
    trace_id = fields.id_of(rows[0].get("traceId"), "traceId")
    stand_in = f"t-{trace_id}"
    ids = {fields.id_of(row.get("id"), "id") for row in rows}
    roots = [row for row in rows if row.get("parentObservationId") in (None, stand_in)]
    roots = roots or [row for row in rows if _is_true(row.get("isRootObservation"))]
    known = _context(rows, roots)
    by_place = _by_place(scores, ids)
    spans = []
    revisions = []
    for row in _cleaned(rows, ids, _DEFAULTS | known, by_place):
        span, revision = span_of(row, f"observation {row['id']}")
        if span.error == langfuse_observations.NO_MESSAGE:
            span = replace(span, error=NO_MESSAGE)  # so that a message from inside explains it
        spans.append(span)
        revisions.append(revision)
    costs = [span.cost for span in spans if span.cost is not None]
    started_at = fields.time_of(known.get("traceTimestamp"), "traceTimestamp")
    project = fields.id_of(known.get("projectId"), "projectId")
    metadata = unwrap(roots[0].get("metadata")) if roots else None
    lacks_row = any(row.get("parentObservationId") == stand_in for row in rows)
    stated = Trace(
        id=trace_id,
        conversation_id=fields.id_of(known.get("sessionId"), "sessionId"),
        name=fields.text_of(known.get("traceName"), "traceName"),
        started_at=None if started_at is None or started_at.startswith("1970-01-01") else started_at,
        user_id=fields.id_of(known.get("userId"), "userId"),
        tags=fields.tags_of(unwrap(known.get("tags") or known.get("traceTags")), "tags"),
        environment=fields.text_of(known.get("environment"), "environment"),
        release=fields.text_of(known.get("release"), "release"),
        version=fields.text_of(known.get("version"), "version"),
        metadata=fields.beside(
            metadata if isinstance(metadata, dict) else {},
            "langfuse",
            {"scores": by_place[""]} if "" in by_place else {},
        ),
        origin={"format": "langfuse"} if project is None else {"format": "langfuse", "project": project},
        tokens=fields.sum_tokens(spans),
        cost=math.fsum(costs) if costs else None,
        revision=max(revisions) or None,
        partial=f"the trace's own row ({stand_in}) is not in the export" if lacks_row else None,
    )
    return trace_of_spans(spans, stated)


def _context(rows: Sequence[Mapping[str, Any]], roots: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the rows tell of their trace: the roots first, then whichever is first."""
    known: dict[str, Any] = {}
    unknown = set(_CONTEXT)
    for row in (*roots, *rows):
        for name in row.keys() & unknown:
            known[name] = row[name]
            unknown.remove(name)
    return known
