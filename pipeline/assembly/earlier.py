"""What earlier runs have read of today's traces and conversations: found by the index, read again from their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.assembly.conversations import Conversations, conversation_key
from pipeline.assembly.scattered import Scattered, trace_key
from pipeline.errors import RejectedError, UsageError
from pipeline.finding import find_again
from pipeline.job import Job
from pipeline.mappers import find_mapper
from pipeline.mappers.mapper import Mapper
from pipeline.models import Record, Trace
from pipeline.plan import configured_mapper
from pipeline.readers import read_records
from pipeline.readers.opening import Place
from pipeline.readers.places import fingerprint_or_gone
from pipeline.units import DEFECTS, mapper_of, units_of

Take = Callable[[Record, Mapper, bytes], bool]
"""Uses a record that the index named for a key; False: it is not what the index says."""


@dataclass(slots=True)
class _File:
    """What is wanted from one file."""

    format: str
    fingerprint: str
    keys: dict[int, bytes] = field(default_factory=dict)
    """By ordinal, what the record belongs to."""


def add_earlier_pieces(job: Job, scattered: Scattered, is_stopping: Callable[[], bool]) -> dict[bytes, str]:
    """Add what earlier runs read of the traces that are there; returns those with parts that nobody finds, and why."""

    def take(record: Record, mapper: Mapper, key: bytes) -> bool:
        piece = mapper.piece_of(record.data) if mapper.piece_of is not None else None
        if piece is None or trace_key(mapper.name, piece.trace_id) != key:
            return False
        scattered.add(piece, mapper, record, is_earlier=True)
        return True

    return _read_again(job, scattered.distinct_keys(), "trace", take, is_stopping)


def add_earlier_traces(
    job: Job, conversations: Conversations, scratch_dir: Path, is_stopping: Callable[[], bool]
) -> dict[bytes, str]:
    """Add the traces of the conversations that are there which earlier runs read; returns as above."""
    with Scattered(scratch_dir) as scattered:

        def take(record: Record, mapper: Mapper, key: bytes) -> bool:
            piece = mapper.piece_of(record.data) if mapper.piece_of is not None else None
            if piece is not None and not (piece.is_whole and mapper.name not in job.scattered_formats):
                # One that goes on today is there already, with all of its pieces.
                if not conversations.has(trace_key(mapper.name, piece.trace_id)):
                    scattered.add(piece, mapper, record, is_earlier=True)
                return True
            trace = mapper.map_trace(record.data)
            if not isinstance(trace, Trace) or trace.conversation_id is None:
                return False
            if conversation_key(mapper.family, trace.conversation_id) != key:
                return False
            conversations.add_earlier(trace, mapper)
            return True

        missing = _read_again(job, conversations.distinct_keys(), "conversation", take, is_stopping)
        for group in scattered.gathered():
            if is_stopping():
                break
            try:
                whole = group.mapper.map_trace(next(group.values())) if group.whole else group.assembled()
            except (RejectedError, *DEFECTS):
                continue  # it was none on its own night, either
            if whole is not None and whole.conversation_id is not None:
                conversations.add_earlier(whole, group.mapper, group.key)
    return missing


def _read_again(
    job: Job, keys: Iterator[list[bytes]], what: str, take: Take, is_stopping: Callable[[], bool]
) -> dict[bytes, str]:
    read_now = frozenset(source.name for source in job.sources)
    files: dict[str, _File] = {}
    for place in job.parts.find(keys, without=read_now):
        file = files.setdefault(place.path, _File(place.format, place.fingerprint))
        file.keys.update(dict.fromkeys(place.ordinals, place.key))
    missing: dict[bytes, str] = {}
    places = find_again(files, job.config)
    for path in [*places, *(files.keys() - places.keys())]:
        file = files[path]
        if is_stopping():
            break
        if path in places:
            _read_file(job, places[path], file, take)
        for key in file.keys.values():
            missing.setdefault(key, f"earlier parts of this {what} were in {path}, and are not there any more")
    return missing


def _read_file(job: Job, place: Place, file: _File, take: Take) -> None:
    """Takes out of `file.keys` what is found; a file that is another one now holds nothing that could be trusted."""
    if fingerprint_or_gone(place) != file.fingerprint:
        return
    last = max(file.keys)
    own = configured_mapper(job.config) or find_mapper(file.format)
    try:
        max_bytes = job.config.source.max_record_bytes
        records = read_records(place, name=str(place), max_record_bytes=max_bytes)
        for record, _ in units_of(records, own):
            key = file.keys.get(record.ordinal)
            mapper = mapper_of(record, own)
            if key is not None and record.problem is None and mapper is not None:
                try:
                    is_found = take(record, mapper, key)
                except (RejectedError, *DEFECTS):
                    is_found = False
                if is_found:
                    del file.keys[record.ordinal]
            if record.ordinal >= last:
                break
    except UsageError:  # it went meanwhile
        return
