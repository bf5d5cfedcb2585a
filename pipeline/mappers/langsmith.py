"""LangSmith's runs: rows of the bulk export (Parquet), run JSON and JSONL, and the batches that its SDKs send.

In which records runs stand, and how they belong together: langsmith_records.py; the fields of one run, and what is
left out: langsmith_runs.py; the files of data sets: langsmith_dataset.py. Sources: there.

The outer run of a trace, the one without a parent, tells of the trace. Where the export does not have it, the first
one that it has stands in.

| of the outer run | Trace field |
|---|---|
| trace_id | id |
| thread_id; else metadata.{thread_id, session_id, conversation_id}; else of another run | conversation_id |
| metadata.user_id; else of another run | user_id |
| metadata.environment | environment |
| metadata.revision_id, which the SDK takes from the environment or from git | release |
| session_name, else session_id, project_id (LangSmith calls a project a session) | origin.project |
| name, tags | name, tags |
| status success, error, pending | status; another, or none: as the spans say |
| all else of the application, and of LangSmith | metadata, metadata.langsmith; not again in its span |

Input, output, error and tokens of the one turn: span_tree.py.

revision is the latest end (or start): LangSmith has no field that says when a run last changed, and a trace that was
exported while it ran is older than the same one ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, langsmith_records
from pipeline.mappers.langsmith_records import merge, piece_of, split
from pipeline.mappers.langsmith_runs import Run, read, span_of
from pipeline.mappers.mapper import Detection, Mapper
from pipeline.mappers.scoring import judge
from pipeline.mappers.span_tree import trace_of_spans
from pipeline.models import Status, Trace

_STATUS = {"success": Status.COMPLETED, "error": Status.FAILED, "pending": Status.PENDING}
_CONVERSATION = (("rest", "thread_id"), ("own", "thread_id"), ("own", "session_id"), ("own", "conversation_id"))
_PROJECT = ("session_name", "session_id", "project_id")


def map_trace(record: Any) -> Trace | None:
    """The trace of which one record holds all runs. Raises RejectedError where they are of several."""
    pieces = [(piece_of(run), run) for _, run in split(record)]
    if len({piece.trace_id for piece, _ in pieces}) > 1:
        raise RejectedError("the record holds runs of several traces; give it to be split", kind="several_traces")
    runs: dict[str | None, Any] = {}
    for piece, run in sorted(pieces, key=lambda pair: pair[0].revision):
        runs[piece.id] = merge(runs[piece.id], run) if piece.id in runs else run
    return assemble(runs.values())


def assemble(records: Iterable[Any]) -> Trace | None:
    """One trace of its runs, each there once. Raises RejectedError, naming the run and its field."""
    runs: list[Run] = []
    trace_id = None
    for record in records:
        run = fields.object_of(record)
        runs.append(read(run))
        trace_id = trace_id or langsmith_records.trace_id_of(run, runs[-1].span["id"])
    if not runs:
        return None
    if all(run.is_update_alone and not run.tells_its_place for run in runs):
        raise RejectedError(
            "an update of a run whose create is not in the export, and without trace_id and dotted_order, which would "
            "tell its trace; export the creates too",
            kind="no_trace_id",
        )
    outer = [run for run in runs if run.span["parent_id"] is None]
    lead = next((run for run in outer if run.span["id"] == trace_id), (outer or runs)[0])
    own, rest = dict(lead.own), dict(lead.rest)
    stated = Trace(
        id=trace_id,
        conversation_id=_take_conversation_id([lead, *runs], own, rest),
        user_id=_take_user_id([lead, *runs], own),
        tags=lead.tags,
        environment=_take(own, "environment"),
        release=_take(own, "revision_id"),
        origin={"format": "langsmith"} | _project(rest),
        metadata=fields.beside(own, "langsmith", rest),
        revision=max([run.span["ended_at"] or run.span["started_at"] or "" for run in runs]) or None,
        partial=_partial(lead) if outer else None,
    )
    return trace_of_spans(
        [span_of(run, lead) for run in runs],
        stated,
        status=_STATUS.get(lead.status) if outer else None,
    )


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are LangSmith's runs?"""
    return judge(sample, langsmith_records.score, "no LangSmith runs (run_type, dotted_order, …)")


# --- fields of the trace ----------------------------------------------------------------------------------


def _take_conversation_id(runs: Sequence[Run], own: dict[str, Any], rest: dict[str, Any]) -> str | None:
    told = (_id_of(run, place, key) for run in runs for place, key in _CONVERSATION)
    found = next((value for value in told if value is not None), None)
    _drop(rest, found, "thread_id")
    _drop(own, found, "thread_id", "session_id", "conversation_id")
    return found


def _take_user_id(runs: Sequence[Run], own: dict[str, Any]) -> str | None:
    found = next((value for run in runs if (value := _id_of(run, "own", "user_id")) is not None), None)
    _drop(own, found, "user_id")
    return found


def _id_of(run: Run, place: str, key: str) -> str | None:
    value = getattr(run, place).get(key)
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return fields.id_of(value, f"runs[{run.span['id']}].{key}")
    return None  # whatever an application calls so


def _drop(of_trace: dict[str, Any], found: str | None, *keys: str) -> None:
    for key in keys:
        if found is not None and str(of_trace.get(key)) == found:
            del of_trace[key]


def _partial(outer: Run) -> str | None:
    if outer.is_update_alone:
        return "an update of the outer run, without its create"
    if not outer.tells_its_place:
        return "the export does not tell which runs belong together (trace_id, parent_run_id, dotted_order)"
    return None


def _take(own: dict[str, Any], key: str) -> str | None:
    value = own.get(key)
    return str(own.pop(key)) if isinstance(value, str) and value else None


def _project(rest: dict[str, Any]) -> dict[str, str]:
    for key in _PROJECT:
        project = rest.get(key)
        if isinstance(project, str) and project:
            del rest[key]
            return {"project": project}
    return {}


MAPPER = Mapper(
    name="langsmith",
    family="langsmith",
    detect=detect,
    map_trace=map_trace,
    split=split,
    piece_of=piece_of,
    assemble=assemble,
    merge=merge,
)
