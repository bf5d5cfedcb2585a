"""Records become sessions: read, mapped, serialised, handed over in batches. Everything short of the network."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import json_text
from pipeline.assembly.conversations import Conversations
from pipeline.assembly.earlier import add_earlier_pieces, add_earlier_traces, lost_parts
from pipeline.assembly.scattered import Gathered, Scattered
from pipeline.errors import RejectedError, StoppedError, UsageError
from pipeline.filters import Verdict
from pipeline.job import Job
from pipeline.ledger.parts import Places
from pipeline.ledger.sessions import Batch, Progress
from pipeline.mappers.mapper import Mapper
from pipeline.models import Part, Record, Reject, SessionImport, Trace
from pipeline.plan import Source
from pipeline.readers import read_records
from pipeline.readers.places import fingerprint_or_gone
from pipeline.redaction.clean import Redaction
from pipeline.units import DEFECTS, mapper_of, units_of

BATCH_SESSIONS = 400
BATCH_BYTES = 4_000_000
BATCH_SCATTERED = 20_000
_OPEN = "open"
"""Instead of a fingerprint: no file has it, so this one is not done."""


@dataclass(slots=True)
class _Collected:
    """A batch while it fills, and what was charged so far."""

    sessions: list[SessionImport] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    ignored: list[tuple[Part, str]] = field(default_factory=list)
    left_out: list[tuple[Part, ...]] = field(default_factory=list)
    finished: dict[str, str] = field(default_factory=dict)
    parts: list[tuple[bytes, Mapping[str, Places]]] = field(default_factory=list)
    part_files: list[tuple[str, str, str, bool]] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    charged: Counter[str] = field(default_factory=Counter)
    """By source, records that a session, a reject or a reason stands for; those that wait on disk are not yet."""
    repaired: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    """By source, all records that were read, also those that wait."""
    waiting: int = 0
    size: int = 0

    def charge(self, source: str, records: int = 1, *, repaired: int = 0) -> None:
        self.charged[source] += records
        self.repaired[source] += repaired
        self.touched.add(source)

    def add(self, session: SessionImport) -> None:
        self.sessions.append(session)
        self.size += session.size

    def reject(self, reject: Reject) -> None:
        self.rejects.append(reject)
        self.size += len(reject.part.raw) + 500

    @property
    def is_full(self) -> bool:
        parts = len(self.ignored) + len(self.left_out) + len(self.parts)
        count = len(self.sessions) + len(self.rejects) + parts
        return count >= BATCH_SESSIONS or self.size >= BATCH_BYTES or self.waiting >= BATCH_SCATTERED

    def take(self) -> Batch:
        progress = {source: Progress(self.charged[source], self.repaired[source]) for source in self.touched}
        batch = Batch(
            self.sessions,
            self.rejects,
            self.ignored,
            progress,
            self.finished,
            self.parts,
            self.part_files,
            dict(self.read),
            left_out=self.left_out,
        )
        self.sessions, self.rejects, self.ignored, self.left_out, self.finished = [], [], [], [], {}
        self.parts, self.part_files, self.touched = [], [], set()
        self.size = self.waiting = 0
        return batch


class _Origin(NamedTuple):
    """The records that a trace was made of."""

    parts: tuple[Part, ...]
    data: Any
    """Of its only record; None where it was made of several."""
    repairs: Mapping[str, int]
    is_young: bool = False
    missing: str | None = None
    has_earlier_parts: bool = False


def prepare(job: Job, *, scratch_dir: Path, is_stopping: Callable[[], bool]) -> Iterator[Batch]:
    """Read the job's sources in order and yield what they hold, until all is read or `is_stopping` says so.

    Pieces of scattered traces, and with `session_per: conversation` traces that name a conversation, wait on disk in
    `scratch_dir` until all is read. When it stops before they are through, those that still wait count as not read.
    """
    with Scattered(scratch_dir) as scattered, Conversations(scratch_dir) as conversations, job.parts:
        work = _Preparation(job, is_stopping, scattered, conversations, scratch_dir)
        yield from work.read()
        yield from work.gather()
        yield from work.merge()
        yield work.take_last()


class _Preparation:
    def __init__(
        self,
        job: Job,
        is_stopping: Callable[[], bool],
        scattered: Scattered,
        conversations: Conversations,
        scratch_dir: Path,
    ) -> None:
        self._job = job
        self._is_stopping = is_stopping
        self._scattered = scattered
        self._conversations = conversations
        self._scratch_dir = scratch_dir
        self._merges = job.config.source.session_per == "conversation"
        self._limit = job.config.limit if job.config.limit is not None else sys.maxsize
        self._sessions = 0
        self._collected = _Collected()
        self._scattered_formats = set(job.scattered_formats)
        self._whole_formats: set[str] = set()
        """Formats of which records were taken as whole traces by themselves, though they can be pieces."""
        self._finished: dict[str, str] = {}
        """Sources read to their end of which something still waits."""
        self._open: set[str] = set()
        """Sources with traces that a later night will want."""

    # --- file by file -------------------------------------------------------------------------------------

    def read(self) -> Iterator[Batch]:
        collected = self._collected
        for source in self._job.sources:
            has_waiting = False
            for record, is_trace in units_of(self._records(source), source.mapper):
                collected.read[source.name] += 1
                if self._take(record, source, is_trace=is_trace):
                    collected.charge(record.source, repaired=bool(record.repairs))
                else:
                    has_waiting = True
                    collected.waiting += 1
                if collected.is_full:
                    yield collected.take()
                if self._is_over() or self._is_surprised():
                    break
            else:
                if self._job.config.limit is None:  # what the limit leaves out is for another run
                    finished = self._finished if has_waiting else collected.finished
                    is_open = source.name in self._open
                    finished[source.name] = _OPEN if is_open else fingerprint_or_gone(source.place)
            is_scattered = source.mapper is not None and source.mapper.name in self._scattered_formats
            if (has_waiting or is_scattered) and source.mapper is not None:
                collected.part_files.append((source.name, source.fingerprint, source.mapper.name, is_scattered))
            collected.touched.add(source.name)
            if self._is_surprised():
                yield collected.take()
                raise StoppedError(
                    f"{source.name}: pieces of traces stand here behind rows that were taken for whole traces. That is "
                    "noted: run again, and they are brought together"
                )
            if self._is_over():
                break

    def _is_surprised(self) -> bool:
        """Pieces that belong to whole rows which are on their way already: only another run can join them."""
        return bool(self._whole_formats & self._scattered_formats)

    def _is_over(self) -> bool:
        return self._sessions >= self._limit or self._is_stopping()

    def _records(self, source: Source) -> Iterator[Record]:
        max_bytes = self._job.config.source.max_record_bytes
        try:
            yield from read_records(source.place, name=source.name, max_record_bytes=max_bytes)
        except UsageError as error:  # it was there when the run began
            raise StoppedError(f"{error}; it went while the run was on. Run again to go on") from error

    def _take(self, record: Record, source: Source, *, is_trace: bool) -> bool:
        """Map a record, or keep it until all of its trace is there. Says whether the record is charged."""
        part = _part(record)
        if record.problem is not None:
            problem = record.problem
            error = self._job.redaction.text(problem.error)
            mapper = mapper_of(record, source.mapper)
            format = record.format or (mapper.name if mapper is not None else None)
            self._collected.reject(Reject(part, "read", problem.kind, error, format=format))
            return True
        mapper = mapper_of(record, source.mapper)
        with self._rejecting((part,), mapper, "map"):
            if mapper is None:
                raise RejectedError(source.doubt or "no format fits this file", kind="unknown_format")
            if mapper.piece_of is not None and is_trace:
                piece = mapper.piece_of(record.data)
                if piece is not None and not (piece.is_whole and mapper.name not in self._scattered_formats):
                    self._scattered_formats.add(mapper.name)
                    self._scattered.add(piece, mapper, record)
                    return False
                if piece is not None:
                    self._whole_formats.add(mapper.name)
            trace = _checked(mapper.map_trace(record.data)) if is_trace else None
            if trace is None:
                self._collected.ignored.append((part, "not_a_trace"))
                return True
            return self._place(trace, mapper, _Origin((part,), record.data, record.repairs))
        return True

    # --- trace by trace -----------------------------------------------------------------------------------

    def gather(self) -> Iterator[Batch]:
        """Scattered traces, once all of their pieces are there."""
        if not len(self._scattered) or self._is_over():
            return
        add_earlier_pieces(self._job, self._scattered, self._is_stopping)
        held_from = self._held_from()
        for group in self._scattered.gathered():
            if self._is_stopping():
                return
            if self._sessions >= self._limit:
                self._leave_out(group.parts)
                self._charge(group.parts)
            else:
                lost = lost_parts(self._job, "trace", group.key, group.present)
                self._assemble(group, lost, held_from)
                self._note(group.key, group.places, lost)
            self._collected.ignored += group.ignored
            self._charge([part for part, _ in group.ignored])
            if self._collected.is_full:
                yield self._collected.take()
        self._finished |= dict.fromkeys(self._open & self._finished.keys(), _OPEN)
        if not self._merges:
            self._collected.finished |= self._finished

    def _assemble(self, group: Gathered, missing: str | None, held_from: str | None) -> None:
        is_young = held_from is not None and group.last_moment is not None and group.last_moment > held_from
        mapper = group.mapper
        with self._rejecting(group.parts, mapper, "assemble", group.trace_id):
            data = next(group.values()) if group.whole else None
            trace = _checked(mapper.map_trace(data) if group.whole else group.assembled())
            if trace is None:
                self._collected.ignored += [(part, "not_a_trace") for part in group.parts]
            elif not self._place(
                trace,
                mapper,
                _Origin(group.parts, data, group.repairs, is_young, missing, group.has_earlier_parts),
                group.key,
            ):
                return
        self._charge(group.parts, repaired=bool(group.repairs))

    def _held_from(self) -> str | None:
        """Traces with a span after this moment wait for a later run."""
        settle = self._job.config.assembly.settle_minutes
        newest = self._scattered.newest_moment
        if not settle or newest is None:
            return None
        moment = datetime.fromisoformat(newest) - timedelta(minutes=settle)
        return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

    # --- conversation by conversation ---------------------------------------------------------------------

    def merge(self) -> Iterator[Batch]:
        """Conversations, once all of their traces are there."""
        if not self._is_over():
            add_earlier_traces(self._job, self._conversations, self._scratch_dir, self._is_stopping)
        for group in self._conversations.merged():
            if self._is_stopping():
                return
            if not group.parts:  # nothing of it is new
                continue
            if self._sessions >= self._limit:
                self._leave_out(group.parts)
            else:
                data = json_text.decode(group.parts[0].raw).value if group.parts[0].raw else None
                lost = group.missing or lost_parts(self._job, "conversation", group.key, group.present)
                origin = _Origin(group.parts, data, group.repairs, group.is_young, lost, group.has_earlier_parts)
                self._add_session(group.trace, group.mapper, origin, traces=group.traces, trace_ids=group.trace_ids)
                self._note(group.key, group.places, lost)
            self._charge(group.parts, repaired=bool(group.repairs))
            if self._collected.is_full:
                yield self._collected.take()
        if self._merges and not self._is_stopping():
            self._collected.finished |= self._finished

    def take_last(self) -> Batch:
        is_limited = self._job.config.limit is not None and (self._sessions >= self._limit or not self._is_stopping())
        return self._collected.take()._replace(is_limited=is_limited)

    # --- into the batch -----------------------------------------------------------------------------------

    def _place(self, trace: Trace, mapper: Mapper, origin: _Origin, trace_key: bytes | None = None) -> bool:
        """A session of its own, or a part of a conversation, or filtered; says whether its records are charged."""
        verdict = self._job.wants(trace, origin.parts[0].raw) if self._job.wants is not None else Verdict.WANTED
        if verdict is not Verdict.WANTED:
            self._collected.ignored += [(part, "filtered") for part in origin.parts]
            if verdict is Verdict.LATER:
                self._open.update(part.source for part in origin.parts)
            return True
        trace = self._job.redaction.trace(trace)
        if self._merges and trace.conversation_id is not None:
            self._conversations.add(
                trace,
                mapper,
                origin.parts,
                origin.repairs,
                is_young=origin.is_young,
                missing=origin.missing,
                trace_key=trace_key,
            )
            return False
        self._add_session(trace, mapper, origin)
        return True

    def _add_session(
        self, trace: Trace, mapper: Mapper, origin: _Origin, traces: int = 1, trace_ids: tuple[str, ...] = ()
    ) -> None:
        self._sessions += 1
        with self._rejecting(origin.parts, mapper, "map", trace.id):
            session = self._job.to_session(
                trace,
                origin.data,
                origin.parts,
                origin.repairs,
                mapper.family,
                mapper.name,
                trace_ids=trace_ids,
                traces=traces,
                is_young=origin.is_young,
                missing=origin.missing,
                has_earlier_parts=origin.has_earlier_parts,
            )
            self._collected.add(session)
            if session.is_mended and not origin.repairs:  # of several records, nobody knows any more which one it was
                self._collected.repaired[origin.parts[0].source] += 1

    def _note(self, key: bytes, places: Mapping[str, Places], lost: str | None) -> None:
        """For the index. What it says of lost parts stays, so that the next night misses them, too."""
        if lost is None and self._job.config.limit is None:
            self._collected.parts.append((key, places))

    def _leave_out(self, parts: tuple[Part, ...]) -> None:
        if parts:
            self._collected.left_out.append(parts)

    def _rejecting(
        self, parts: tuple[Part, ...], mapper: Mapper | None, stage: str, trace_id: str | None = None
    ) -> _Rejecting:
        return _Rejecting(self._collected, self._job.redaction, parts, mapper, stage, trace_id)

    def _charge(self, parts: Sequence[Part], *, repaired: bool = False) -> None:
        for source, count in Counter(part.source for part in parts).items():
            self._collected.charge(source, count)
        if repaired and parts:
            self._collected.repaired[parts[0].source] += 1


class _Rejecting:
    """What is raised inside about these records makes them rejects, and nothing else is lost."""

    def __init__(
        self,
        collected: _Collected,
        redaction: Redaction,
        parts: tuple[Part, ...],
        mapper: Mapper | None,
        stage: str,
        trace_id: str | None = None,
    ) -> None:
        self._collected = collected
        self._redaction = redaction
        self._parts = parts
        self._mapper = mapper
        self._stage = stage
        self._trace_id = trace_id

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            return False
        name = self._mapper.name if self._mapper is not None else None
        if isinstance(error, RejectedError):
            why, text = error.kind, str(error)
        elif isinstance(error, RecursionError):
            why, text = "too_deep", "values are nested too deep to be sent; flatten them in the export"
        elif isinstance(error, DEFECTS):
            why = "mapper_failed"
            text = f"the mapper {name or '?'} failed on it ({type(error).__name__}); please report this"
        else:
            return False
        text, trace_id = self._redaction.text(text), self._redaction.id(self._trace_id)
        for part in self._parts:
            self._collected.reject(Reject(part, self._stage, why, text, trace_id, name))
        return True


def _checked(trace: Trace | None) -> Trace | None:
    if trace is not None and not isinstance(trace, Trace):
        raise TypeError(f"it gave {type(trace).__name__} and not a Trace")
    return trace


def _part(record: Record) -> Part:
    return Part(record.source, record.ordinal, record.position, record.raw)
