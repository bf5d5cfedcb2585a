"""How turns and spans are put into requests. Pure functions: a plan foretells the requests with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pipeline.models import Content, SpanImport, TurnImport

MAX_BATCH_TURNS = 50
"""100 messages, recommended at most (api-contract 4.2); cut between pairs."""
MAX_BATCH_SPANS = 100
"""As Galtea's SDK does; the API's own limit is unknown (api-contract 11.9)."""
MAX_BATCH_BYTES = 4_194_304
"""Of turns or spans in one request, unless one alone is longer; the API's limit is unknown (api-contract 11.2)."""
CHECKED_TOGETHER = 20
"""Sessions whose turns are counted with one question,"""
MAX_CHECKED_TURNS = 25
"""unless they have more of them: one with more is asked about alone."""
ID_BYTES = 120
"""What the ids add to a span."""


class SpanPlace(NamedTuple):
    """A span: which turn's, and which one there."""

    turn: int
    span: int


def next_turns(turns: Sequence[TurnImport], first: int) -> int:
    """How many turns from `first` on go into one request: several only as messages of a batch."""
    count = size = 0
    for turn in turns[first : first + MAX_BATCH_TURNS]:
        size += len(turn.messages or b"")
        if turn.messages is None or (count and size > MAX_BATCH_BYTES):
            break
        count += 1
    return max(count, 1)


def span_batches(turns: Sequence[TurnImport], places: Iterable[SpanPlace]) -> Iterator[list[SpanPlace]]:
    """These spans, request by request; several turns may share one."""
    batch: list[SpanPlace] = []
    size = 0
    for place in places:
        length = len(span_at(turns, place).body) + ID_BYTES
        if batch and (len(batch) == MAX_BATCH_SPANS or size + length > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += length
    if batch:
        yield batch


def span_at(turns: Sequence[TurnImport], place: SpanPlace) -> SpanImport:
    """The span at this place."""
    return turns[place.turn].spans[place.span]


def all_spans(turns: Sequence[TurnImport], first_turn: int = 0) -> list[SpanPlace]:
    """The places of all spans, from a turn on."""
    return [
        SpanPlace(number, place)
        for number, turn in enumerate(turns[first_turn:], first_turn)
        for place in range(len(turn.spans))
    ]


def requests_of(content: Content, first_turn: int = 0) -> int:
    """How many requests bring these turns from `first_turn` on, with their spans; without questions and end."""
    count = 0
    place = first_turn
    while place < len(content.turns):
        place += next_turns(content.turns, place)
        count += 1
    return count + sum(1 for _ in span_batches(content.turns, all_spans(content.turns, first_turn)))
