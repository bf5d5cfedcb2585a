"""The spans of a session's turns. Each carries a mark, made of what it says, by which it is known again there."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import accumulate, islice
from typing import TypeAlias

import orjson

from pipeline.clock import Clock
from pipeline.config import UploadConfig
from pipeline.errors import AmbiguousError, RejectedError
from pipeline.models import Content, TurnImport
from pipeline.prints import SAID_BYTES, span_id, spans_sha256
from pipeline.uploader.attempts import TOO_LARGE, Attempts
from pipeline.uploader.batches import MAX_BATCH_SPANS, SpanPlace, all_spans, span_at, span_batches
from pipeline.uploader.client import MAX_IDS_PER_QUERY, is_gone
from pipeline.uploader.content_api import ContentApi, RefusedSpan, StoredSpan
from pipeline.uploader.journey import Journey
from pipeline.uploader.pages import all_pages
from pipeline.uploader.showing import shows_until
from pipeline.uploader.standing import Standing

REFUSED_SHOWN = 10
"""Spans that a reject names."""
MARKS_KEPT = 1_000
"""Turns whose spans are held by their marks."""
MANY_TURNS = 100
"""With more, a look for a few of its spans does not read all of them."""
MOST_GENERATIONS = 8
"""How often a span may have been deleted and come back."""


_Question: TypeAlias = Callable[..., Awaitable[list[StoredSpan]]]


class _Wanted:
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

    def renew(self, place: SpanPlace) -> bool:
        """Give it another id: a span that was deleted holds the one that it has. False: that was tried often enough."""
        generation = self._generations[place] = self._generations.get(place, 0) + 1
        self._ids[place] = span_id(self.turn_ids[place.turn], span_at(self.turns, place), generation)
        return generation <= MOST_GENERATIONS

    def body(self, place: SpanPlace) -> bytes:
        """As it is sent."""
        span = span_at(self.turns, place)
        parent = b""
        if span.parent is not None:
            parent = b'"parentTraceId":%b,' % orjson.dumps(self.id(place._replace(span=span.parent)))
        turn_id = orjson.dumps(self.turn_ids[place.turn])
        return b'{"id":"%b","inferenceResultId":%b,%b%b' % (self.id(place).encode(), turn_id, parent, span.body[1:])


class _Seen:
    """Which of the wanted spans one look at the API has shown."""

    def __init__(self, wanted: _Wanted) -> None:
        self._wanted = wanted
        self._turns, self._first = wanted.numbers, wanted.first_spans
        self._there = bytearray(self._first[-1])
        self._marks: dict[int, dict[str, int]] = {}
        """By turn, by mark, the place there; of the turns that were seen last."""
        self._possible_ids: dict[int, dict[str, int]] = {}
        """The same, by id."""
        self.surplus: dict[str, None] = {}
        """The ids of imported ones that should not be, or are there once more."""

    def add(self, stored: Sequence[StoredSpan]) -> None:
        """Note a page of them. A span that stands on two pages, because the list changed in between, is one span."""
        for span in stored:
            place = self._place_of(span)
            if place is None:
                if span.mark is not None:
                    self.surplus[span.id] = None
            elif place not in self:
                self._there[self._first[place.turn] + place.span] = True
                self._wanted.has(place, span.id)
            elif self._wanted.id(place) != span.id:
                self.surplus[span.id] = None

    def __contains__(self, place: SpanPlace) -> bool:
        return bool(self._there[self._first[place.turn] + place.span])

    def _place_of(self, span: StoredSpan) -> SpanPlace | None:
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


class Spans:
    """Brings the spans that a session lacks, and takes away those of ours that it should no longer have."""

    def __init__(self, api: ContentApi, attempts: Attempts, config: UploadConfig, clock: Clock) -> None:
        self._api = api
        self._attempts = attempts
        self._config = config
        self._clock = clock
        self._most = MAX_BATCH_SPANS
        """In one request; fewer, once the API has found one too long."""

    async def bring(
        self, journey: Journey, session_id: str, turn_ids: Sequence[str], standing: Standing | None
    ) -> None:
        """Spans follow when all turns are there: `turn_ids`. Raises TransientError where the attempts are used up."""
        content = journey.send.session.content
        assert content is not None
        wanted = _Wanted(turn_ids, content.turns)
        later = await self._missing_at_first(journey, session_id, wanted, content, standing)
        missing: list[SpanPlace] = []
        """The next ones; `later` has the rest."""
        refused = _Refusals()
        was_doubtful = False
        while True:
            missing += islice(later, max(MAX_BATCH_SPANS - len(missing), 0))
            if not missing:
                break
            batch = next(span_batches(content.turns, missing))[: self._most]
            create = partial(self._api.create_spans, [wanted.body(place) for place in batch])
            try:
                answers = await self._attempts.until_known(journey, create)
            except AmbiguousError as error:
                was_doubtful = True
                left = await self._missing(journey, session_id, wanted, batch, self._lookup_until())
                journey.is_doubtful = False
                missing = [*left, *missing[len(batch) :]]
                if len(left) == len(batch):
                    if self._attempts.is_used_up(journey):
                        raise
                    await self._attempts.wait(journey, error)
                continue
            except RejectedError as error:  # all of them
                if error.status == TOO_LARGE and len(batch) > 1:
                    self._most = len(batch) // 2
                    continue
                answers = [RefusedSpan(place, str(error)) for place in range(len(batch))]
            missing = missing[len(batch) :]
            journey.begin_step()
            journey.has_stored_spans |= len(answers) < len(batch)
            if answers:
                reasons = {batch[answer.place]: answer.reason for answer in answers if answer.place < len(batch)}
                # One that was sent before is refused as being there; so is one whose id a deleted span holds.
                until = self._lookup_until() if was_doubtful else self._clock.now()
                lacking = await self._missing(journey, session_id, wanted, list(reasons), until)
                taken = [place for place in lacking if _is_taken(reasons[place])]
                there = {place for place in taken if await self._is_there(journey, wanted, place)}
                lacking = [place for place in lacking if place not in there]
                again = [place for place in taken if place not in there and wanted.renew(place)]
                missing = [*again, *missing]
                refused.add({place: reasons[place] for place in lacking if place not in again}, content.turns)
        journey.refused_spans = refused.told() or journey.refused_spans
        if refused.count and not journey.has_stored_spans:
            journey.refused_all_spans = refused.first_reason

    async def _missing_at_first(
        self, journey: Journey, session_id: str, wanted: _Wanted, content: Content, standing: Standing | None
    ) -> Iterator[SpanPlace]:
        before, turns = journey.send.before, content.turns
        if standing is None or not standing.ids:
            return all_spans(turns)
        is_settled = before.spans_sha256 is not None
        if not is_settled and len(standing.ids) < len(turns):
            return all_spans(turns)  # nobody sends spans while turns are missing
        known = min(before.turns, len(standing.ids))
        is_as_before = (
            is_settled
            and not before.is_changing
            and standing.prints[: SAID_BYTES * known] == before.said[: SAID_BYTES * known]
            and before.spans_sha256 == spans_sha256(turns, known)
        )
        if is_as_before and known:
            return all_spans(turns, known)
        until = shows_until(journey, self._config, self._clock)
        seen = await self._look(journey, session_id, wanted, None, until)
        for span in seen.surplus if journey.send.state != "existing" else ():
            try:
                await self._attempts.ask(journey, partial(self._api.delete_span, span))
            except RejectedError as error:
                if not is_gone(error):
                    raise
        return (place for place in all_spans(turns) if place not in seen)

    async def _missing(
        self, journey: Journey, session_id: str, wanted: _Wanted, places: Sequence[SpanPlace], until: float
    ) -> list[SpanPlace]:
        """Which of these the API does not show by then."""
        seen = await self._look(journey, session_id, wanted, places, until)
        return [place for place in places if place not in seen]

    async def _look(
        self, journey: Journey, session_id: str, wanted: _Wanted, places: Sequence[SpanPlace] | None, until: float
    ) -> _Seen:
        """What the API shows once these are there, or all of them (None), or the time is over."""
        times = 0
        while True:
            seen = _Seen(wanted)
            for question, enough in self._questions(session_id, wanted, places):

                async def page(offset: int, ask: _Question = question) -> list[StoredSpan]:
                    return await self._attempts.ask(journey, partial(ask, offset=offset))

                async for found in all_pages(page, self._api.spans_page, enough=enough):
                    seen.add(found)
            left = until - self._clock.now()
            if left <= 0 or all(place in seen for place in (all_spans(wanted.turns) if places is None else places)):
                return seen
            await self._attempts.pause(times, left)
            times += 1

    def _questions(
        self, session_id: str, wanted: _Wanted, places: Sequence[SpanPlace] | None
    ) -> Iterator[tuple[_Question, int]]:
        """That show these, with how many rows there should be; of a session with many turns by turn."""
        if places is None or len(wanted.turns) <= MANY_TURNS:
            yield partial(self._api.spans, [session_id]), wanted.first_spans[-1]
            return
        numbers = list(dict.fromkeys(place.turn for place in places))
        for start in range(0, len(numbers), MAX_IDS_PER_QUERY):
            some = numbers[start : start + MAX_IDS_PER_QUERY]
            question = partial(self._api.spans_of_turns, [wanted.turn_ids[number] for number in some])
            yield question, sum([len(wanted.turns[number].spans) for number in some])

    async def _is_there(self, journey: Journey, wanted: _Wanted, place: SpanPlace) -> bool:
        """Does the API know it by its id, though no list shows it yet?"""
        span, turn = wanted.id(place), wanted.turn_ids[place.turn]
        return await self._attempts.ask(journey, partial(self._api.has_span, span, turn))

    def _lookup_until(self) -> float:
        return self._clock.now() + self._config.lookup_seconds


def _is_taken(reason: str) -> bool:
    """Does the API say that the id is there already? (Its words are unknown: api-contract 11.9.)"""
    lowered = reason.lower()
    return "exist" in lowered or "same id" in lowered or "duplicate" in lowered or "unique" in lowered


class _Refusals:
    """How many spans were refused, and the first of them in words."""

    def __init__(self) -> None:
        self.count = 0
        self.first_reason: str | None = None
        self._shown: list[str] = []

    def add(self, refused: Mapping[SpanPlace, str], turns: Sequence[TurnImport]) -> None:
        """These too, each with the reason."""
        for place, reason in list(refused.items())[: max(REFUSED_SHOWN - self.count, 0)]:
            name = orjson.loads(span_at(turns, place).body)["name"]
            self._shown.append(f"span {name!r} of turn {place.turn + 1}: {reason}")
        self.count += len(refused)
        self.first_reason = self.first_reason or next(iter(refused.values()), None)

    def told(self) -> str | None:
        """In a sentence; None: there was none."""
        if not self.count:
            return None
        more = f"; and {self.count - REFUSED_SHOWN} more" if self.count > REFUSED_SHOWN else ""
        return f"{self.count} spans were refused, all else is there: {'; '.join(self._shown)}{more}"
