"""Which spans a session should have, and which of them the API shows. No requests are made here."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate

import orjson

from pipeline.models import TurnImport
from pipeline.prints import span_id
from pipeline.uploader.batches import SpanPlace, span_at
from pipeline.uploader.content_api import StoredSpan

MARKS_KEPT = 1_000
"""Turns whose spans are held by their marks."""
MOST_GENERATIONS = 8
"""How often a span may have been deleted and come back."""


class WantedSpans:
    """The spans that a session should have, and their ids there. Only what is unlike the rest is remembered."""

    def __init__(self, turn_ids: Sequence[str], turns: Sequence[TurnImport]) -> None:
        self.turns = turns
        self.turn_ids = turn_ids
        self._ids: dict[SpanPlace, str] = {}
        """Those that are not made of the turn and the span alone."""
        self._generations: dict[SpanPlace, int] = {}

    @cached_property
    def numbers(self) -> dict[str, int]:
        """By id of a turn, which one it is."""
        return {turn_id: number for number, turn_id in enumerate(self.turn_ids)}

    @cached_property
    def first_spans(self) -> array[int]:
        """By turn, how many spans come before it; and how many there are in all."""
        return array("Q", accumulate((len(turn.spans) for turn in self.turns), initial=0))

    def id(self, place: SpanPlace) -> str:
        """The one that it has there, or gets."""
        return self._ids.get(place) or span_id(self.turn_ids[place.turn], span_at(self.turns, place))

    def possible_ids(self, place: SpanPlace) -> Iterator[str]:
        """All that it can ever have got."""
        turn_id, span = self.turn_ids[place.turn], span_at(self.turns, place)
        return (span_id(turn_id, span, generation) for generation in range(MOST_GENERATIONS + 1))

    def has(self, place: SpanPlace, id: str) -> None:
        """It is there under this id."""
        if self.id(place) != id:
            self._ids[place] = id

    def renamed(self, sent_as: Mapping[SpanPlace, str], created: Sequence[StoredSpan]) -> list[SpanPlace]:
        """Those that were created, where the API gave ids of its own, which count from now on; else none."""
        if set(sent_as.values()).issuperset(span.id for span in created):
            return []
        seen = SeenSpans(self)
        seen.add(created)
        return [place for place in sent_as if place in seen]

    def renew(self, place: SpanPlace) -> bool:
        """Give it another id: a span that was deleted holds the one that it has. False: that was tried often enough."""
        generation = self._generations[place] = self._generations.get(place, 0) + 1
        self._ids[place] = span_id(self.turn_ids[place.turn], span_at(self.turns, place), generation)
        return generation <= MOST_GENERATIONS

    def parent(self, place: SpanPlace) -> SpanPlace | None:
        """Under which one it hangs."""
        parent = span_at(self.turns, place).parent
        return place._replace(span=parent) if parent is not None else None

    def body(self, place: SpanPlace, id: str) -> bytes:
        """As it is sent."""
        span, above = span_at(self.turns, place), self.parent(place)
        parent = b'"parentTraceId":%b,' % orjson.dumps(self.id(above)) if above is not None else b""
        turn_id = orjson.dumps(self.turn_ids[place.turn])
        return b'{"id":"%b","inferenceResultId":%b,%b%b' % (id.encode(), turn_id, parent, span.body[1:])


class SeenSpans:
    """Which of the wanted spans one look at the API has shown."""

    def __init__(self, wanted: WantedSpans) -> None:
        self._wanted = wanted
        self._turns, self._first = wanted.numbers, wanted.first_spans
        self._there = bytearray(self._first[-1])
        self._marks: dict[int, dict[str, int]] = {}
        """By turn, by mark, the place there; of the turns that were seen last."""
        self._possible_ids: dict[int, dict[str, int]] = {}
        """The same, by id."""
        self.surplus: dict[str, None] = {}
        """The ids of imported ones that should not be, or are there once more."""
        self._bare: dict[str, None] = {}
        """The ids of those of which nothing tells whose they are."""
        self._shows_marks = False
        self._parents: dict[SpanPlace, str] = {}
        """The ids that some name as their parent, where that has another, or was not seen before them."""

    def add(self, stored: Sequence[StoredSpan]) -> None:
        """Note a page of them. A span that stands on two pages, because the list changed in between, is one span."""
        for span in stored:
            self._shows_marks |= span.mark is not None
            place = self.place_of(span)
            if place is None:
                if span.mark is not None:
                    self.surplus[span.id] = None
                elif span.is_bare:
                    self._bare[span.id] = None
            elif place not in self:
                self._there[self._first[place.turn] + place.span] = True
                self._wanted.has(place, span.id)
                above = self._wanted.parent(place)
                is_sure = above is not None and above in self and span.parent_id == self._wanted.id(above)
                if span.parent_id is not None and not is_sure:
                    self._parents[place] = span.parent_id
            elif self._wanted.id(place) != span.id:
                self.surplus[span.id] = None

    def unknown(self) -> list[str]:
        """The ids of those that may be imported ones, where the list shows no marks."""
        return [] if self._shows_marks else list(self._bare)

    def misplaced(self) -> list[SpanPlace]:
        """Those that hang under another span than they should; to be asked when all pages are seen."""
        above = ((place, self._wanted.parent(place), parent_id) for place, parent_id in self._parents.items())
        return [place for place, parent, shown in above if parent is None or self._wanted.id(parent) != shown]

    def __contains__(self, place: SpanPlace) -> bool:
        return bool(self._there[self._first[place.turn] + place.span])

    def place_of(self, span: StoredSpan) -> SpanPlace | None:
        """By its mark; where the API does not show that, by an id that only this span can have got."""
        turn = self._turns.get(span.turn_id)
        if turn is None:
            return None
        spans = self._wanted.turns[turn].spans
        if len(self._marks) >= MARKS_KEPT or len(self._possible_ids) >= MARKS_KEPT:
            self._marks.clear()
            self._possible_ids.clear()
        if span.mark is None:
            if turn not in self._possible_ids:
                self._possible_ids[turn] = {
                    id: place for place in range(len(spans)) for id in self._wanted.possible_ids(SpanPlace(turn, place))
                }
            place = self._possible_ids[turn].get(span.id)
        else:
            if turn not in self._marks:
                self._marks[turn] = {one.seed.hex(): place for place, one in enumerate(spans)}
            place = self._marks[turn].get(span.mark)
        return SpanPlace(turn, place) if place is not None else None
