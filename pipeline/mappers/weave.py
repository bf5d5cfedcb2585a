"""W&B Weave: calls, as `POST /calls/stream_query`, the UI's export (JSONL, JSON, CSV) and the SDK's dumps give them.

A call is a span; the calls of a trace share a trace_id. Pages (`{"calls": […]}` of /calls/query) are split into
their calls. Of a CSV the columns with dots (`inputs.question`, `summary.usage.gpt-4.1.prompt_tokens`) are put
together again, and JSON in texts is decoded.

Sources: CallSchema, SummaryMap, LLMUsageSchema, LLMCostSchema and TraceStatus in weave/trace_server/
trace_server_interface.py (github.com/wandb/weave); in weave 0.54.0 vendor/weave_server_sdk/types/call_read_response.py
(the same call, newer), trace/refs.py (what a ref looks like), trace/op_protocol.py (the kinds), trace/op.py
(attributes.weave.kind), trace/weave_client.py (a turn is the outermost call of a thread; a summary sums up the
calls inside), and the calls that it sent; docs.wandb.ai, "Query and export calls"; formats.md section 9.

| export field | Span field |
|---|---|
| id, parent_id | the same |
| display_name, else the name in op_name | name; an op_name that says more is in metadata.weave: a ref has the version |
| attributes.weave.kind | type: llm GENERATION, agent AGENT, tool TOOL, search RETRIEVER, guardrail GUARDRAIL |
| … | scorer EVALUATOR; our own words (chain, …) as they say; others SPAN |
| … without a kind | GENERATION where the inputs hold a model and messages, contents or a prompt; else SPAN |
| started_at, ended_at | the same |
| inputs, output | input, output; refs (`weave:///…`) are kept as they are |
| exception: a text, or JSON with type, message and traceback | error: the text, or "type: message" |
| the model of a GENERATION's output, else inputs; else the one in summary.usage | model |
| summary.usage by model: prompt_tokens or input_tokens, … | tokens input, output, total, others by their own name |
| summary.weave.costs by model: all …_total_cost | cost, USD |
| attributes | metadata; attributes.weave in metadata.weave |
| all else that is not empty (summary, wb_user_id, turn_id, …) | metadata.weave |

| of the root, else of the first call that has it | Trace field |
|---|---|
| trace_id | id (required) |
| thread_id, where all calls in threads are in the same one; else attributes.session_id, … | conversation_id |
| attributes.user_id; environment, env | user_id; environment |
| inputs of the root but for `self`, the object it belongs to | input of the turn; a single one without its name |
| project_id | origin.project |
| the last ended_at or deleted_at of all calls | revision |

wb_user_id is the account that logged a call, so it is no user_id. Of two rows with one id that which ended or was
deleted last counts. A call with deleted_at is none. Not kept: trace_id; summary.weave.status, latency_ms and
trace_name, which only say again what the call says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, span_rows
from pipeline.mappers.mapper import Detection, Mapper, Piece
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score
from pipeline.mappers.span_rows import Row
from pipeline.mappers.span_tree import NO_MESSAGE
from pipeline.mappers.weave_columns import put_together
from pipeline.models import Span, Trace

_TYPES = {
    "llm": "GENERATION",
    "agent": "AGENT",
    "tool": "TOOL",
    "search": "RETRIEVER",
    "guardrail": "GUARDRAIL",
    "scorer": "EVALUATOR",
}
_TOKENS = {
    "prompt_tokens": "input",
    "input_tokens": "input",
    "completion_tokens": "output",
    "output_tokens": "output",
    "total_tokens": "total",
}
_ASKED = frozenset(["messages", "contents", "prompt", "input"])
_MODELLED = frozenset(
    [
        "id",
        "trace_id",
        "parent_id",
        "op_name",
        "display_name",
        "started_at",
        "ended_at",
        "attributes",
        "inputs",
        "output",
        "exception",
        "summary",
        "deleted_at",
    ]
)
_OF_TRACE = ("project_id",)
_REPEATED = ("attributes", "thread_id", "turn_id", "wb_user_id", "wb_username", "wb_run_id", "total_storage_size_bytes")
_SAID_AGAIN = frozenset(["latency_ms", "trace_name"])
_STATUSES = frozenset(["success", "error", "running", "descendant_error"])

split = span_rows.pages("calls")


def piece_of(record: Any) -> Piece:
    """The call that a row is, and its revision."""
    row = fields.object_of(record)
    return Piece(
        trace_id=_id(row, "trace_id"),
        id=_id(row, "id"),
        revision=_revision(row),
        started_at=fields.time_of(row.get("started_at"), "started_at"),
        ended_at=fields.time_of(row.get("ended_at"), "ended_at"),
    )


def assemble(records: Iterable[Any]) -> Trace | None:
    """The trace of all its calls; None where all of them are deleted."""
    calls = [row for row in map(fields.object_of, records) if fields.is_empty(row.get("deleted_at"))]
    if not calls:
        return None
    rows = span_rows.read_rows(calls, _row)
    root = span_rows.root_of(rows)
    project = fields.id_of((root or rows[0]).rest.get("project_id"), "project_id")
    stated = Trace(
        id=_id(calls[0], "trace_id"),
        conversation_id=_thread(rows),
        origin={"format": "weave"} if project is None else {"format": "weave", "project": project},
        revision=max(map(_revision, calls)) or None,
    )
    return span_rows.trace_of_rows(
        rows, stated, format="weave", modelled=_OF_TRACE, repeated=_REPEATED, input=_asked_of(root)
    )


def map_trace(record: Any) -> Trace | None:
    """A trace of one call."""
    return assemble((record,))


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are Weave calls?"""
    return span_rows.detect_rows(sample, split, _score, "no Weave calls (op_name, trace_id, inputs, …)")


# --- one call ---------------------------------------------------------------------------------------------


def _row(record: dict[str, Any]) -> Row:
    row = put_together(record)
    rest = {
        key: unwrap(value)
        for key, value in row.items()
        if key not in _MODELLED and (value or not fields.is_empty(value))
    }
    own = dict(span_rows.object_in(row.get("attributes"), "attributes"))
    summary = dict(span_rows.object_in(row.get("summary"), "summary"))
    inputs = unwrap(row.get("inputs"))
    output = unwrap(row.get("output"))
    if attributes := _kept_attributes(own):
        rest["attributes"] = attributes
    type = _type(attributes, inputs)
    usage = span_rows.object_in(summary.get("usage"), "summary.usage")
    span = Span(
        id=_id(row, "id"),
        name=_name(row, rest),
        type=type,
        parent_id=fields.id_of(row.get("parent_id"), "parent_id"),
        started_at=fields.time_of(row.get("started_at"), "started_at"),
        ended_at=fields.time_of(row.get("ended_at"), "ended_at"),
        input=None if fields.is_empty(inputs) else inputs,
        output=None if fields.is_empty(output) else output,
        error=_error(row.get("exception"), rest),
        model=_model(inputs, output, usage) if type == "GENERATION" else None,
        tokens=_tokens(usage),
        cost=_take_cost(summary),
    )
    if summary := {key: value for key, value in summary.items() if not fields.is_empty(value)}:
        rest["summary"] = summary
    return Row(span, own, rest)


def _id(row: dict[str, Any], field: str) -> str:
    name = fields.id_of(row.get(field), field)
    if name is None:
        raise RejectedError(f"{field} is missing or empty; {fields.WAY_OUT}", kind="no_id")
    return name


def _revision(row: dict[str, Any]) -> str:
    return fields.time_of(row.get("deleted_at"), "deleted_at") or fields.time_of(row.get("ended_at"), "ended_at") or ""


def _name(row: dict[str, Any], rest: dict[str, Any]) -> str:
    """`weave:///entity/project/op/NAME:digest` is the ref of an op."""
    op_name = fields.text_of(row.get("op_name"), "op_name") or ""
    name = op_name.rpartition("/op/")[2].partition(":")[0] if "/op/" in op_name else op_name
    name = fields.text_of(row.get("display_name"), "display_name") or name
    if op_name not in ("", name):
        rest["op_name"] = op_name
    return name


def _error(exception: Any, rest: dict[str, Any]) -> str | None:
    info = unwrap(exception)
    if isinstance(info, dict) and info:
        return span_rows.take_error(info, rest, "exception") or NO_MESSAGE
    return fields.text_of(None if fields.is_empty(exception) else exception, "exception")


def _kept_attributes(own: dict[str, Any]) -> Any:
    """What Weave itself notes (kind, versions, machine), out of the users' attributes."""
    return own.pop("weave") if isinstance(own.get("weave"), dict) else None


def _type(attributes: Any, inputs: Any) -> str:
    kind = attributes.get("kind") if attributes else None
    if isinstance(kind, str) and kind:
        return span_rows.type_of(kind, _TYPES) or "SPAN"
    return "GENERATION" if isinstance(inputs, dict) and "model" in inputs and inputs.keys() & _ASKED else "SPAN"


def _model(inputs: Any, output: Any, usage: Mapping[str, Any]) -> str | None:
    for place in (output, inputs):
        if isinstance(place, dict) and isinstance(place.get("model"), str) and place["model"]:
            return str(place["model"])
    models = [model for model, counts in usage.items() if isinstance(counts, dict)]
    return models[0] if len(models) == 1 else None


def _tokens(usage: Mapping[str, Any]) -> dict[str, int]:
    """The sum over the models; counts inside counts (prompt_tokens_details) are left in the summary."""
    if usage and not any(isinstance(counts, dict) for counts in usage.values()):
        usage = {"": usage}  # not by model
    sums: dict[str, int] = {}
    for model, counts in usage.items():
        if not isinstance(counts, dict):
            continue
        said = {key: counts[key] for key in counts if key.endswith("_tokens") and not isinstance(counts[key], dict)}
        known: dict[str, int] = {}
        for key, count in fields.tokens_of(said, f"summary.usage.{model}").items():
            kind = _TOKENS.get(key, key)
            known[kind] = max(count, known.get(kind, count))  # some say prompt_tokens and input_tokens
        for kind, count in known.items():
            sums[kind] = sums.get(kind, 0) + count
    return sums


def _take_cost(summary: dict[str, Any]) -> float | None:
    """The cost that the server adds when asked to; `summary` loses what only repeats the call."""
    weave = summary.get("weave")
    if not isinstance(weave, dict):
        return None
    again = [key for key in weave if key in _SAID_AGAIN or (key == "status" and str(weave[key]) in _STATUSES)]
    summary["weave"] = {key: value for key, value in weave.items() if key not in again}
    by_model = weave.get("costs")
    parts = [
        fields.number_of(cost, f"summary.weave.costs.{model}.{key}")
        for model, costs in (by_model.items() if isinstance(by_model, dict) else ())
        for key, cost in (costs.items() if isinstance(costs, dict) else ())
        if key.endswith("_total_cost")
    ]
    known = [part for part in parts if part is not None]
    return math.fsum(known) if known else None


# --- all of them ------------------------------------------------------------------------------------------


def _thread(rows: Sequence[Row]) -> str | None:
    threads = {fields.id_of(row.rest["thread_id"], "thread_id") for row in rows if "thread_id" in row.rest}
    if len(threads) > 1:
        root = span_rows.root_of(rows)
        return fields.id_of(root.rest.get("thread_id"), "thread_id") if root is not None else None
    return next(iter(threads), None)


def _asked_of(root: Row | None) -> Any:
    """What the outermost function was given; where it takes one thing, that."""
    if root is None or root.span.type == "GENERATION" or not isinstance(root.span.input, dict):
        return None
    given = {name: value for name, value in root.span.input.items() if name != "self"}
    return unwrap(next(iter(given.values()))) if len(given) == 1 else given


# --- detection --------------------------------------------------------------------------------------------


def _score(row: dict[str, Any]) -> Score:
    if not row.keys() >= {"op_name", "trace_id"}:
        return Score(0.0, "")
    if "started_at" in row and any(
        key.partition(".")[0] in ("inputs", "output", "summary", "attributes") for key in row
    ):
        return Score(0.97, "Weave calls (op_name, trace_id, started_at)")
    return Score(0.8, "rows with op_name and trace_id, and few of the fields of Weave calls")


MAPPER = Mapper(
    name="weave",
    family="weave",
    detect=detect,
    map_trace=map_trace,
    split=split,
    piece_of=piece_of,
    assemble=assemble,
)
