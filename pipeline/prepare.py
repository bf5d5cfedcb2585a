"""Records become sessions: read, mapped, serialised, handed over in batches. Everything short of the network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pipeline import json_text
from pipeline.assembly.conversations import Conversations
from pipeline.assembly.earlier import add_earlier_pieces, add_earlier_traces, lost_parts
from pipeline.assembly.scattered import Gathered, Scattered
from pipeline.collected import Collected
from pipeline.errors import RejectedError, StoppedError, UsageError
from pipeline.filters import Verdict
from pipeline.job import Job
from pipeline.ledger.parts import Places
from pipeline.ledger.sessions import Batch
from pipeline.mappers.mapper import Mapper
from pipeline.models import Origin, Part, Record, Reject, Trace
from pipeline.plan import Source
from pipeline.readers import read_records
from pipeline.readers.places import fingerprint_or_gone
from pipeline.units import LOST, mapper_of, units_of

_OPEN = "open"
"""Instead of a fingerprint: no file has it, so this one is not done."""


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
        self._collected = Collected()
        self._scattered_formats = set(job.scattered_formats)
        self._whole_formats: set[str] = set()
        """Formats of which records were taken as whole traces by themselves, though they can be pieces."""
        self._is_surprised = False
        """Pieces belong to whole rows which are on their way already: only another run can join them."""
        self._finished: dict[str, str] = {}
        """Sources read to their end of which something still waits."""
        self._open: set[str] = set()
        """Sources with traces that a later night will want."""

    # --- file by file -------------------------------------------------------------------------------------

    def read(self) -> Iterator[Batch]:
        collected = self._collected
        for source in self._job.sources:
            count = collected.count_of(source.name)
            has_waiting = False
            for record, is_trace in units_of(self._records(source), source.mapper):
                count.read += 1
                if self._take(record, source, is_trace=is_trace):
                    count.charged += 1
                    if record.repairs:
                        count.repaired += 1
                else:
                    has_waiting = True
                    collected.waiting += 1
                if collected.is_full:
                    yield collected.take()
                    collected.count_of(source.name)  # the next one tells of it, too
                if self._is_surprised or self._is_over():
                    break
            else:
                if self._job.config.limit is None:  # what the limit leaves out is for another run
                    finished = self._finished if has_waiting else collected.finished
                    is_open = source.name in self._open
                    finished[source.name] = _OPEN if is_open else fingerprint_or_gone(source.place)
            if source.mapper is not None:
                format, is_scattered = source.mapper.name, source.mapper.name in self._scattered_formats
                if has_waiting or is_scattered:
                    collected.note_part_file(source.name, source.fingerprint, format, is_scattered=is_scattered)
            if self._is_surprised:
                yield collected.take()
                raise StoppedError(
                    f"{source.name}: pieces of traces stand here behind rows that were taken for whole traces. That is "
                    "noted: run again, and they are brought together"
                )
            if self._is_over():
                break

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
        mapper = source.mapper if record.format is None else mapper_of(record, source.mapper)
        if record.problem is not None:
            error = self._job.redaction.text(record.problem.error)
            format = record.format or (mapper.name if mapper is not None else None)
            self._collected.reject(Reject(_part(record), "read", record.problem.kind, error, format=format))
            return True
        try:
            if mapper is None:
                raise RejectedError(source.doubt or "no format fits this file", kind="unknown_format")
            if is_trace and mapper.piece_of is not None and self._keep_piece(record, mapper):
                return False
            trace = _checked(mapper.map_trace(record.data)) if is_trace else None
            if trace is None:
                self._collected.ignore((_part(record),), "not_a_trace")
                return True
            return self._place(trace, mapper, record.data, Origin((_part(record),), record.repairs))
        except LOST as error:
            self._reject((_part(record),), mapper, "map", error)
            return True

    def _keep_piece(self, record: Record, mapper: Mapper) -> bool:
        """Keep a record that is only a part of a trace; says whether it is one."""
        name = mapper.name
        if name not in self._scattered_formats and mapper.is_whole(record.data):
            self._whole_formats.add(name)
            return False
        piece = mapper.piece_of(record.data) if mapper.piece_of is not None else None
        if piece is None:
            return False
        self._scattered_formats.add(name)
        self._is_surprised = self._is_surprised or name in self._whole_formats
        self._scattered.add(piece, mapper, record)
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
                self._collected.leave_out(group.origin.parts)
                self._collected.charge(group.origin.parts)
            else:
                lost = lost_parts(self._job, "trace", group.key, group.present)
                self._assemble(group, lost, held_from)
                self._note(group.key, group.places, lost)
            for part, why in group.ignored:
                self._collected.ignore((part,), why)
            self._collected.charge([part for part, _ in group.ignored])
            if self._collected.is_full:
                yield self._collected.take()
        self._finished |= dict.fromkeys(self._open & self._finished.keys(), _OPEN)
        if not self._merges:
            self._collected.finished |= self._finished

    def _assemble(self, group: Gathered, missing: str | None, held_from: str | None) -> None:
        is_young = held_from is not None and group.last_moment is not None and group.last_moment > held_from
        mapper, parts = group.mapper, group.origin.parts
        try:
            data = next(group.values()) if group.whole else None
            trace = _checked(mapper.map_trace(data) if group.whole else group.assembled())
            if trace is None:
                self._collected.ignore(parts, "not_a_trace")
            else:
                origin = replace(group.origin, is_young=is_young, missing=missing)
                if not self._place(trace, mapper, data, origin, group.key):
                    return
        except LOST as error:
            self._reject(parts, mapper, "assemble", error, group.trace_id)
        self._collected.charge(parts, repaired=bool(group.origin.repairs))

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
            origin = group.origin
            if not origin.parts:  # nothing of it is new
                continue
            if self._sessions >= self._limit:
                self._collected.leave_out(origin.parts)
            else:
                data = json_text.decode(origin.parts[0].raw).value if origin.parts[0].raw else None
                lost = origin.missing or lost_parts(self._job, "conversation", group.key, group.present)
                origin = replace(origin, missing=lost)
                self._add_session(
                    group.trace, group.mapper, data, origin, traces=group.traces, trace_ids=group.trace_ids
                )
                self._note(group.key, group.places, lost)
            self._collected.charge(origin.parts, repaired=bool(origin.repairs))
            if self._collected.is_full:
                yield self._collected.take()
        if self._merges and not self._is_stopping():
            self._collected.finished |= self._finished

    def take_last(self) -> Batch:
        is_limited = self._job.config.limit is not None and (self._sessions >= self._limit or not self._is_stopping())
        return self._collected.take(is_limited=is_limited)

    # --- into the batch -----------------------------------------------------------------------------------

    def _place(self, trace: Trace, mapper: Mapper, data: Any, origin: Origin, trace_key: bytes | None = None) -> bool:
        """A session of its own, or a part of a conversation, or filtered; says whether its records are charged."""
        verdict = self._job.wants(trace, origin.parts[0].raw) if self._job.wants is not None else Verdict.WANTED
        if verdict is not Verdict.WANTED:
            self._collected.ignore(origin.parts, "filtered")
            if verdict is Verdict.LATER:
                self._open.update(part.source for part in origin.parts)
            return True
        trace = self._job.redaction.trace(trace)
        if self._merges and trace.conversation_id is not None:
            self._conversations.add(trace, mapper, origin, trace_key)
            return False
        self._add_session(trace, mapper, data, origin)
        return True

    def _add_session(
        self,
        trace: Trace,
        mapper: Mapper,
        data: Any,
        origin: Origin,
        traces: int = 1,
        trace_ids: Sequence[str] = (),
    ) -> None:
        """`data`: of its only record; None where it was made of several."""
        self._sessions += 1
        try:
            session = self._job.to_session(
                trace,
                data,
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
        except LOST as error:
            self._reject(origin.parts, mapper, "map", error, trace.id)
            return
        self._collected.add(session)
        if session.is_mended and not origin.repairs:
            self._collected.charge_repair(origin.parts)

    def _note(self, key: bytes, places: Mapping[str, Places], lost: str | None) -> None:
        """For the index. What it says of lost parts stays, so that the next night misses them, too."""
        if lost is None and self._job.config.limit is None:
            self._collected.note_parts(key, places)

    def _reject(
        self,
        parts: Sequence[Part],
        mapper: Mapper | None,
        stage: str,
        error: Exception,
        trace_id: str | None = None,
    ) -> None:
        """What was raised about these records makes them rejects, and nothing else is lost."""
        name = mapper.name if mapper is not None else None
        if isinstance(error, RejectedError):
            kind, text = error.kind, str(error)
        elif isinstance(error, RecursionError):
            kind, text = "too_deep", "values are nested too deep to be sent; flatten them in the export"
        else:
            kind = "mapper_failed"
            text = f"the mapper {name or '?'} failed on it ({type(error).__name__}); please report this"
        text, trace_id = self._job.redaction.text(text), self._job.redaction.id(trace_id)
        for part in parts:
            self._collected.reject(Reject(part, stage, kind, text, trace_id, name))


def _checked(trace: Trace | None) -> Trace | None:
    if trace is not None and not isinstance(trace, Trace):
        raise TypeError(f"it gave {type(trace).__name__} and not a Trace")
    return trace


def _part(record: Record) -> Part:
    return Part(record.source, record.ordinal, record.position, record.raw)
