"""Datadog LLM Observability: the spans of its export API, or the events that its SDKs send.

The API's pages (`{"data": [{"id", "type": "span", "attributes": {…}}], "meta", "links"}`) are split into their
spans; what a span may look like, and the fields of each: datadog_spans.py.

Sources: LLMObsSpanAttributes, LLMObsSpanIO, LLMObsSpanMessage, LLMObsSpansResponse in datadog-api-client 2.62.0,
which is made from Datadog's API specification; in ddtrace 4.16.0 llmobs/_llmobs.py (_llmobs_span_event, _llmobs_tags),
_event_types.py, types.py (events, messages, documents) and _constants.py (ROOT_PARENT_ID, the metrics);
docs.datadoghq.com: "Export API" (its example has `value` beside `messages`, and a start_ns in milliseconds), "HTTP
API reference" (tags user_id, user_handle) and "Cost" (costs are stored as nanodollars); formats.md section 10.

| of the root, else of the first span that has it | Trace field |
|---|---|
| trace_id | id (required) |
| session_id, else the tag session_id; else metadata.session_id, … | conversation_id |
| tags user_id, usr.id, user_handle; else metadata.user_id | user_id |
| tags env, version | environment, version |
| the other tags | tags; of the other spans what the trace does not have in metadata.datadog.tags |
| ml_app, else the tag ml_app | origin.project |

The API gives no message of an error, nor a time of change: the later of two rows with one span id counts. Not kept:
trace_id, `type`, and tags that only say again what a field says or are empty ("version:").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.mappers import fields, span_rows
from pipeline.mappers.datadog_spans import attributes_of, read_span, span_id_of, times_of, trace_id_of
from pipeline.mappers.mapper import Detection, Mapper, Piece
from pipeline.mappers.scoring import Score
from pipeline.mappers.span_rows import Row
from pipeline.models import Trace

_OF_TRACE = ("ml_app", "tags", "session_id")
_REPEATED = ("service",)
_USER_TAGS = ("user_id", "usr.id", "user_handle")

split = span_rows.pages("data")


def piece_of(record: Any) -> Piece:
    """The span that a row is."""
    row = attributes_of(fields.object_of(record))
    started_at, ended_at = times_of(row)
    return Piece(trace_id=trace_id_of(row), id=span_id_of(row), started_at=started_at, ended_at=ended_at)


def assemble(records: Iterable[Any]) -> Trace | None:
    """The trace of all its spans."""
    known = [attributes_of(fields.object_of(record)) for record in records]
    rows = span_rows.read_rows(known, read_span)
    if not rows:
        return None
    main = span_rows.root_of(rows) or rows[0]
    tags = main.rest.get("tags", [])
    ordered = [main, *(row for row in rows if row is not main)]
    project = fields.text_of(main.rest.get("ml_app"), "ml_app") or _tag(ordered[:1], ("ml_app",))
    sessions = (fields.id_of(row.rest.get("session_id"), "session_id") for row in ordered)
    session = next((name for name in sessions if name is not None), None) or _tag(ordered, ("session_id",))
    user, environment, version = _tag(ordered, _USER_TAGS), _tag(ordered[:1], ("env",)), _tag(ordered[:1], ("version",))
    again = {f"session_id:{session}", f"env:{environment}", f"version:{version}", f"ml_app:{project}"}
    again.update(f"{name}:{user}" for name in _USER_TAGS)
    for row in rows:
        if row is not main:
            more = [tag for tag in row.rest.pop("tags", ()) if tag not in again and tag not in tags]
            row.rest.update({"tags": more} if more else {})
    stated = Trace(
        id=trace_id_of(known[0]),
        conversation_id=session,
        user_id=user,
        tags=tuple(tag for tag in tags if tag not in again),
        environment=environment,
        version=version,
        origin={"format": "datadog"} if project is None else {"format": "datadog", "project": project},
    )
    return span_rows.trace_of_rows(rows, stated, format="datadog", modelled=_OF_TRACE, repeated=_REPEATED)


def map_trace(record: Any) -> Trace | None:
    """A trace of one span."""
    return assemble((record,))


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are spans of Datadog's LLM Observability?"""
    return span_rows.detect_rows(sample, split, _score, "no Datadog spans (trace_id, span_id, start_ns, span_kind, …)")


# --- tags and detection --------------------------------------------------------------------------------------------


def _tag(rows: Sequence[Row], names: Sequence[str]) -> str | None:
    """The value of the first tag with one of these names."""
    for row in rows:
        for name in names:
            for tag in row.rest.get("tags", ()):
                key, colon, value = tag.partition(":")
                if colon and key == name:
                    return str(value)
    return None


def _score(record: dict[str, Any]) -> Score:
    row = attributes_of(record)
    if not row.keys() >= {"trace_id", "start_ns"} or not row.keys() & {"span_id", "id"}:
        return Score(0.0, "")
    if row.keys() & {"span_kind", "ml_app", "_dd"}:
        return Score(0.97, "spans of Datadog LLM Observability (span_kind, ml_app, start_ns)")
    return Score(0.6, "spans with start_ns, and few of the fields that Datadog writes")


MAPPER = Mapper(
    name="datadog",
    family="datadog",
    detect=detect,
    map_trace=map_trace,
    split=split,
    piece_of=piece_of,
    assemble=assemble,
)
