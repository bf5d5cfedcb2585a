"""The records of a file as the units that are counted: a line or document that holds several is cut into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from pipeline import json_text
from pipeline.errors import RejectedError
from pipeline.mappers import MAPPERS
from pipeline.mappers.mapper import Mapper
from pipeline.models import Problem, Record

DEFECTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a mapper that somebody else wrote may raise by mistake: that record is lost for now, not the run."""
LOST = (RejectedError, *DEFECTS)
"""What makes a record a reject."""


def mapper_of(record: Record, mapper: Mapper | None) -> Mapper | None:
    """The one that the record asks for (a line of a rejects.jsonl does), else that of its file."""
    return MAPPERS.get(record.format, mapper) if record.format is not None else mapper


def units_of(records: Iterable[Record], mapper: Mapper | None) -> Iterator[tuple[Record, bool]]:
    """Each unit, numbered anew, and whether it can be a trace at all: a record that holds none stays one unit."""
    ordinal = 0
    for record in records:
        own = mapper if record.format is None else mapper_of(record, mapper)
        if own is None or own.split is None or record.problem is not None:
            ordinal += 1
            yield record if record.ordinal == ordinal else replace(record, ordinal=ordinal), True
            continue
        data, count = record.data, 0
        try:
            for place, value in own.split(data):
                count += 1
                ordinal += 1
                if value is not data:
                    yield _cut_out(record, ordinal, place, value, is_first=count == 1), True
                else:
                    yield record if record.ordinal == ordinal else replace(record, ordinal=ordinal), True
        except RejectedError as error:
            why = Problem(error.kind, str(error))
        except DEFECTS as error:
            text = f"the mapper {own.name} failed to take it apart ({type(error).__name__}); please report this"
            why = Problem("mapper_failed", text)
        else:
            if not count:
                ordinal += 1
                yield replace(record, ordinal=ordinal), False
            continue
        ordinal += 1
        rest = record if not count else replace(record, position=f"{record.position}, after {count}")
        yield replace(rest, ordinal=ordinal, problem=why, format=own.name), True


def _cut_out(record: Record, ordinal: int, place: str, value: object, *, is_first: bool) -> Record:
    return replace(
        record,
        ordinal=ordinal,
        position=f"{record.position}, {place}" if place else record.position,
        data=value,
        raw=json_text.encode(value),
        repairs=record.repairs if is_first else json_text.NO_REPAIRS,
    )
