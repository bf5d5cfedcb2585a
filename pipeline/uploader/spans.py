"""The spans of a session's turns. Each carries a mark, made of what it says, by which it is known again there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import orjson

from pipeline.clock import Clock
from pipeline.config import UploadConfig
from pipeline.errors import AmbiguousError, RejectedError
from pipeline.models import Content, TurnImport
from pipeline.prints import span_id, spans_sha256
from pipeline.uploader.attempts import TOO_LARGE, Attempts
from pipeline.uploader.batches import MAX_BATCH_SPANS, SpanPlace, all_spans, span_at, span_batches
from pipeline.uploader.client import is_gone
from pipeline.uploader.content_api import ContentApi, RefusedSpan, StoredSpan
from pipeline.uploader.journey import Journey
from pipeline.uploader.pages import all_rows
from pipeline.uploader.showing import pause_seconds, shows_until
from pipeline.uploader.standing import Standing

REFUSED_SHOWN = 10
"""Spans that a reject names."""
MOST_GENERATIONS = 8
"""How often a span may have been deleted and come back."""


class _Wanted:
    """The spans that a session should have, their ids there, and which are seen."""

    def __init__(self, turn_ids: Sequence[str], turns: Sequence[TurnImport]) -> None:
        self.turns = turns
        self.turn_ids = turn_ids
        self.ids: dict[SpanPlace, str] = {}
        self.generations: dict[SpanPlace, int] = {}
        self._by_mark: dict[tuple[str, str], SpanPlace] = {}
        self._by_id: dict[str, SpanPlace] | None = None
        for place in all_spans(turns):
            span = span_at(turns, place)
            self.ids[place] = span_id(turn_ids[place.turn], span)
            self._by_mark[turn_ids[place.turn], span.seed.hex()] = place

    def see(self, stored: Sequence[StoredSpan]) -> tuple[set[SpanPlace], list[str]]:
        """Which of them are there, and the ids of imported ones that should not be, or are there once more."""
        there: set[SpanPlace] = set()
        surplus = []
        for span in stored:
            place = self._place_of(span)
            if place is not None and place not in there:
                there.add(place)
                self.ids[place] = span.id
            elif span.mark is not None:
                surplus.append(span.id)
        return there, surplus

    def _place_of(self, span: StoredSpan) -> SpanPlace | None:
        """By its mark; where the API does not show that, by an id that only this span can have got."""
        if span.mark is not None:
            return self._by_mark.get((span.turn_id, span.mark))
        if self._by_id is None:
            self._by_id = {
                span_id(self.turn_ids[place.turn], span_at(self.turns, place), generation): place
                for place in self.ids
                for generation in range(MOST_GENERATIONS + 1)
            }
        return self._by_id.get(span.id)

    def renew(self, place: SpanPlace) -> bool:
        """Give it another id: a span that was deleted holds the one that it has. False: that was tried often enough."""
        generation = self.generations[place] = self.generations.get(place, 0) + 1
        self.ids[place] = span_id(self.turn_ids[place.turn], span_at(self.turns, place), generation)
        return generation <= MOST_GENERATIONS

    def body(self, place: SpanPlace) -> bytes:
        """As it is sent."""
        span = span_at(self.turns, place)
        parent = b""
        if span.parent is not None:
            parent = b'"parentTraceId":%b,' % orjson.dumps(self.ids[place._replace(span=span.parent)])
        turn_id = orjson.dumps(self.turn_ids[place.turn])
        return b'{"id":"%b","inferenceResultId":%b,%b%b' % (self.ids[place].encode(), turn_id, parent, span.body[1:])


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
        missing = await self._missing_at_first(journey, session_id, wanted, content, standing)
        refused: dict[SpanPlace, str] = {}
        was_doubtful = False
        while missing:
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
                refused |= {place: reasons[place] for place in lacking if place not in again}
        if refused:
            journey.refused_spans = _told(refused, content.turns)
            if len(refused) == len(wanted.ids):
                journey.refused_all_spans = next(iter(refused.values()))

    async def _missing_at_first(
        self, journey: Journey, session_id: str, wanted: _Wanted, content: Content, standing: Standing | None
    ) -> list[SpanPlace]:
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
            and standing.prints[:known] == before.said[:known]
            and before.spans_sha256 == spans_sha256(turns[:known])
        )
        if is_as_before and known:
            return all_spans(turns, known)
        until = shows_until(journey, self._config, self._clock)
        return await self._missing(
            journey, session_id, wanted, all_spans(turns), until, clears=journey.send.state != "existing"
        )

    async def _missing(
        self,
        journey: Journey,
        session_id: str,
        wanted: _Wanted,
        places: Sequence[SpanPlace],
        until: float,
        *,
        clears: bool = False,
    ) -> list[SpanPlace]:
        """Which of these the API does not show by then. `clears`: ours that should not be there are deleted."""

        async def page(offset: int) -> list[StoredSpan]:
            return await self._attempts.ask(journey, lambda: self._api.spans([session_id], offset=offset))

        times = 0
        while True:
            stored = await all_rows(page, self._api.spans_page, enough=len(wanted.ids))
            there, surplus = wanted.see(stored)
            missing = [place for place in places if place not in there]
            left = until - self._clock.now()
            if not missing or left <= 0:
                break
            await self._clock.sleep(pause_seconds(times, left))
            times += 1
        for span in surplus if clears else ():
            try:
                await self._attempts.ask(journey, partial(self._api.delete_span, span))
            except RejectedError as error:
                if not is_gone(error):
                    raise
        return missing

    async def _is_there(self, journey: Journey, wanted: _Wanted, place: SpanPlace) -> bool:
        """Does the API know it by its id, though no list shows it yet?"""
        span, turn = wanted.ids[place], wanted.turn_ids[place.turn]
        return await self._attempts.ask(journey, partial(self._api.has_span, span, turn))

    def _lookup_until(self) -> float:
        return self._clock.now() + self._config.lookup_seconds


def _is_taken(reason: str) -> bool:
    """Does the API say that the id is there already? (Its words are unknown: api-contract 11.9.)"""
    lowered = reason.lower()
    return "exist" in lowered or "same id" in lowered or "duplicate" in lowered or "unique" in lowered


def _told(refused: dict[SpanPlace, str], turns: Sequence[TurnImport]) -> str:
    shown = [
        f"span {orjson.loads(span_at(turns, place).body)['name']!r} of turn {place.turn + 1}: {reason}"
        for place, reason in list(refused.items())[:REFUSED_SHOWN]
    ]
    more = f"; and {len(refused) - REFUSED_SHOWN} more" if len(refused) > REFUSED_SHOWN else ""
    return f"{len(refused)} spans were refused, all else is there: {'; '.join(shown)}{more}"
