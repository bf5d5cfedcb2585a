"""One LangSmith run becomes one span.

| field of a run | Span field |
|---|---|
| id, parent, start | id, parent_id, started_at: langsmith_records.py |
| name, end_time | name, ended_at |
| run_type: llm, chain, tool, retriever, embedding, in any case | type GENERATION, CHAIN, TOOL, RETRIEVER, EMBEDDING |
| run_type prompt, parser, and what we do not know | type SPAN, and metadata.langsmith.run_type |
| inputs, outputs | input, output; `{"input": x}`, `{"output": x}`, as SDKs wrap what is no object, are x |
| error, else error_preview | error; also where only the status says so |
| counts, costs | tokens, cost: langsmith_usage.py |
| of llm and embedding: metadata.ls_model_name, extra.invocation_params.{model, model_name}, | model |
| … llm_output.model_name, outputs.model | |
| extra.metadata, metadata (API v2), custom_metadata (langsmith-cli) | metadata |
| … a second one that says otherwise | metadata.langsmith, under its own name |
| extra, but for its metadata | metadata.langsmith.extra |
| tags, feedback_stats, serialized, and all else that is not empty | metadata.langsmith, under its own name |
| inputs_s3_urls, outputs_s3_urls | the same; metadata.langsmith.offloaded names the value that is only there |

JSON in texts is decoded in inputs, outputs, extra, events, feedback_stats, serialized, tags, parent_run_ids: the bulk
export writes them so.

Left out:
- what repeats the outer run of the trace: metadata, tags, runtime, thread, project, … (LangChain gives them to each
  run inside);
- dotted_order, is_root, parent_run_ids, child_run_ids, direct_child_run_ids: the tree says it;
- status where error and end tell the same; latency_seconds, duration_ms where start and end do; previews of values
  that are there;
- events "start" and "end" that hold only their time, and "new_token" where the output holds the tokens;
- what leads to the data without a key: share_token, share_url, and of other URLs what follows the "?".

Sources: langsmith 0.15.1 from PyPI: schemas.py (Run), run_helpers.py, types/run.py (API v2); langchain-core 1.8.3:
tracers/core.py, tracers/langchain.py (inputs and outputs of each run_type); runs that both wrote into a client of
ours; langchain-ai/docs, src/langsmith/run-data-format.mdx and data-export.mdx (the columns of the bulk export);
formats.md section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.mappers import fields, langsmith_records
from pipeline.mappers.langsmith_usage import COUNTED, Usage, inner, usage_of, usage_told
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.span_tree import NO_MESSAGE
from pipeline.models import Span

_TYPES = {
    "llm": "GENERATION",
    "chain": "CHAIN",
    "tool": "TOOL",
    "retriever": "RETRIEVER",
    "embedding": "EMBEDDING",
}
_CALLS = frozenset(["GENERATION", "EMBEDDING"])
_GROUPS = ("token_usage", "costs")
_PREVIEWS = {"inputs_preview": "input", "outputs_preview": "output", "error_preview": "error"}
_JSON = frozenset(["events", "feedback_stats", "serialized", "manifest"])
_URLS = ("inputs_s3_urls", "outputs_s3_urls", "s3_urls")
# fmt: off
_MODELLED = frozenset([
    "id", "run_id", "trace_id", "parent_run_id", "name", "run_type", "start_time", "end_time", "inputs", "outputs",
    "error", "status", "tags", "extra", "metadata", "custom_metadata", *COUNTED,
    *_GROUPS, *_PREVIEWS, "events", "child_runs", "dotted_order", "is_root", "parent_run_ids",
    "child_run_ids", "direct_child_run_ids", "latency_seconds", "duration_ms", "share_token", "share_url",
])
# fmt: on
_REPEATED = frozenset(
    ["session_id", "session_name", "project_id", "tenant_id", "thread_id", "trace_tier", "ls_user_id"]
)
_ONLY_A_TIME = frozenset(["name", "time"])


class Run(NamedTuple):
    """A run, read; what becomes of its metadata depends on the outer run of its trace."""

    span: dict[str, Any]
    """The fields of its span, but for the metadata."""
    own: dict[str, Any]
    """The metadata that the application gave it."""
    rest: dict[str, Any]
    """What else LangSmith tells of it."""
    tags: tuple[str, ...]
    status: str
    """success, error, pending, or whatever it says; "" where it says nothing."""
    is_update_alone: bool
    tells_its_place: bool


def read(run: Mapping[str, Any]) -> Run:
    """Raises RejectedError, naming the run and its field."""
    run_id = langsmith_records.id_of(run)
    place = f"runs[{run_id}]"
    run = _ungrouped(run)
    extra = _decoded(run.get("extra"))
    rest = {
        key: value
        for key, stated in run.items()
        if key not in _MODELLED and not fields.is_empty(value := _decoded(stated) if key in _JSON else stated)
    }
    own = _own_metadata(run, extra, rest)
    stated_type = fields.text_of(run.get("run_type"), f"{place}.run_type") or ""
    kind = _TYPES.get(stated_type.lower(), "SPAN")
    if kind == "SPAN" and stated_type:
        rest["run_type"] = stated_type
    outputs = _decoded(run.get("outputs"))
    usage = usage_of(run, place)
    if kind in _CALLS and (not usage.tokens or usage.cost is None):
        told = usage_told(outputs, own)
        usage = Usage(usage.tokens or told.tokens, told.cost if usage.cost is None else usage.cost)
    status = str(run.get("status") or "")
    span = {
        "id": run_id,
        "name": fields.text_of(run.get("name"), f"{place}.name") or "",
        "type": kind,
        "parent_id": langsmith_records.parent_id_of(run, run_id),
        "started_at": langsmith_records.started_at(run),
        "ended_at": fields.time_of(run.get("end_time"), f"{place}.end_time"),
        "input": value_of(run.get("inputs"), "input"),
        "output": value_of(outputs, "output"),
        "error": _error(run, status),
        "model": _take_model(own, extra, outputs) if kind in _CALLS else None,
        "tokens": usage.tokens,
        "cost": usage.cost,
    }
    _keep_the_odd(run, span, status, rest)
    return Run(
        span=span,
        own=own,
        rest=rest,
        tags=fields.tags_of(_decoded(run.get("tags")), f"{place}.tags"),
        status=status.lower(),
        is_update_alone=langsmith_records.is_update_alone(run),
        tells_its_place=langsmith_records.tells_its_place(run),
    )


def span_of(run: Run, lead: Run) -> Span:
    """The span of a run; of the leading one the metadata are the trace's, and of the others what differs from it."""
    if run is lead:
        return Span(**run.span)
    own = {key: value for key, value in run.own.items() if key not in lead.own or lead.own[key] != value}
    rest = {key: value for key, value in run.rest.items() if key not in _REPEATED or lead.rest.get(key) != value}
    extra = inner(rest, "extra")
    if "runtime" in extra and extra["runtime"] == inner(lead.rest, "extra").get("runtime"):
        rest["extra"] = {key: value for key, value in extra.items() if key != "runtime"}
        if not rest["extra"]:
            del rest["extra"]
    if tags := [tag for tag in run.tags if tag not in lead.tags]:
        rest["tags"] = tags
    return Span(**run.span, metadata=fields.beside(own, "langsmith", rest))


# --- fields -----------------------------------------------------------------------------------------------


def _ungrouped(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """langsmith-cli writes counts and costs in groups of their own."""
    for key in _GROUPS:
        group = run.get(key)
        if isinstance(group, dict):
            run = {**group, **{name: value for name, value in run.items() if name != key}}
    return run


def _own_metadata(run: Mapping[str, Any], extra: Any, rest: dict[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if isinstance(extra, dict):
        stated = unwrap(extra.get("metadata"))
        own = dict(stated) if isinstance(stated, dict) else {}
        others = {key: value for key, value in extra.items() if not fields.is_empty(value)}
        if isinstance(stated, dict):
            others.pop("metadata", None)
        if others:
            rest["extra"] = others
    elif not fields.is_empty(extra):
        rest["extra"] = extra
    for key in ("metadata", "custom_metadata"):
        more = unwrap(run.get(key))
        if isinstance(more, dict):
            own = {**more, **own}
            if others := {name: value for name, value in more.items() if own[name] != value}:
                rest[key] = others
        elif not fields.is_empty(more):
            rest[key] = more
    return own


def _decoded(column: Any) -> Any:
    """A column that holds JSON; the bulk export may write an empty one as the text "null"."""
    return None if column == "null" else unwrap(column)


def value_of(column: Any, wrapper: str) -> Any:
    """Inputs or outputs, out of the object that the SDKs wrap around what is none."""
    value = _decoded(column)
    if isinstance(value, dict) and len(value) == 1 and wrapper in value:
        return unwrap(value[wrapper])
    return None if fields.is_empty(value) else value


def _error(run: Mapping[str, Any], status: str) -> str | None:
    error = run.get("error")
    if fields.is_empty(error):
        error = run.get("error_preview")
    if fields.is_empty(error):
        return NO_MESSAGE if status.lower() == "error" else None
    return error if isinstance(error, str) else fields.json_text(error)


def _take_model(own: dict[str, Any], extra: Any, outputs: Any) -> str | None:
    if isinstance(own.get("ls_model_name"), str) and own["ls_model_name"]:
        return str(own.pop("ls_model_name"))
    parameters = inner(extra, "invocation_params")
    places = ((parameters, "model"), (parameters, "model_name"), (inner(outputs, "llm_output"), "model_name"))
    for place, key in (*places, (outputs if isinstance(outputs, dict) else {}, "model")):
        if isinstance(place.get(key), str) and place[key]:
            return str(place[key])
    return None


def _keep_the_odd(run: Mapping[str, Any], span: Mapping[str, Any], status: str, rest: dict[str, Any]) -> None:
    """What is left out as a rule, and kept where it tells more than the span."""
    is_timed = span["started_at"] is not None and span["ended_at"] is not None
    told = "error" if span["error"] is not None else "pending" if span["ended_at"] is None else "success"
    if status and status.lower() != told:
        rest["status"] = run["status"]
    for key in ("latency_seconds", "duration_ms"):
        if not is_timed and not fields.is_empty(run.get(key)):
            rest[key] = run[key]
    for key, name in _PREVIEWS.items():
        if fields.is_empty(span[name]) and not fields.is_empty(run.get(key)):
            rest[key] = run[key]
    if events := _events(_decoded(run.get("events")), fields.is_empty(span["output"])):
        rest["events"] = events
    for key in _URLS:
        if key in rest:
            rest[key] = unsigned_urls(unwrap(rest[key]))
    if "attachments" in rest:
        rest["attachments"] = unsigned_urls(rest["attachments"])
    sides = {"inputs_s3_urls": "input", "outputs_s3_urls": "output"}
    if offloaded := [key.removesuffix("_s3_urls") for key, name in sides.items() if key in rest and span[name] is None]:
        rest["offloaded"] = offloaded


def _events(events: Any, keeps_tokens: bool) -> Any:
    if not isinstance(events, list):
        return events

    def tells_more(event: Any) -> bool:
        name = event.get("name") if isinstance(event, dict) else None
        if name == "new_token":
            return keeps_tokens
        return name not in ("start", "end") or bool(event.keys() - _ONLY_A_TIME)

    return [event for event in events if tells_more(event)]


def unsigned_urls(urls: Any) -> Any:
    """URLs without their signatures, which are keys to the data and others in each export."""
    if isinstance(urls, str):
        return fields.unsigned(urls)
    if not isinstance(urls, dict):
        return urls
    return {
        key: {name: fields.unsigned(url) for name, url in value.items()}
        if isinstance(value, dict)
        else fields.unsigned(value)
        for key, value in urls.items()
    }
