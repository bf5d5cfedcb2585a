"""What the files are that will be read: the format of each, told from its beginning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import RejectedError, UsageError
from pipeline.mappers import find_mapper
from pipeline.mappers.custom import custom_mapper
from pipeline.mappers.detect import detect_format, doubt
from pipeline.mappers.mapper import Mapper
from pipeline.models import Record
from pipeline.readers import read_records
from pipeline.readers.opening import Place
from pipeline.readers.places import mark_of
from pipeline.units import DEFECTS, mapper_of, units_of

SAMPLE_RECORDS = 50
SAMPLE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """A file that will be read: what it is, and how sure that is."""

    name: str
    place: Place
    size: int
    fingerprint: str
    mapper: Mapper | None
    """None: not recognised; `doubt` says why, and its records will be rejected with that."""
    doubt: str = ""
    is_scattered: bool = False
    """Its records are pieces of traces, and not all of them whole ones."""


def recognise(config: Config, places: Iterable[Place], *, is_any_done: bool = False) -> Iterator[Source]:
    """Decide the format of each file: as configured, or by looking at its beginning.

    Raises UsageError where not one of the files with records in them is recognised, and none was on an earlier night.
    """
    configured = _configured_mapper(config)
    doubts = []
    has_known = is_any_done
    for place in places:
        is_asked = configured is None or configured.piece_of is not None
        sample = _sample(place, config) if is_asked else []
        mapper, why_not = (configured, "") if configured is not None else _detect(sample)
        if mapper is None and why_not:
            doubts.append(f"{place}: {why_not}")
        has_known = has_known or mapper is not None
        mark = mark_of(place)
        size = int(mark.split(":")[0]) if isinstance(place, Path) else place.size
        yield Source(str(place), place, size, mark, mapper, why_not, _is_scattered(sample, mapper))
    if doubts and not has_known:
        raise UsageError("\n".join(doubts[:5]))


def _configured_mapper(config: Config) -> Mapper | None:
    if config.source.format == "auto":
        return None
    try:
        if config.source.format == "custom":
            return custom_mapper(config.mapping.trace)
        return find_mapper(config.source.format)
    except UsageError as error:
        raise UsageError(f"{config.origin}: {error}") from error


def _sample(place: Place, config: Config) -> list[Record]:
    """The first records of a file that can be read."""
    sample = []
    size = 0
    records = read_records(place, name=str(place), max_record_bytes=config.source.max_record_bytes)
    for record in islice(records, 10 * SAMPLE_RECORDS):
        size += len(record.raw)
        if record.problem is None:
            sample.append(record)
        if len(sample) >= SAMPLE_RECORDS or size >= SAMPLE_BYTES:
            break
    return sample


def _detect(sample: Sequence[Record]) -> tuple[Mapper | None, str]:
    if not sample:
        return None, ""  # nothing readable at its beginning: what cannot be read is rejected as such
    hinted = next((record.format for record in sample if record.format is not None), None)
    if hinted is not None and hinted != "custom":  # a rejects.jsonl: its lines say what they are
        return find_mapper(hinted), ""
    guess = detect_format([record.data for record in sample])
    return (guess.mapper, "") if guess.is_sure else (None, doubt(guess))


def _is_scattered(sample: Sequence[Record], mapper: Mapper | None) -> bool:
    """Is one of these records a piece of a trace, and no trace by itself?"""
    if mapper is None or mapper.piece_of is None:
        return False
    for record, _ in units_of(sample, mapper):
        own = mapper_of(record, mapper)
        try:
            piece = own.piece_of(record.data) if own is not None and own.piece_of is not None else None
        except (RejectedError, *DEFECTS):
            continue
        if piece is not None and not piece.is_whole:
            return True
    return False
