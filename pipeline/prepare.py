"""Records become sessions: read, mapped, serialised, handed over in batches. Everything short of the network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import json_text
from pipeline.assembly import Conversations
from pipeline.errors import RejectedError, StoppedError, UsageError
from pipeline.job import Job
from pipeline.ledger.sessions import Batch, Progress
from pipeline.mappers import MAPPERS
from pipeline.mappers.mapper import Mapper
from pipeline.mappers.session import SessionMapper
from pipeline.models import Part, Record, Reject, SessionImport, Trace
from pipeline.plan import Source, fingerprint_or_gone
from pipeline.readers import read_records

BATCH_SESSIONS = 400
BATCH_BYTES = 4_000_000
_DEFECTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a mapper that somebody else wrote may raise by mistake: that record is lost for now, not the run."""


@dataclass(slots=True)
class _Collected:
    """A batch while it fills."""

    sessions: list[SessionImport] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    ignored: list[tuple[Part, str]] = field(default_factory=list)
    progress: dict[str, Progress] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)
    size: int = 0

    def add(self, session: SessionImport) -> None:
        self.sessions.append(session)
        self.size += session.size

    def reject(self, reject: Reject) -> None:
        self.rejects.append(reject)
        self.size += len(reject.part.raw) + 500

    @property
    def is_full(self) -> bool:
        count = len(self.sessions) + len(self.rejects) + len(self.ignored)
        return count >= BATCH_SESSIONS or self.size >= BATCH_BYTES

    def take(self) -> Batch:
        batch = Batch(self.sessions, self.rejects, self.ignored, self.progress, self.finished)
        self.sessions, self.rejects, self.ignored, self.progress, self.finished = [], [], [], {}, {}
        self.size = 0
        return batch


def prepare(job: Job, *, scratch_dir: Path, is_stopping: Callable[[], bool]) -> Iterator[Batch]:
    """Read the job's sources in order and yield what they hold, until all is read or `is_stopping` says so.

    With `session_per: conversation`, traces that name a conversation wait on disk in `scratch_dir` until all is
    read; what was read when it stops early is still yielded, so that every record is charged.
    """
    config, to_session = job.config, job.to_session
    groups_conversations = config.source.session_per == "conversation"
    limit = config.limit if config.limit is not None else sys.maxsize
    sessions = 0
    progress: dict[str, Progress] = {}
    collected = _Collected()
    with Conversations(scratch_dir) as conversations:
        for source in job.sources:
            read = repaired = 0
            for record in _records(job, source):
                read += 1
                repaired += bool(record.repairs)
                mapped = _map(record, source, collected)
                if mapped is not None:
                    trace, mapper = mapped
                    if groups_conversations and trace.conversation_id is not None:
                        conversations.add(trace, mapper, _part(record), record.repairs)
                    else:
                        is_mended = _add_session(
                            collected,
                            to_session,
                            trace,
                            mapper,
                            (_part(record),),
                            record.data,
                            record.repairs,
                        )
                        repaired += is_mended and not record.repairs
                        sessions += 1
                if collected.is_full:
                    collected.progress[source.name] = Progress(read, repaired)
                    yield collected.take()
                if sessions >= limit or is_stopping():
                    break
            else:
                if config.limit is None:  # what the limit leaves out is for another run
                    collected.finished[source.name] = fingerprint_or_gone(source.path)
            collected.progress[source.name] = progress[source.name] = Progress(read, repaired)
            if sessions >= limit or is_stopping():
                break
        for group in conversations.merged():
            if sessions >= limit:
                collected.ignored += [(part, "limit") for part in group.parts]
            else:
                data = json_text.decode(group.parts[0].raw).value if group.parts[0].raw else None
                is_mended = _add_session(
                    collected, to_session, group.trace, group.mapper, group.parts, data, group.repairs
                )
                if is_mended and not group.repairs:  # which of its records it was, nobody knows any more
                    first = group.parts[0].source
                    read, repaired = progress[first]
                    collected.progress[first] = progress[first] = Progress(read, repaired + 1)
                sessions += 1
            if collected.is_full:
                yield collected.take()
    is_limited = config.limit is not None and (sessions >= limit or not is_stopping())
    yield collected.take()._replace(is_limited=is_limited)


def _records(job: Job, source: Source) -> Iterator[Record]:
    try:
        yield from read_records(source.path, name=source.name, max_record_bytes=job.config.source.max_record_bytes)
    except UsageError as error:  # it was there when the run began
        raise StoppedError(f"{error}; it went while the run was on. Run again to go on") from error


def _map(record: Record, source: Source, collected: _Collected) -> tuple[Trace, Mapper] | None:
    if record.problem is not None:
        collected.reject(Reject(_part(record), "read", record.problem.kind, record.problem.error, format=record.format))
        return None
    mapper = source.mapper
    if record.format is not None and record.format in MAPPERS:
        mapper = MAPPERS[record.format]
    try:
        if mapper is None:
            raise RejectedError(source.doubt or "no format fits this file", kind="unknown_format")
        trace = mapper.map_trace(record.data)
        if not isinstance(trace, Trace):
            raise TypeError(f"it gave {type(trace).__name__} and not a Trace")
    except RejectedError as error:
        collected.reject(_map_reject(record, mapper, error.kind, str(error)))
        return None
    except _DEFECTS as error:
        text = f"the mapper {mapper.name if mapper else '?'} failed on it ({type(error).__name__}); please report this"
        collected.reject(_map_reject(record, mapper, "mapper_failed", text))
        return None
    return trace, mapper


def _add_session(
    collected: _Collected,
    to_session: SessionMapper,
    trace: Trace,
    mapper: Mapper,
    parts: tuple[Part, ...],
    data: Any,
    repairs: Mapping[str, int],
) -> bool:
    """Says whether values had to be replaced or cut."""
    try:
        session = to_session(trace, data, parts, repairs, mapper.family, mapper.name)
        collected.add(session)
        return session.is_mended
    except (RejectedError, RecursionError) as error:
        kind, text = "too_deep", "values are nested too deep to be sent; flatten them in the export"
        if isinstance(error, RejectedError):
            kind, text = error.kind, str(error)
        for part in parts:
            collected.reject(Reject(part, "map", kind, text, trace.id, mapper.name))
        return False


def _part(record: Record) -> Part:
    return Part(record.source, record.ordinal, record.position, record.raw)


def _map_reject(record: Record, mapper: Mapper | None, kind: str, error: str) -> Reject:
    return Reject(_part(record), "map", kind, error, format=mapper.name if mapper is not None else record.format)
