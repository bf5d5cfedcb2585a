"""Where runs stand in what LangSmith exports, and to which trace each of them belongs.

| record | its runs |
|---|---|
| a row of the bulk export, a line of JSONL, one run | itself |
| `{"runs": […], "cursors": …}` (POST /runs/query), `{"items": […]}` (API v2) | each |
| `{"thread_id": …, "runs": […]}` (list_threads), `{"trace_id": …, "runs": […]}` (langsmith-cli) | each |
| `{"post": […], "patch": […]}` (POST /runs/batch) | each: creates, then updates |
| a run with child_runs | itself, then those inside; they get its trace_id and its id as parent_run_id where absent |

Not kept: what stands beside a list (cursors, counts) is about the query; a thread_id or trace_id there goes to the runs
that have none.

| of a run | from the first of |
|---|---|
| its id | id, run_id (langsmith-cli) |
| its trace | trace_id; the first segment of dotted_order; the first of parent_run_ids; its id, if it has no parent |
| its parent | parent_run_id; the last but one segment of dotted_order; the last of parent_run_ids |
| its start | start_time; the last segment of dotted_order (`20260822T080000250000Z<id>.20260822T080001250000Z<id>`) |

Creates and updates: an update that states only what has changed is laid over its create, as the SDK does before it
sends (combine_serialized_queue_operations): empty fields say nothing. `extra` and its metadata are laid over key by
key. An update alone is a piece as well. LangSmith says nowhere when a run was changed, so of two states of a run the
one that ended, or ended later, is the newer one.

Sources: langsmith 0.15.1 from PyPI: schemas.py (Run, RunLikeDict), run_trees.py (dotted_order), client.py (list_runs,
list_threads, batch_ingest_runs), _internal/_operations.py (how updates are laid over creates),
_internal/_v2_migration_utils.py and types/run.py (API v2); langchain-ai/langsmith-cli,
internal/extract/extract.go (run_id) and internal/cmd/trace.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.mapper import Piece
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score

_LISTS = {"runs": "run", "items": "run", "post": "post", "patch": "patch"}
_IDS = frozenset(["id", "run_id"])
_LAID_OVER = frozenset(["extra", "metadata", "attachments"])
_PLACE = frozenset(["trace_id", "dotted_order", "parent_run_id", "parent_run_ids", "is_root", "child_runs"])
_SEGMENT = re.compile(r"(\d{8}T\d{6})(\d*)Z(.+)", re.ASCII | re.DOTALL)


def split(record: Any) -> Iterator[tuple[str, Any]]:
    """The runs in a record, each with its place in it; "" where the record is one run."""
    lists = [key for key in _LISTS if key in record] if _is_list_of_runs(record) else []
    for key in lists:
        listed = record[key]
        if not isinstance(listed, list):
            if listed is None:
                continue
            raise fields.bad_field(key, "a list of runs", listed)
        beside = {name: record[name] for name in ("thread_id", "trace_id") if name in record}
        runs = (run for item in listed for run in _with_children(item))
        for number, run in enumerate(runs, 1):
            yield f"{_LISTS[key]} {number}", _filled(run, beside)
    if not lists:
        several = isinstance(record, dict) and bool(record.get("child_runs"))
        for number, run in enumerate(_with_children(record), 1):
            yield f"run {number}" if several else "", run


def piece_of(record: Any) -> Piece:
    """Which run this is, and of which trace."""
    run = fields.object_of(record)
    run_id = id_of(run)
    ended_at = fields.time_of(run.get("end_time"), "end_time")
    return Piece(trace_id_of(run, run_id), run_id, ended_at or "", started_at(run), ended_at)


def merge(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """An update over what was there before; what it leaves empty stays as it was."""
    merged = dict(older)
    for key, value in newer.items():
        before = merged.get(key)
        if key in _LAID_OVER and isinstance(before, dict) and isinstance(value, dict):
            merged[key] = merge(before, value)
        elif key not in merged or not fields.is_empty(value):
            merged[key] = value
    return merged


# --- ids and times ----------------------------------------------------------------------------------------


def id_of(run: Mapping[str, Any]) -> str:
    """The run's id, which it must have."""
    key = "id" if run.get("id") is not None or "run_id" not in run else "run_id"
    run_id = fields.id_of(run.get(key), key)
    if run_id is None:
        raise RejectedError(f"{key} is missing or empty; export the runs with their id", kind="no_id")
    return run_id


def trace_id_of(run: Mapping[str, Any], run_id: str) -> str:
    """The trace of a run. Raises RejectedError where it has a parent, and nothing tells the trace."""
    trace_id = fields.id_of(run.get("trace_id"), "trace_id")
    if trace_id is not None:
        return trace_id
    above = [*_path(run), *_ids(run.get("parent_run_ids"))]
    if above:
        return above[0]
    if fields.id_of(run.get("parent_run_id"), "parent_run_id") is not None or run.get("is_root") is False:
        raise RejectedError(
            "trace_id is missing, and so are dotted_order and parent_run_ids, which would tell it; "
            "export the runs with their trace_id",
            kind="no_trace_id",
        )
    return run_id


def parent_id_of(run: Mapping[str, Any], run_id: str) -> str | None:
    """The run in which this one ran; None: it is the outer one of its trace."""
    parent_id = fields.id_of(run.get("parent_run_id"), "parent_run_id")
    if parent_id is not None:
        return parent_id
    path = _path(run)
    if len(path) > 1 and path[-1] == run_id:
        return path[-2]
    return next(reversed([parent for parent in _ids(run.get("parent_run_ids")) if parent != run_id]), None)


def started_at(run: Mapping[str, Any]) -> str | None:
    """When the run began."""
    stated = run.get("start_time")
    if stated is not None and stated != "":
        return fields.time_of(stated, "start_time")
    dotted = run.get("dotted_order")
    last = _SEGMENT.fullmatch(dotted.rpartition(".")[2]) if isinstance(dotted, str) else None
    return fields.time_of(f"{last[1]}.{last[2][:6] or 0}", "dotted_order") if last is not None else None


def is_update_alone(run: Mapping[str, Any]) -> bool:
    """Is it an update whose create is not there? (Rows of all exports have at least one of the two.)"""
    return fields.is_empty(run.get("start_time")) and fields.is_empty(run.get("run_type"))


def tells_its_place(run: Mapping[str, Any]) -> bool:
    """Does the export have any field that would tell a trace, or a parent? (`export_fields` may leave out all.)"""
    return bool(run.keys() & _PLACE)


def _path(run: Mapping[str, Any]) -> list[str]:
    """The ids in dotted_order, from the outer run to this one; none where it is written otherwise."""
    dotted = run.get("dotted_order")
    if not isinstance(dotted, str) or not dotted:
        return []
    segments = [_SEGMENT.fullmatch(segment) for segment in dotted.split(".")]
    ids = [segment[3] for segment in segments if segment is not None]
    return ids if len(ids) == len(segments) else []


def _ids(value: Any) -> list[str]:
    value = unwrap(value)
    return [item for item in value if isinstance(item, str) and item] if isinstance(value, (list, tuple)) else []


# --- lists and trees --------------------------------------------------------------------------------------


def _is_list_of_runs(record: Any) -> bool:
    return isinstance(record, dict) and not (record.keys() & _IDS)


def _with_children(run: Any) -> Iterator[Any]:
    """The run and all inside it, the outer ones first."""
    waiting = [run]
    while waiting:
        run = waiting.pop()
        children = run.get("child_runs") if isinstance(run, dict) else None
        if not children or not isinstance(children, list):
            yield run
            continue
        own_id = run.get("id", run.get("run_id"))
        trace_id = next((value for value in (run.get("trace_id"), *_path(run)) if value), own_id)
        yield {**run, "trace_id": trace_id, "child_runs": []}
        known = {"parent_run_id": own_id, "trace_id": trace_id}
        waiting += [_filled(child, known) for child in reversed(children)]


def _filled(run: Any, known: Mapping[str, Any]) -> Any:
    """The run, with what is known about it and not stated in it."""
    missing = {key: value for key, value in known.items() if isinstance(run, dict) and fields.is_empty(run.get(key))}
    return {**run, **missing} if missing else run


# --- detection --------------------------------------------------------------------------------------------

_SIGNS = frozenset(
    [
        "run_type",
        "dotted_order",
        "trace_id",
        "parent_run_id",
        "parent_run_ids",
        "child_run_ids",
        "feedback_stats",
        "first_token_time",
        "session_name",
        "reference_example_id",
    ]
)


def score(row: dict[str, Any]) -> Score:
    """How much does a record look like LangSmith's?"""
    if not _is_list_of_runs(row):
        return Score(_run_score(row), "LangSmith runs (run_type, trace_id, dotted_order, …)")
    lists = [row[key] for key in _LISTS if isinstance(row.get(key), list)]
    first = next((item for listed in lists for item in listed), None)
    if isinstance(first, dict):
        return Score(_run_score(first) if first.keys() & _IDS else 0.0, "lists of LangSmith runs (runs, post, patch)")
    if lists and first is None and ("cursors" in row or {"post", "patch"} == row.keys()):
        return Score(0.75, "lists of LangSmith runs, empty")
    return Score(0.0, "")


def _run_score(run: Mapping[str, Any]) -> float:
    signs = len(run.keys() & _SIGNS)
    if _path(run):
        return 0.97
    if isinstance(run.get("run_type"), str):
        return 0.97 if signs > 1 else 0.8 if "inputs" in run else 0.4
    if signs > 2 and "inputs" in run:
        return 0.8
    return 0.5 if run.keys() >= {"end_time", "outputs"} else 0.0
