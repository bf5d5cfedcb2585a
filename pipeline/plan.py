"""What the files are that will be read: the format of each, told from its beginning."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.mappers import find_mapper, installed_mappers
from pipeline.mappers.custom import custom_mapper
from pipeline.mappers.detect import Guess, detect_format, doubt
from pipeline.mappers.mapper import Mapper
from pipeline.models import Record
from pipeline.readers import read_records
from pipeline.readers.opening import Place
from pipeline.readers.places import mark_of
from pipeline.units import LOST, mapper_of, units_of

log = logging.getLogger(__name__)
SAMPLE_RECORDS = 50
SAMPLE_BYTES = 1_000_000
NO_EXPORT = ("not_an_export", "unreadable")
"""Problems of a whole file: with nothing else among the sources, nothing can be imported."""
DOUBTED_FILES = 20
"""Of the files whose format is given, so many are looked at all the same: a wrong one may take them, and lose much."""


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
    confidence: float = 1.0
    reason: str = "as configured"
    """How sure the format is, and why."""


def recognise(config: Config, places: Iterable[Place], *, is_any_done: bool = False) -> Iterator[Source]:
    """Decide the format of each file: as configured, or by looking at its beginning.

    Raises UsageError where not one of the files with records in them is recognised, and none was on an earlier night.
    """
    configured = configured_mapper(config)
    mappers = installed_mappers() if configured is None else {}
    has_id_expression = config.source.format == "custom" and "id" in config.mapping.trace
    doubts = []
    has_known = is_any_done
    for number, place in enumerate(places):
        is_doubted = configured is not None and config.source.format != "custom" and number < DOUBTED_FILES
        is_asked = configured is None or configured.piece_of is not None or has_id_expression or is_doubted
        sample, no_export = _sample(place, config) if is_asked else ([], "")
        if configured is None:
            guess = _detect(sample, mappers.values())
        elif has_id_expression:
            guess = Guess(configured, *configured.detect([record.data for record in sample]))
        else:
            guess = Guess(configured, 1.0, "as configured")
            if is_doubted:
                _warn_of_another_format(place, sample, configured)
        mapper = guess.mapper if guess.is_sure else None
        why_not = "" if guess.is_sure or not sample else guess.reason if has_id_expression else doubt(guess)
        if mapper is None and (why_not or no_export):
            doubts.append(f"{place}: {why_not or no_export}")
        has_known = has_known or mapper is not None
        mark = mark_of(place)
        yield Source(
            str(place),
            place,
            int(mark.split(":")[0]) if isinstance(place, Path) else place.size,
            mark,
            mapper,
            why_not,
            _is_scattered(sample, mapper),
            guess.confidence,
            guess.reason,
        )
    if doubts and not has_known:
        raise UsageError("\n".join(doubts[:5]))


def _warn_of_another_format(place: Place, sample: Sequence[Record], configured: Mapper) -> None:
    data = [record.data for record in sample]
    guess = detect_format(data, installed_mappers().values())
    seems = guess.mapper.name if guess.mapper is not None and guess.is_sure else configured.name
    if seems != configured.name and configured.detect(data).confidence < guess.confidence:
        log.warning(
            "another_format: %s looks like %s (%.2g: %s), and is read as %s, as configured",
            *(place, seems, guess.confidence, guess.reason, configured.name),
        )


def configured_mapper(config: Config) -> Mapper | None:
    """The mapper that `source.format` names; None: each file is asked. Raises UsageError."""
    if config.source.format == "auto":
        return None
    try:
        if config.source.format == "custom":
            return custom_mapper(config.mapping.trace)
        return find_mapper(config.source.format)
    except UsageError as error:
        raise UsageError(f"{config.origin}: {error}") from error


def _sample(place: Place, config: Config) -> tuple[list[Record], str]:
    """The first records of a file that can be read; and what it is, where it is no export at all."""
    sample = []
    no_export = ""
    size = 0
    records = read_records(place, name=str(place), max_record_bytes=config.source.max_record_bytes)
    for record in islice(records, 10 * SAMPLE_RECORDS):
        size += len(record.raw)
        if record.problem is None:
            sample.append(record)
        elif record.problem.kind in NO_EXPORT:
            no_export = record.problem.error
        if len(sample) >= SAMPLE_RECORDS or size >= SAMPLE_BYTES:
            break
    return sample, no_export


def _detect(sample: Sequence[Record], mappers: Iterable[Mapper]) -> Guess:
    hinted = next((record.format for record in sample if record.format is not None), None)
    if hinted is not None and hinted != "custom":  # a rejects.jsonl: its lines say what they are
        return Guess(find_mapper(hinted), 1.0, "its lines name the format")
    return detect_format([record.data for record in sample], mappers)  # what cannot be read at all is rejected as such


def _is_scattered(sample: Sequence[Record], mapper: Mapper | None) -> bool:
    """Is one of these records a piece of a trace, and no trace by itself?"""
    if mapper is None or mapper.piece_of is None:
        return False
    for record, _ in units_of(sample, mapper):
        own = mapper_of(record, mapper)
        if own is None or own.piece_of is None:
            continue
        try:
            if own.piece_of(record.data) is not None and not own.is_whole(record.data):
                return True
        except LOST:
            continue
    return False
