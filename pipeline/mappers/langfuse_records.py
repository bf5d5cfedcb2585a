"""What a record of a Langfuse export is, told by its fields; from that, how sure we are that a file is Langfuse's.

Sources: langfuse/langfuse, packages/shared/src/server/queries/clickhouse-sql/event-query-builder.ts (the columns of
observations_v2), packages/shared/src/server/repositories/{traces,observations,scores}.ts (of the legacy tables),
worker/src/features/blobstorage/manifest.ts, worker/src/features/database-read-stream/ (UI exports); the types of the
API in the SDK, langfuse 3.6.2 and 5.0.4 from PyPI; formats.md section 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from pipeline.mappers.mapper import Detection
from pipeline.mappers.scoring import Score, judge


class Kind(Enum):
    """What a record is, in words for people."""

    TRACE = "a Langfuse trace"
    OBSERVATION = "a Langfuse observation (a span)"
    SCORE = "a Langfuse score"
    PAGE = "a page of an API"
    SESSION = "a Langfuse session"  # its totals, and in an answer of the API its traces too
    MANIFEST = "a manifest of the Langfuse blob export"
    PART = "a part of a trace (it has a trace id)"
    OTHER = "no Langfuse trace (no timestamp, input, output or observations)"


_TELLING_VALUES = frozenset(["data", "trace", "traces"])
"""Under these names the value matters, too."""
_MOST_NAMES = 64


def kind_of(row: Mapping[str, Any]) -> Kind:
    """What this record is."""
    if "traceId" in row or "trace_id" in row or len(row) > _MOST_NAMES or not _TELLING_VALUES.isdisjoint(row):
        return _kind_by_values(row)
    return _kind_by_names(tuple(row))  # it is asked three times a record, and an export has few sets of names


@lru_cache(maxsize=1_000)
def _kind_by_names(names: tuple[str, ...]) -> Kind:
    return _kind_by_values(dict.fromkeys(names))


def _kind_by_values(row: Mapping[str, Any]) -> Kind:
    if "trace_id" in row or "traceId" in row:
        if "startTime" in row or "start_time" in row or "type" in row:
            return Kind.OBSERVATION
        return Kind.SCORE if _is_score(row) else Kind.PART
    if is_download(row):
        return Kind.TRACE
    if isinstance(row.get("data"), list) and isinstance(row.get("meta"), dict):
        return Kind.PAGE
    if "exportSource" in row and "files" in row:
        return Kind.MANIFEST
    if _is_score(row):
        return Kind.SCORE
    if not row.keys() & {"timestamp", "input", "observations"} and (
        row.keys() & _OF_SESSIONS
        or isinstance(row.get("traces"), list)
        or row.keys() >= {"id", "createdAt", "projectId"}
    ):
        return Kind.SESSION
    return Kind.TRACE if row.keys() & _OF_TRACES else Kind.OTHER


def is_download(row: Mapping[str, Any]) -> bool:
    """Is it what the UI's “download trace as JSON” writes: the trace, and its observations beside it?"""
    return row.get("trace").__class__ is dict and "id" not in row


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are records of a Langfuse export?"""
    return judge(sample, _score, "no Langfuse fields (timestamp, sessionId or session_id, userId or user_id, …)")


# --- parts ------------------------------------------------------------------------------------------------

_OF_TRACES = frozenset(["timestamp", "input", "output", "observations"])
_OF_SESSIONS = frozenset(["countTraces", "sessionDuration"])
_SOURCES = ("API", "EVAL", "ANNOTATION")
_OWN = frozenset(["projectId", "project_id", "release", "public", "bookmarked", "htmlPath", "observations", "scores"])
# fmt: off
_COMMON = frozenset([
    "sessionId", "session_id", "userId", "user_id", "tags", "environment", "version", "createdAt", "created_at",
    "updatedAt", "updated_at",
])
_OF_OTHER_FORMATS = frozenset(["messages", "conversations", "conversation", "conversation_hash", "run_type", "spans"])
_PARENT = frozenset(["parentObservationId", "parent_observation_id"])
_OF_OBSERVATIONS = frozenset([
    "statusMessage", "status_message", "completionStartTime", "completion_start_time", "usageDetails", "usage_details",
    "costDetails", "cost_details", "providedModelName", "provided_model_name", "modelParameters", "model_parameters",
    "level",
])
# fmt: on


def _is_score(row: Mapping[str, Any]) -> bool:
    # The UI exports scores of a trace as columns with names of any kind, so a trace may have these names too.
    return (
        "source" in row
        and "name" in row
        and ("value" in row or "string_value" in row or "stringValue" in row)
        and row.keys().isdisjoint(("tags", "input", "release"))
    )


def _score(row: dict[str, Any]) -> Score:
    kind = kind_of(row)
    if kind is Kind.OBSERVATION:
        if row.keys() & _OF_OTHER_FORMATS:
            return Score(0.0, "")
        is_ours = row.keys() & _PARENT or len(row.keys() & _OF_OBSERVATIONS) >= 3
        return Score(0.95, "Langfuse observations") if is_ours else Score(0.05, "spans of some kind (trace id, type)")
    if kind is Kind.SCORE:
        is_ours = row["source"] in _SOURCES or row.keys() & {"dataType", "data_type"}
        return Score(0.9, "Langfuse scores") if is_ours else Score(0.2, "scores of some kind")
    if kind is Kind.PAGE:
        return _score_of_page(row)
    if kind is Kind.MANIFEST:
        return Score(0.95, "manifests of the Langfuse blob export")
    if kind is Kind.SESSION:
        return _score_of_session(row)
    if kind is Kind.PART:
        return Score(0.05, f"each record is {kind.value}")
    return _score_of_trace(row)


def _score_of_page(page: Mapping[str, Any]) -> Score:
    items: list[Any] = page["data"]
    if not items and page["meta"].keys() & {"totalItems", "cursor", "limit"}:
        return Score(0.75, "empty pages of the Langfuse API")
    confidence, reason = judge(items[:20], _score, "")
    return Score(confidence, f"pages of the Langfuse API ({reason})")


def _score_of_session(row: Mapping[str, Any]) -> Score:
    if traces := row.get("traces"):
        first = traces[0] if isinstance(traces, list) else None
        return Score(_score(first).value if isinstance(first, dict) else 0.0, "Langfuse sessions with their traces")
    if row.keys() & _OF_SESSIONS or row.keys() <= {"id", "createdAt", "projectId", "environment", "traces"}:
        return Score(0.8, "totals of Langfuse sessions, without messages")
    return Score(0.2, f"each record is {Kind.SESSION.value}, without messages")


def _score_of_trace(row: Mapping[str, Any]) -> Score:
    if isinstance(row.get("trace"), dict) and "observations" in row and "spans" not in row:
        return Score(0.98, "downloads of Langfuse traces (trace, observations)")
    if "timestamp" not in row or row.keys() & _OF_OTHER_FORMATS:
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
