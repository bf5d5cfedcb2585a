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

Input, output, error and tokens of the one turn: span_tree.py. Where the outer run
is a call of a model, the last message of the user and the last answer are the turn; the span has all of them.

revision is the latest end (or start): LangSmith has no field that says when a run last changed, and a trace that was
exported while it ran is older than the same one ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields, langsmith_records, messages
from pipeline.mappers.langsmith_records import merge, piece_of, split
from pipeline.mappers.langsmith_runs import Run, read, span_of
from pipeline.mappers.mapper import Detection, Mapper
from pipeline.mappers.scoring import judge
from pipeline.mappers.span_tree import trace_of_spans
from pipeline.models import Status, Trace

_STATUS = {"success": Status.COMPLETED, "error": Status.FAILED, "pending": Status.PENDING}
_CONVERSATION = ("thread_id", "session_id", "conversation_id")
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
    lead = next((run for run in runs if run.span["parent_id"] is None), runs[0])
    is_whole = lead.span["parent_id"] is None
    own, rest = dict(lead.own), dict(lead.rest)
    is_call = lead.span["type"] == "GENERATION"
    stated = Trace(
        id=trace_id,
        conversation_id=_take_conversation_id([lead, *runs], own, rest),
        user_id=_take_id([lead, *runs], "own", "user_id", own),
        tags=lead.tags,
        environment=_take(own, "environment"),
        release=_take(own, "revision_id"),
        origin={"format": "langsmith"} | _project(rest),
        metadata=fields.beside(own, "langsmith", rest),
        revision=max([run.span["ended_at"] or run.span["started_at"] or "" for run in runs]) or None,
        partial=_partial(lead) if is_whole else None,
    )
    return trace_of_spans(
        [span_of(run, lead) for run in runs],
        stated,
        input=messages.last_user(lead.span["input"]) if is_call else None,
        output=messages.last_assistant(lead.span["output"]) if is_call else None,
        status=_STATUS.get(lead.status) if is_whole else None,
    )


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are LangSmith's runs?"""
    return judge(sample, langsmith_records.score, "no LangSmith runs (run_type, dotted_order, …)")


# --- fields of the trace ----------------------------------------------------------------------------------


def _take_conversation_id(runs: Sequence[Run], own: dict[str, Any], rest: dict[str, Any]) -> str | None:
    places = (("rest", "thread_id", rest), *(("own", key, own) for key in _CONVERSATION))
    found = next((found for place in places if (found := _take_id(runs, *place)) is not None), None)
    for key in _CONVERSATION:
        if found is not None and own.get(key) == found:
            del own[key]
    return found


def _take_id(runs: Sequence[Run], place: str, key: str, of_trace: dict[str, Any]) -> str | None:
    """The id under this key in the first run that has one; taken out of what is kept of the trace."""
    for run in runs:
        value = getattr(run, place).get(key)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            found = fields.id_of(value, f"runs[{run.span['id']}].{key}")
            if found is not None:
                if of_trace.get(key) == value:
                    del of_trace[key]
                return found
    return None


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
