"""The shapes in which MLflow writes a trace are opened here into one: what is known, its spans, and the rest.

Shapes (mlflow 3.17.2 and 2.22.5, entities/trace.py: to_json, to_pandas_dataframe_row; entities/trace_info.py and
trace_info_v2.py: to_dict; entities/trace_data.py: to_dict; files written by both):

- a trace: `{"info": {…}, "data": {"spans": […]}}`; in 2.x `data` also has request and response,
- a row of `search_traces()`: column `trace` holds the former as a text (3.x; in 2.x an object, where pandas wrote
  JSON), beside it the same in columns: trace_id, state, request_time (ms), trace_metadata, tags, spans, …;
  in 2.x: request_id, status, timestamp_ms, request_metadata, …,
- such a row without `trace`,
- what lies in the artifact store (`traces.json`): `{"spans": […]}`, without anything about the trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score

_NAMES = {
    "trace_id": "id",
    "request_id": "id",
    "request_time": "start",
    "timestamp_ms": "start",
    "state": "state",
    "status": "state",
    "execution_duration_ms": "duration",
    "execution_duration": "duration",
    "execution_time_ms": "duration",
    "trace_metadata": "metadata",
    "request_metadata": "metadata",
    "tags": "tags",
    "trace_location": "location",
    "experiment_id": "experiment",
    "request": "request",
    "response": "response",
    "request_preview": "request_preview",
    "response_preview": "response_preview",
}
"""What we model, in both spellings; a field that is not here goes to metadata.mlflow."""
_OF_SPANS = frozenset(["spans", "intermediate_outputs"])
"""The latter is 2.x's list of the outputs of all inner spans."""
_WAY_OUT = "export whole traces: Trace.to_json() for each, or the data frame of search_traces()"


class Opened(NamedTuple):
    """A record of any shape; `known` by the names of `_NAMES`, `spelled` what each is called in this record."""

    known: Mapping[str, Any]
    spelled: Mapping[str, str]
    spans: Any
    spans_field: str
    rest: dict[str, Any]
    """All else that is not empty."""
    is_spans_only: bool


def open_record(record: Any) -> Opened:
    """The trace in a record. Raises RejectedError for what is no trace, with the way out."""
    row = fields.object_of(record)
    kind = _other_kind(row)
    if kind is not None:
        raise RejectedError(f"this is {kind.what}; {kind.way_out}", kind="not_a_whole_trace")
    whole, is_column = _whole_trace(row)
    taken = {"trace"} if is_column else {"info", "data"} if whole is not None else set()
    columns = {key: value for key, value in row.items() if key not in taken and key != "spans"}
    info, data = (_part(whole, "info"), _part(whole, "data")) if whole is not None else ({}, {})
    known: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    rest: dict[str, Any] = {}
    for source, prefix in ((info, "info."), (data, "data."), (columns, "")):
        seen = frozenset(known)
        for key, value in source.items():
            if fields.is_empty(value) or (source is data and key in _OF_SPANS):
                continue
            name = _NAMES.get(key)
            if name is not None and name not in known:
                known[name] = value
                spelled[name] = f"{prefix}{key}"
            elif name is None or name not in seen:
                # The columns of a frame repeat what the trace in it says; all else is kept.
                _keep(rest, key, fields.without_nulls(value))
    spans, spans_field = data.get("spans"), "data.spans"
    if "spans" in row and (fields.is_empty(spans) or (is_column and isinstance(row["trace"], dict))):
        spans, spans_field = row["spans"], "spans"
    return Opened(known, spelled, spans, spans_field, rest, "spans" in row and not known)


def pairs_of(value: Any, field: str) -> dict[str, Any]:
    """Tags or metadata: an object, also as JSON in a text, or the list of keys and values of the REST API."""
    opened = unwrap(value, 1)
    if fields.is_empty(opened):
        return {}
    if isinstance(opened, dict):
        return opened
    if isinstance(opened, list) and all(isinstance(pair, dict) and isinstance(pair.get("key"), str) for pair in opened):
        return {pair["key"]: pair.get("value") for pair in opened}
    raise fields.bad_field(field, "an object of texts", value)


def score(row: dict[str, Any]) -> Score:
    """How much one record looks like an MLflow trace."""
    if _other_kind(row) is not None:
        return Score(0.2 if _is_span(row) or "mlflow" in row else 0.0, "parts of MLflow traces, not whole ones")
    info = row.get("info")
    if isinstance(info, dict):
        if info.keys() & {"trace_id", "request_id"} and info.keys() & {"state", "status", "request_time"}:
            return Score(0.98, "MLflow traces (info, data)")
        if "data" in row:
            return Score(0.5, "objects of info and data, without what MLflow writes in info")
    keys = row.keys()
    is_row = keys >= {"trace_id", "trace_metadata"} or keys >= {"request_id", "request_metadata"}
    if is_row and len(keys & {*_NAMES, "spans", "trace"}) > len(("its id", "its metadata")):
        return Score(0.95, "rows of MLflow's search_traces()")
    if keys & {"trace_id", "request_id"} and _looks_whole(row.get("trace")):
        return Score(0.95, "rows with an MLflow trace (trace)")
    return Score(0.95, "the spans of one MLflow trace each (artifacts)") if _holds_spans(row) else Score(0.0, "")


# --- shapes -----------------------------------------------------------------------------------------------


def _whole_trace(row: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """The object of info and data, and whether it stands in the column `trace`."""
    if isinstance(row.get("info"), (dict, str)):
        return dict(row), False
    cell = row.get("trace")
    if fields.is_empty(cell):
        return None, False
    whole = unwrap(cell)
    if isinstance(whole, dict) and "info" in whole:
        return whole, True
    if row.keys() & {"spans", "trace_metadata", "request_metadata"}:
        return None, False  # the columns say it all; the cell is kept as it is
    raise fields.bad_field("trace", "a trace as JSON (info, data)", cell, way_out=_WAY_OUT)


def _part(whole: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = unwrap(whole.get(name), 1)
    if fields.is_empty(part):
        return {}
    if not isinstance(part, dict):
        raise fields.bad_field(name, "an object", whole[name], way_out=_WAY_OUT)
    return part


def _keep(rest: dict[str, Any], key: str, value: Any) -> None:
    """Under its own name, or with "column." before it where another part of the record has the same."""
    if key in rest and rest[key] == value:
        return
    while key in rest:
        key = f"column.{key}"
    rest[key] = value


class _Kind(NamedTuple):
    """What a record is, if not a trace, and what to do about it."""

    what: str
    way_out: str


_SPAN = _Kind("one MLflow span, not a whole trace", _WAY_OUT)
_SUMMARY = _Kind(
    "a summary by mlflow-export-import, without inputs and outputs",
    "import the traces.json beside it, or better, " + _WAY_OUT,
)
_NONE = _Kind("no MLflow trace (no info, no trace, no spans, no trace_metadata)", fields.WAY_OUT)
_SIGNS = frozenset(["info", "trace", "spans", "trace_metadata", "request_metadata", "request_time", "timestamp_ms"])


def _other_kind(row: Mapping[str, Any]) -> _Kind | None:
    if isinstance(row.get("mlflow"), dict) and "info" in row["mlflow"] and "info" not in row:
        return _SUMMARY
    if not row.keys() & _SIGNS:
        return _SPAN if _is_span(row) else _NONE
    return None


def _is_span(row: Mapping[str, Any]) -> bool:
    attributes = unwrap(row.get("attributes"), 1)
    return isinstance(attributes, dict) and any(
        isinstance(key, str) and key.startswith("mlflow.") for key in attributes
    )


def _holds_spans(row: Mapping[str, Any]) -> bool:
    spans = unwrap(row.get("spans"), 1)
    return isinstance(spans, list) and any(isinstance(span, dict) and _is_span(span) for span in spans)


def _looks_whole(cell: Any) -> bool:
    whole = unwrap(cell)
    return isinstance(whole, dict) and isinstance(whole.get("info"), dict) and "data" in whole
