"""Pieces of today's traces that earlier runs have read: found by the index, and read again from their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.assembly.scattered import Scattered, trace_key
from pipeline.errors import RejectedError, UsageError
from pipeline.finding import find_again
from pipeline.job import Job
from pipeline.mappers import find_mapper
from pipeline.readers import read_records
from pipeline.readers.opening import Place
from pipeline.readers.places import fingerprint_or_gone
from pipeline.units import DEFECTS, units_of


@dataclass(slots=True)
class _File:
    """What is wanted from one file."""

    format: str
    fingerprint: str
    keys: dict[int, bytes] = field(default_factory=dict)
    """By ordinal, the trace that the record belongs to."""


def add_earlier(job: Job, scattered: Scattered, is_stopping: Callable[[], bool]) -> dict[bytes, str]:
    """Add what earlier runs read of the traces that are there; returns those with parts that nobody finds, and why."""
    read_now = frozenset(source.name for source in job.sources)
    files: dict[str, _File] = {}
    for place in job.parts.find(scattered.distinct_keys(), without=read_now):
        file = files.setdefault(place.path, _File(place.format, place.fingerprint))
        file.keys.update(dict.fromkeys(place.ordinals, place.key))
    missing: dict[bytes, str] = {}
    places = find_again(files, job.config)
    for path in [*places, *(files.keys() - places.keys())]:
        file = files[path]
        if is_stopping():
            break
        if path in places:
            _read_again(job, scattered, places[path], file)
        for key in file.keys.values():
            missing.setdefault(key, f"earlier parts of this trace were in {path}, and are not there any more")
    return missing


def _read_again(job: Job, scattered: Scattered, place: Place, file: _File) -> None:
    """Takes out of `file.keys` what is found; a file that is another one now holds nothing that could be trusted."""
    if fingerprint_or_gone(place) != file.fingerprint:
        return
    mapper = find_mapper(file.format)
    last = max(file.keys)
    try:
        max_bytes = job.config.source.max_record_bytes
        records = read_records(place, name=str(place), max_record_bytes=max_bytes)
        for record, _ in units_of(records, mapper):
            key = file.keys.get(record.ordinal)
            if key is not None and record.problem is None and mapper.piece_of is not None:
                try:
                    piece = mapper.piece_of(record.data)
                except (RejectedError, *DEFECTS):
                    continue
                if piece is not None and trace_key(mapper.name, piece.trace_id) == key:
                    scattered.add(piece, mapper, record, is_earlier=True)
                    del file.keys[record.ordinal]
            if record.ordinal >= last:
                break
    except UsageError:  # it went meanwhile
        return
