"""Which trace a record of Langfuse is part of: observations, scores and rows of traces name it, each in its own way.

Pages of the API, and its answers about one session, are split into their records first. Sources: as langfuse_records.

| piece | id in its trace | revision |
|---|---|---|
| an observation, of either table or the API | its id | updatedAt, else the end |
| a score | its id | updatedAt, else its timestamp |
| a row of the trace | one for all; another where it holds observations, so that none takes its place | updatedAt |

A score names its trace in traceId, or in `subject` (API v3). The windows of an export share their boundaries, and
`observations/` and `observations_v2/` describe the same observations: of one id the newest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.langfuse_records import Kind, is_download, kind_of
from pipeline.mappers.mapper import Piece
from pipeline.mappers.nested_json import unwrap

_PLACES = {Kind.TRACE: "trace", Kind.OBSERVATION: "observation", Kind.SCORE: "score", Kind.SESSION: "session"}


def split(record: Any) -> Iterable[tuple[str, Any]]:
    """The records of a page, and the traces of a session; else the record itself."""
    kind = kind_of(record) if isinstance(record, dict) else None
    if kind is Kind.PAGE:
        items = record["data"]
    elif kind is Kind.SESSION and isinstance(record.get("traces"), list) and record["traces"]:
        items = record["traces"]
    else:
        return [("", record)]
    return ((f"{_place_name(item)} {number}", item) for number, item in enumerate(items, 1))


def is_whole(record: Any) -> bool:
    """Is it a row of a trace? Raises RejectedError where its id is none."""
    return isinstance(record, dict) and kind_of(record) is Kind.TRACE and _trace_id(record) is not None


def piece_of(record: Any) -> Piece | None:
    """What the record is part of. Raises RejectedError where it does not say which trace, or when."""
    if not isinstance(record, dict):
        return None
    kind = kind_of(record)
    if kind is Kind.OBSERVATION:
        ended_at = time_in(record, "endTime", "end_time")
        return Piece(
            trace_id=_required_id(record, "traceId", "trace_id"),
            id=f"observation {_required_id(record, 'id', 'id')}",
            revision=time_in(record, "updatedAt", "updated_at") or ended_at or "",
            started_at=time_in(record, "startTime", "start_time"),
            ended_at=ended_at,
        )
    if kind is Kind.SCORE:
        trace_id = place_of(record)[0]
        if trace_id is None:
            return None
        score_id = fields.id_of(record.get("id"), "id")
        revision = time_in(record, "updatedAt", "updated_at") or time_in(record, "timestamp", "timestamp") or ""
        return Piece(trace_id, None if score_id is None else f"score {score_id}", revision)
    return _piece_of_trace(record) if kind is Kind.TRACE else None


def is_of_no_trace(score: Mapping[str, Any]) -> bool:
    """Does this score say that it is of a session, or of a data set's run?"""
    of_other = ("sessionId", "session_id", "datasetRunId", "dataset_run_id")
    subject = score.get("subject")
    return place_of(score)[0] is None and (
        any(score.get(name) for name in of_other)
        or (isinstance(subject, dict) and subject.get("kind") in ("session", "experiment"))
    )


def time_in(row: Mapping[str, Any], camel: str, snake: str) -> str | None:
    """A moment, under whichever of its two names it has here."""
    field = snake if snake in row else camel
    return fields.time_of(row.get(field), field)


def place_of(score: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The trace and the observation that a score is of."""
    field = "trace_id" if "trace_id" in score else "traceId"
    trace_id = fields.id_of(score.get(field), field)
    observation_id = fields.id_of(score.get("observationId", score.get("observation_id")), "observationId")
    subject = score.get("subject")
    if trace_id is None and isinstance(subject, dict):
        if subject.get("kind") == "trace":
            trace_id = fields.id_of(subject.get("id"), "subject.id")
        elif subject.get("kind") == "observation":
            trace_id = fields.id_of(subject.get("traceId"), "subject.traceId")
            observation_id = fields.id_of(subject.get("id"), "subject.id")
    return trace_id, observation_id


# --- pieces -----------------------------------------------------------------------------------------------


def _piece_of_trace(record: Mapping[str, Any]) -> Piece | None:
    trace_id = _trace_id(record)
    if trace_id is None:
        return None  # map_trace says so
    row = _row_of(record)
    observations = unwrap(record.get("observations") or row.get("observations"))
    has_spans = isinstance(observations, list) and any(isinstance(item, dict) for item in observations)
    return Piece(
        trace_id,
        "trace with observations" if has_spans else "trace",
        time_in(row, "updatedAt", "updated_at") or "",
        time_in(row, "timestamp", "timestamp"),
    )


def _trace_id(record: Mapping[str, Any]) -> str | None:
    return fields.id_of(_row_of(record).get("id"), "id")


def _row_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    row: Mapping[str, Any] = record["trace"] if is_download(record) else record
    return row


def _place_name(item: Any) -> str:
    return _PLACES.get(kind_of(item), "item") if isinstance(item, dict) else "item"


def _required_id(row: Mapping[str, Any], camel: str, snake: str) -> str:
    field = snake if snake in row else camel
    found = fields.id_of(row.get(field), field)
    if found is None:
        raise RejectedError(f"{field} of this observation is missing or empty; {fields.WAY_OUT}", kind="no_id")
    return found
