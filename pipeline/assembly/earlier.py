"""What earlier runs have read of today's traces and conversations: found by the index, read again from their files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.assembly.conversations import Conversations
from pipeline.assembly.scattered import Scattered, trace_key
from pipeline.errors import UsageError
from pipeline.finding import find_again
from pipeline.job import Job
from pipeline.mappers import find_mapper
from pipeline.mappers.mapper import Mapper
from pipeline.models import Record, Trace
from pipeline.plan import configured_mapper
from pipeline.readers import read_records
from pipeline.readers.opening import Place
from pipeline.readers.places import fingerprint_or_gone
from pipeline.units import LOST, mapper_of, units_of

Take = Callable[[Record, Mapper, bytes], None]
"""Uses a record that the index named for a key."""


@dataclass(slots=True)
class _File:
    """What is wanted from one file."""

    format: str
    fingerprint: str
    keys: dict[int, bytes] = field(default_factory=dict)
    """By ordinal, what the record belongs to."""


def add_earlier_pieces(job: Job, scattered: Scattered, is_stopping: Callable[[], bool]) -> None:
    """Add what earlier runs read of the traces that are there, as far as it is found."""

    def take(record: Record, mapper: Mapper, key: bytes) -> None:
        piece = mapper.piece_of(record.data) if mapper.piece_of is not None else None
        if piece is not None and trace_key(mapper.name, piece.trace_id) == key:
            scattered.add(piece, mapper, record, is_earlier=True)

    _read_again(job, scattered.distinct_keys(), take, is_stopping)


def add_earlier_traces(
    job: Job, conversations: Conversations, scratch_dir: Path, is_stopping: Callable[[], bool]
) -> None:
    """Add the traces of the conversations that are there which earlier runs read, as far as they are found."""
    with Scattered(scratch_dir, name="earlier") as scattered:

        def add(
            trace: Trace | None, mapper: Mapper, trace_key: bytes | None = None, missing: str | None = None
        ) -> None:
            cleaned = job.redaction.trace(trace) if isinstance(trace, Trace) else None
            if cleaned is not None and cleaned.conversation_id is not None:
                conversations.add_earlier(cleaned, mapper, trace_key, missing)

        def take(record: Record, mapper: Mapper, key: bytes) -> None:
            piece = mapper.piece_of(record.data) if mapper.piece_of is not None else None
            if piece is None or (mapper.name not in job.scattered_formats and mapper.is_whole(record.data)):
                add(mapper.map_trace(record.data), mapper)
            # One that goes on today is there already, with all of its pieces.
            elif not conversations.has(trace_key(mapper.name, piece.trace_id)):
                scattered.add(piece, mapper, record, is_earlier=True)

        _read_again(job, conversations.distinct_keys(), take, is_stopping)
        for group in scattered.gathered():
            if is_stopping():
                break
            try:
                whole = group.mapper.map_trace(next(group.values())) if group.whole else group.assembled()
            except LOST:
                continue  # it was none on its own night, either
            add(whole, group.mapper, group.key, lost_parts(job, "trace", group.key, group.present))


def lost_parts(job: Job, what: str, key: bytes, present: Set[int]) -> str | None:
    """What earlier runs read and this one does not find any more, in words."""
    path = job.parts.lost(key, present) if job.config.assembly.missing_parts == "report" else None
    return f"earlier parts of this {what} were in {path}, and are not there any more" if path is not None else None


def _read_again(job: Job, keys: Iterator[list[bytes]], take: Take, is_stopping: Callable[[], bool]) -> None:
    read_now = frozenset(source.name for source in job.sources)
    files: dict[str, _File] = {}
    for found in job.parts.find(keys, without=read_now):
        file = files.setdefault(found.path, _File(found.format, found.fingerprint))
        file.keys.update(dict.fromkeys(found.places, found.key))
    for path, place in find_again(files, job.config).items():
        if is_stopping():
            break
        _read_file(job, place, files[path], take)


def _read_file(job: Job, place: Place, file: _File, take: Take) -> None:
    """A file that is another one now holds nothing that could be trusted."""
    if fingerprint_or_gone(place) != file.fingerprint:
        return
    last = max(file.keys)
    own = configured_mapper(job.config) or find_mapper(file.format)
    try:
        max_bytes = job.config.source.max_record_bytes
        for record, _ in units_of(read_records(place, name=str(place), max_record_bytes=max_bytes), own):
            key = file.keys.get(record.ordinal)
            mapper = mapper_of(record, own)
            if key is not None and record.problem is None and mapper is not None:
                with contextlib.suppress(*LOST):  # then it is not what the index says: it is lost
                    take(record, mapper, key)
            if record.ordinal >= last:
                break
    except UsageError:  # it went meanwhile
        return
