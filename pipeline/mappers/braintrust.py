"""Braintrust: rows of project logs or experiments, as BTQL, the UI (JSON, CSV) and the fetch API give them.

A row is a span; the spans of a trace share a root_span_id. Pages (`{"events": […], "cursor"}` of the fetch API,
`{"data": […], "schema", "cursor"}` of BTQL) are split into their rows. In tables all values are texts: JSON in them
is decoded.

Sources: ProjectLogsEvent, SpanAttributes and FetchProjectLogsEventsResponse in braintrust_api 0.6.0, which is made
from Braintrust's OpenAPI specification; in braintrust 0.48.1 _generated_types.py (the newer fields), span_types.py,
db_fields.py (`_object_delete`), logger.py (an error is the text of the exception; several writes to one row),
span_origin.py; its integrations (the names of the metrics; estimated_cost is in USD); braintrust.dev/docs,
"BTQL POST endpoint payload and response schema"; formats.md section 8.

| export field | Span field |
|---|---|
| span_id, else id | id; an id that differs is kept in metadata.braintrust |
| span_parents | parent_id: the first; all of them in metadata.braintrust where there are several |
| … without it, where is_root is false | parent_id: root_span_id |
| span_attributes.name | name |
| span_attributes.type | type: llm GENERATION, tool TOOL, score EVALUATOR, task CHAIN, function SPAN |
| … any other | type: our own words (retriever, agent, …) as they say; else SPAN, and kept in metadata.braintrust |
| metrics.start, metrics.end (seconds) | started_at, ended_at; without a start `created` |
| input, output | the same |
| error | error; anything but a text as JSON |
| metadata.model | model |
| metrics.prompt_tokens, completion_tokens, tokens; other …_tokens | tokens input, output, total; others by their name |
| metrics.estimated_cost | cost, USD |
| metadata | metadata |
| all else that is not empty (scores, expected, tags, comments, other metrics, …) | metadata.braintrust |

| of the root's row, else of the first that has it | Trace field |
|---|---|
| root_span_id | id (required) |
| metadata.session_id, thread_id or conversation_id, also in camelCase | conversation_id |
| metadata.user_id; environment, env | user_id; environment |
| context.span_origin.environment.name | environment, where metadata has none |
| tags | tags |
| project_id | origin.project |
| _xact_id, the highest of all rows | revision, padded with zeros |

Of two rows with one span id that with the higher _xact_id counts. A row that is `_object_delete` is none, and takes
back the one before. Not kept: root_span_id, _xact_id, _pagination_key, is_root, log_id, org_id (ids that every row
repeats), and `created` where the metrics have a start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, span_rows
from pipeline.mappers.mapper import Detection, Mapper, Piece
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score
from pipeline.mappers.span_rows import Row
from pipeline.models import Span, Trace

_TYPES = {"llm": "GENERATION", "tool": "TOOL", "score": "EVALUATOR", "task": "CHAIN", "function": "SPAN"}
_TOKENS = {"prompt_tokens": "input", "completion_tokens": "output", "tokens": "total"}
_MODELLED = frozenset(
    [
        "span_id",
        "id",
        "span_parents",
        "span_attributes",
        "metrics",
        "input",
        "output",
        "error",
        "metadata",
        "created",
        "root_span_id",
        "_xact_id",
        "_pagination_key",
        "is_root",
        "log_id",
        "org_id",
        "_object_delete",
    ]
)
_OF_TRACE = ("project_id", "tags")
_REPEATED = ("experiment_id", "context")
_LONGEST_XACT_ID = 20

split = span_rows.pages("events", "data")


def piece_of(record: Any) -> Piece:
    """The span that a row is, and its revision."""
    row = fields.object_of(record)
    metrics = span_rows.object_in(row.get("metrics"), "metrics")
    return Piece(
        trace_id=_trace_id(row),
        id=_span_id(row),
        revision=_revision(row),
        started_at=_started_at(row, metrics),
        ended_at=fields.time_of(metrics.get("end"), "metrics.end", "s"),
    )


def assemble(records: Iterable[Any]) -> Trace | None:
    """The trace of all its rows; None where all of them are deleted."""
    known = [row for row in map(fields.object_of, records) if row.get("_object_delete") not in (True, "true")]
    if not known:
        return None
    rows = span_rows.read_rows(known, _row)
    main = (span_rows.root_of(rows) or rows[0]).rest
    project = fields.id_of(main.get("project_id"), "project_id")
    stated = Trace(
        id=_trace_id(known[0]),
        environment=_environment(main.get("context")),
        tags=fields.tags_of(main.get("tags"), "tags"),
        origin={"format": "braintrust"} if project is None else {"format": "braintrust", "project": project},
        revision=max(map(_revision, known)) or None,
    )
    return span_rows.trace_of_rows(rows, stated, format="braintrust", modelled=_OF_TRACE, repeated=_REPEATED)


def map_trace(record: Any) -> Trace | None:
    """A trace of one row."""
    return assemble((record,))


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are rows of Braintrust logs?"""
    return span_rows.detect_rows(sample, split, _score, "no Braintrust rows (root_span_id, span_attributes, …)")


# --- one row ----------------------------------------------------------------------------------------------


def _row(row: dict[str, Any]) -> Row:
    rest = {
        key: unwrap(value)
        for key, value in row.items()
        if key not in _MODELLED and (value or not fields.is_empty(value))
    }
    own = dict(span_rows.object_in(row.get("metadata"), "metadata"))
    metrics = dict(span_rows.object_in(row.get("metrics"), "metrics"))
    attributes = dict(span_rows.object_in(row.get("span_attributes"), "span_attributes"))
    started_at = _started_at(row, metrics)
    ended_at = fields.time_of(metrics.pop("end", None), "metrics.end", "s")
    metrics.pop("start", None)
    type = span_rows.type_of(fields.text_of(attributes.get("type"), "span_attributes.type"), _TYPES)
    if type is not None:
        attributes.pop("type", None)
    span_id = _span_id(row)
    if row.get("id") not in (None, "", span_id):
        rest["id"] = row["id"]
    span = Span(
        id=span_id,
        name=fields.text_of(attributes.pop("name", None), "span_attributes.name") or "",
        type=type or "SPAN",
        parent_id=_parent_id(row, span_id, rest),
        started_at=started_at,
        ended_at=ended_at,
        input=_value(row.get("input")),
        output=_value(row.get("output")),
        error=_error(row.get("error")),
        model=own.pop("model") if isinstance(own.get("model"), str) and own["model"] else None,
        tokens=span_rows.taken(metrics, _TOKENS, "metrics"),
        cost=fields.number_of(metrics.pop("estimated_cost", None), "metrics.estimated_cost"),
    )
    for name, left in (("metrics", metrics), ("span_attributes", attributes)):
        if kept := {key: value for key, value in left.items() if not fields.is_empty(value)}:
            rest[name] = kept
    return Row(span, own, rest)


def _trace_id(row: dict[str, Any]) -> str:
    trace_id = fields.id_of(row.get("root_span_id"), "root_span_id")
    if trace_id is not None:
        return trace_id
    if "dataset_id" in row:
        raise RejectedError(
            "this is a row of a Braintrust data set, not a span; give the rows of project logs", kind="not_a_trace"
        )
    raise RejectedError(
        "root_span_id is missing or empty; export whole rows (select: * in BTQL), or map the file yourself with "
        "format: custom",
        kind="no_id",
    )


def _span_id(row: dict[str, Any]) -> str:
    span_id = fields.id_of(row.get("span_id"), "span_id") or fields.id_of(row.get("id"), "id")
    if span_id is None:
        raise RejectedError(f"span_id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    return span_id


def _revision(row: dict[str, Any]) -> str:
    return (fields.id_of(row.get("_xact_id"), "_xact_id") or "").zfill(_LONGEST_XACT_ID) if row.get("_xact_id") else ""


def _started_at(row: dict[str, Any], metrics: dict[str, Any]) -> str | None:
    start = fields.time_of(metrics.get("start"), "metrics.start", "s")
    return start or fields.time_of(row.get("created"), "created")


def _parent_id(row: dict[str, Any], span_id: str, rest: dict[str, Any]) -> str | None:
    parents = fields.tags_of(unwrap(row.get("span_parents")), "span_parents")
    if len(parents) > 1:
        rest["span_parents"] = parents
    if parents:
        return parents[0]
    if row.get("is_root") not in (False, "false"):
        return None
    root = _trace_id(row)  # the root's span id, where the export leaves out the parents
    return root if root != span_id else None


def _value(value: Any) -> Any:
    return None if fields.is_empty(value) else unwrap(value)


def _error(error: Any) -> str | None:
    if fields.is_empty(error):
        return None
    return error if isinstance(error, str) else fields.json_text(error)


def _environment(context: Any) -> str | None:
    for key in ("span_origin", "environment", "name"):
        context = context.get(key) if isinstance(context, dict) else None
    return context if isinstance(context, str) else None


# --- detection --------------------------------------------------------------------------------------------


def _score(row: dict[str, Any]) -> Score:
    if "dataset_id" in row and "_xact_id" in row:
        return Score(0.2, "each record is a row of a Braintrust data set, not a span; give the rows of project logs")
    if "root_span_id" in row:
        signs = row.keys() & {"span_attributes", "_xact_id", "span_parents", "_pagination_key", "is_root", "log_id"}
        if len(signs) >= 2:
            return Score(0.97, "rows of Braintrust logs (spans)")
        return Score(0.8 if signs else 0.4, "rows with a root_span_id, and few of Braintrust's fields")
    if row.keys() >= {"span_attributes", "span_id"} or row.keys() >= {"_xact_id", "log_id"}:
        return Score(0.3, "rows of Braintrust logs without root_span_id, which tells what belongs together")
    return Score(0.0, "")


MAPPER = Mapper(
    name="braintrust",
    family="braintrust",
    detect=detect,
    map_trace=map_trace,
    split=split,
    piece_of=piece_of,
    assemble=assemble,
)
