"""Comet Opik's exported traces: the files `trace_<id>.json` of `opik export WORKSPACE PROJECT traces` or `all`.

Of its CSV: opik_rows.py.

A file is `{"trace": {…}, "spans": […], "attachments": […], "downloaded_at": …, "project_name": …}`: two dumps of
the API's objects, in which whatever is absent stands as null and a time as "2026-08-22 08:00:00.123456+00:00".

Sources: opik 2.2.122 from PyPI: cli/exports/project.py and experiment.py (what a file holds), cli/exports/utils.py
(how it is written), rest_api/types/trace_public.py, span_public.py, span_public_type.py, error_info_public.py,
feedback_score_public.py (the fields), llm_usage/opik_usage.py (the names in `usage`),
decorator/base_track_decorator.py (where an error is noted); formats.md section 6.

| export field | Trace field |
|---|---|
| trace.id | id (required) |
| thread_id | conversation_id ("" is none) |
| name, tags, environment | the same |
| start_time | started_at; without it the start of the first span |
| end_time | ended_at |
| input, output | of the one turn, JSON in texts decoded; where empty: of an outer span, or of a span of type llm |
| error_info | error, as "exception_type: message"; whole in metadata.opik too, as it has a traceback |
| usage.prompt_tokens, completion_tokens, total_tokens | tokens input, output, total; else the sums over the spans |
| usage.`original_usage.…` and whatever else is in it | metadata.opik.usage |
| total_estimated_cost | cost, USD; without it the sum over the spans |
| duration (milliseconds) | latency of the turn; without it the time from start to end |
| model of the spans | models, each once, in order of start |
| last_updated_at | revision: the newest of trace and spans |
| project_name beside the trace, else project_id | origin.project |
| metadata | metadata; anything but an object is kept as `metadata.metadata` |
| all else that is not empty (feedback_scores, comments, experiment, ttft, …) | metadata.opik, under its own name |
| attachments, and whatever else stands beside the trace | metadata.opik too |

Opik has no field for the end user: `created_by` is the account that logged the trace, so it is no user_id and stays
in metadata.opik. Not kept: downloaded_at, which says nothing of the trace and would make each export a change. The
binaries of attachments are files of their own, and are not imported; their names and sizes are kept.

| export field | Span field |
|---|---|
| id | id (required; of two with one id the one updated last counts) |
| name, parent_span_id ("" is none), start_time, end_time, input, output, model | as above |
| type | type: general SPAN, llm GENERATION, tool TOOL, guardrail GUARDRAIL; another is SPAN, and metadata.opik.type |
| error_info, usage, total_estimated_cost, metadata | as above |
| all else that is not empty (provider, tags, feedback_scores, …) | metadata.opik |

Not kept of a span: what only repeats the trace (trace_id, project_id, source, …), created_at, and its duration
where start and end tell it.

Status: FAILED where the trace has an error_info (the SDK notes it there when the outer function raises; a step that
failed inside a trace which went on is no failure); else PENDING where it has no end_time; else COMPLETED.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.errors import RejectedError
from pipeline.mappers import fields, opik_rows
from pipeline.mappers.mapper import Detection, Mapper
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score, judge
from pipeline.mappers.span_tree import milliseconds
from pipeline.models import Span, Status, Trace, Turn

_TYPES = {"general": "SPAN", "llm": "GENERATION", "tool": "TOOL", "guardrail": "GUARDRAIL"}
_TOKENS = {"prompt_tokens": "input", "completion_tokens": "output", "total_tokens": "total"}
_SHARED = frozenset(
    [
        "id",
        "name",
        "start_time",
        "end_time",
        "input",
        "output",
        "metadata",
        "usage",
        "total_estimated_cost",
        "last_updated_at",
    ]
)
_OF_TRACE = _SHARED | {"thread_id", "tags", "environment", "duration"}
_OF_SPAN = _SHARED | {"parent_span_id", "type", "model", "created_at"}
_REPEATED = ("project_id", "source", "environment", "created_by", "last_updated_by")
_BESIDE = frozenset(["trace", "spans", "downloaded_at", "project_name"])
_WAY_OUT = "give the files trace_<id>.json or trace_<id>.csv of opik export"


def map_trace(record: Any) -> Trace:
    """One whole trace. Raises RejectedError, naming the field and the way out."""
    row = fields.object_of(record)
    if opik_rows.is_row(row):  # without a trace_id, or it would be a piece
        raise RejectedError(f"trace_id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    trace = row.get("trace")
    if not isinstance(trace, dict):
        raise _no_trace(row)
    trace_id = fields.id_of(trace.get("id"), "trace.id")
    if trace_id is None:
        raise RejectedError(f"trace.id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    rest = _others(trace, _OF_TRACE)
    project = fields.text_of(row.get("project_name"), "project_name")
    if project is None:
        project = fields.id_of(rest.pop("project_id", None), "trace.project_id")
    spans, revisions = _spans(row.get("spans"), trace_id, project, trace)

    started_at = fields.time_of(trace.get("start_time"), "trace.start_time")
    started_at = started_at or next((span.started_at for span in spans if span.started_at), None)
    ended_at = fields.time_of(trace.get("end_time"), "trace.end_time")
    error = _error(trace.get("error_info"), "trace.error_info")
    tokens = _tokens(trace.get("usage"), rest, "trace.usage") or fields.sum_tokens(spans)
    cost = fields.number_of(trace.get("total_estimated_cost"), "trace.total_estimated_cost")
    if cost is None and (costs := [span.cost for span in spans if span.cost is not None]):
        cost = math.fsum(costs)
    latency_ms = fields.number_of(trace.get("duration"), "trace.duration")
    first, last = _turn_values(unwrap(trace.get("input")), unwrap(trace.get("output")), spans)
    for key, value in _others(row, _BESIDE).items():
        rest[_free_name(key, rest)] = value
    updated_at = fields.time_of(trace.get("last_updated_at"), "trace.last_updated_at")
    return Trace(
        id=trace_id,
        conversation_id=fields.id_of(trace.get("thread_id"), "trace.thread_id"),
        name=fields.text_of(trace.get("name"), "trace.name"),
        started_at=started_at,
        ended_at=ended_at,
        tags=fields.tags_of(unwrap(trace.get("tags")), "trace.tags"),
        environment=fields.text_of(trace.get("environment"), "trace.environment"),
        status=_status(error, ended_at),
        error=error,
        turns=(
            Turn(
                input=first,
                output=last,
                started_at=started_at,
                ended_at=ended_at,
                error=error,
                latency_ms=milliseconds(started_at, ended_at) if latency_ms is None else latency_ms,
                tokens=tokens,
                cost=cost,
                spans=spans,
            ),
        ),
        models=tuple(dict.fromkeys(span.model for span in spans if span.model is not None)),
        tokens=tokens,
        cost=cost,
        metadata=fields.beside(_own_metadata(trace), "opik", rest),
        origin={"format": "opik"} if project is None else {"format": "opik", "project": project},
        revision=max((updated_at or "", *revisions)) or None,
    )


def assemble(rows: Iterable[Any]) -> Trace:
    """The rows of one trace in a CSV."""
    return map_trace(opik_rows.put_together(rows))


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are exported Opik traces?"""
    return judge(sample, _score, "no Opik export (trace and spans, side by side)")


# --- fields that traces and spans share -------------------------------------------------------------------


def _others(row: Mapping[str, Any], modelled: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in modelled and not fields.is_empty(value)}


def _free_name(key: str, taken: Mapping[str, Any]) -> str:
    while key in taken:
        key = f"export.{key}"
    return key


def _own_metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    own = unwrap(row.get("metadata"))
    if isinstance(own, dict):
        return own
    return {} if fields.is_empty(own) else {"metadata": own}


def _error(info: Any, place: str) -> str | None:
    info = unwrap(info)
    if fields.is_empty(info) or isinstance(info, str):
        return info or None
    if not isinstance(info, dict):
        raise fields.bad_field(place, "an object", info)
    told = [fields.text_of(info.get(key), f"{place}.{key}") for key in ("exception_type", "message")]
    return ": ".join(text for text in told if text) or "an error, without type and message"


def _tokens(usage: Any, rest: dict[str, Any], place: str) -> dict[str, int]:
    """The three counts that Opik gives names of its own; the others go to `rest`."""
    usage = unwrap(usage)
    if fields.is_empty(usage):
        return {}
    if not isinstance(usage, dict):
        raise fields.bad_field(place, "an object of whole numbers", usage)
    counts = fields.tokens_of({name: count for name, count in usage.items() if name in _TOKENS}, place)
    if others := _others(usage, frozenset(_TOKENS)):
        rest["usage"] = others
    return {_TOKENS[name]: count for name, count in counts.items()}


# --- spans ------------------------------------------------------------------------------------------------


def _spans(
    listed: Any, trace_id: str, project: str | None, trace: Mapping[str, Any]
) -> tuple[tuple[Span, ...], list[str]]:
    """The spans in order of start, and when each was last updated."""
    listed = unwrap(listed)
    if fields.is_empty(listed):
        return (), []
    if not isinstance(listed, list):
        raise fields.bad_field("spans", "a list", listed)
    repeated = {key: trace.get(key) for key in _REPEATED} | {"trace_id": trace_id, "project_name": project}
    newest: dict[str, tuple[str, Span]] = {}
    for index, item in enumerate(listed):
        place = f"spans[{index}]"
        if not isinstance(item, dict):
            raise fields.bad_field(place, "an object", item)
        span = _span(item, repeated, place)
        revision = fields.time_of(item.get("last_updated_at"), f"{place}.last_updated_at") or ""
        if span.id not in newest or newest[span.id][0] <= revision:
            newest[span.id] = (revision, span)
    # The export groups spans in the order of the API's pages; another order must not look like another trace.
    spans = sorted((span for _, span in newest.values()), key=lambda span: (span.started_at or "", span.id))
    return tuple(spans), [revision for revision, _ in newest.values()]


def _span(item: Mapping[str, Any], repeated: Mapping[str, Any], place: str) -> Span:
    span_id = fields.id_of(item.get("id"), f"{place}.id")
    if span_id is None:
        raise RejectedError(f"{place}.id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    rest = {key: value for key, value in _others(item, _OF_SPAN).items() if repeated.get(key) != value}
    started_at = fields.time_of(item.get("start_time"), f"{place}.start_time")
    ended_at = fields.time_of(item.get("end_time"), f"{place}.end_time")
    if started_at is not None and ended_at is not None:
        rest.pop("duration", None)
    stated = fields.text_of(item.get("type"), f"{place}.type") or "general"
    kind = _TYPES.get(stated.lower())
    if kind is None:
        rest["type"] = stated
    return Span(
        id=span_id,
        name=fields.text_of(item.get("name"), f"{place}.name") or "",
        type=kind or "SPAN",
        parent_id=fields.id_of(item.get("parent_span_id"), f"{place}.parent_span_id"),
        started_at=started_at,
        ended_at=ended_at,
        input=_value(item.get("input")),
        output=_value(item.get("output")),
        error=_error(item.get("error_info"), f"{place}.error_info"),
        model=fields.text_of(item.get("model"), f"{place}.model"),
        tokens=_tokens(item.get("usage"), rest, f"{place}.usage"),
        cost=fields.number_of(item.get("total_estimated_cost"), f"{place}.total_estimated_cost"),
        metadata=fields.beside(_own_metadata(item), "opik", rest),
    )


def _value(value: Any) -> Any:
    return None if fields.is_empty(value) else unwrap(value)


# --- all of them ------------------------------------------------------------------------------------------


def _turn_values(first: Any, last: Any, spans: Sequence[Span]) -> tuple[Any, Any]:
    """Input and output of the turn: the trace's own, or those of an outer span, or of a call of a model."""
    ids = {span.id for span in spans}
    outer = [span for span in spans if span.parent_id not in ids]
    calls = [span for span in spans if span.type == "GENERATION"]
    if fields.is_empty(first):
        first = next((span.input for span in (*outer, *calls) if span.input is not None), None)
    if fields.is_empty(last):
        last = next((span.output for span in (*outer[::-1], *calls[::-1]) if span.output is not None), None)
    return first, last


def _status(error: str | None, ended_at: str | None) -> Status:
    if error is not None:
        return Status.FAILED
    return Status.PENDING if ended_at is None else Status.COMPLETED


# --- what else an export folder holds, and detection ------------------------------------------------------


class _Kind(NamedTuple):
    """A file that `opik export … all` writes beside the traces."""

    what: str
    signs: frozenset[str]


_KINDS = (
    _Kind("an exported Opik experiment", frozenset(["experiment", "items"])),
    _Kind("an exported Opik dataset", frozenset(["items", "downloaded_at"])),
    _Kind("an exported Opik prompt", frozenset(["current_version", "downloaded_at"])),
)


def _other_kind(row: Mapping[str, Any]) -> str | None:
    return next((kind.what for kind in _KINDS if kind.signs <= row.keys()), None)


def _no_trace(row: Mapping[str, Any]) -> RejectedError:
    what = _other_kind(row)
    if what is not None:
        return RejectedError(f"this is {what}, not a trace; {_WAY_OUT}", kind="not_a_whole_trace")
    if "trace" in row:
        return fields.bad_field("trace", "an object", row["trace"], way_out=_WAY_OUT)
    return RejectedError(f"there is no trace in this record; {_WAY_OUT}", kind="not_a_whole_trace")


def _score(row: dict[str, Any]) -> Score:
    if opik_rows.is_row(row):
        return Score(0.97, "rows of exported Opik traces (trace_id, span_id, …)")
    trace = row.get("trace")
    if not isinstance(trace, dict):
        what = _other_kind(row)
        return Score(0.0, "") if what is None else Score(0.2, f"each record is {what}, not a trace, and {_WAY_OUT}")
    if not isinstance(row.get("spans"), list) or "observations" in row:
        return Score(0.0, "")
    if "start_time" in trace and "downloaded_at" in row:
        return Score(0.98, "exported Opik traces (trace, spans, downloaded_at)")
    if "start_time" in trace or "id" in trace:
        return Score(0.9, "exported Opik traces (trace, spans)")
    return Score(0.3, "records with trace and spans, and nothing in the trace that Opik writes")


MAPPER = Mapper(
    name="opik",
    family="opik",
    detect=detect,
    map_trace=map_trace,
    piece_of=opik_rows.piece_of,
    assemble=assemble,
)
