"""Langfuse: whatever it exports of traces, whole or in pieces that belong together by their trace id.

| record | is |
|---|---|
| a row of traces (blob `traces/`, UI, `GET /traces`), `GET /traces/{id}`, “download trace as JSON” | a trace by itself, and what observations and scores of its trace join (langfuse_traces) |
| a row of observations (blob `observations_v2/` and `observations/`, UI “events” and “observations”, API v1 and v2) | a span (langfuse_observations); without a row of the trace they tell the trace too (langfuse_assembly) |
| a score (blob `scores/`, UI, API v1 to v3) of a trace or observation | kept with it (langfuse_assembly) |
| a page of the API, `{"data": […], "meta": {…}}`; `GET /sessions/{id}` with its traces | split into its records (langfuse_pieces) |
| a score of a session or a data set's run, the totals of a session, a manifest of the blob export | no trace: ignored |
"""  # noqa: E501  (a table)

from __future__ import annotations

from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, langfuse_assembly, langfuse_pieces, langfuse_records
from pipeline.mappers.langfuse_records import Kind, kind_of
from pipeline.mappers.langfuse_traces import map_whole
from pipeline.mappers.mapper import Mapper
from pipeline.models import Trace

_WAY_OUTS = {
    Kind.OBSERVATION: "import it together with the other observations of its trace",
    Kind.SCORE: "import it together with its trace; if it names none, export it with `trace_id`, or fields=subject",
    Kind.PAGE: "write the items of its `data` one per line: jq -c '.data[]' page.json",
}


def map_trace(record: Any) -> Trace | None:
    """One whole trace; None for what belongs to no trace. Raises RejectedError, naming the field and the way out."""
    row = fields.object_of(record)
    kind = kind_of(row)
    if kind is Kind.TRACE:
        return map_whole(row)
    if kind in (Kind.SESSION, Kind.MANIFEST) or (kind is Kind.SCORE and langfuse_pieces.is_of_no_trace(row)):
        return None
    if kind is Kind.OTHER:
        raise RejectedError(f"this is {kind.value}; {fields.WAY_OUT}", kind="not_a_whole_trace")
    way_out = _WAY_OUTS.get(kind, fields.WAY_OUT)
    raise RejectedError(f"this is {kind.value}, not a whole trace; {way_out}", kind="not_a_whole_trace")


MAPPER = Mapper(
    name="langfuse",
    family="langfuse",
    detect=langfuse_records.detect,
    map_trace=map_trace,
    split=langfuse_pieces.split,
    piece_of=langfuse_pieces.piece_of,
    is_whole=langfuse_pieces.is_whole,
    assemble=langfuse_assembly.assemble,
)
