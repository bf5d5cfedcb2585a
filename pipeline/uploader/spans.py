"""The spans of a session's turns. Each carries a mark, made of what it says, by which it is known again there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TypeAlias

import orjson

from pipeline.clock import Clock
from pipeline.config import UploadConfig
from pipeline.errors import AmbiguousError, RejectedError
from pipeline.models import Content, TurnImport
from pipeline.prints import SAID_BYTES, spans_sha256
from pipeline.uploader.attempts import TOO_LARGE, Attempts
from pipeline.uploader.batches import MAX_BATCH_SPANS, SpanPlace, all_spans, span_at, span_batches
from pipeline.uploader.client import MAX_IDS_PER_QUERY, is_gone
from pipeline.uploader.content_api import AnsweredSpans, ContentApi, RefusedSpan, StoredSpan
from pipeline.uploader.journey import Journey
from pipeline.uploader.pages import Page, all_pages
from pipeline.uploader.showing import shows_until
from pipeline.uploader.standing import Standing
from pipeline.uploader.wanted_spans import SeenSpans, WantedSpans

REFUSED_SHOWN = 10
"""Spans that a reject names."""
MANY_TURNS = 100
"""With more, a look for a few of its spans does not read all of them."""


_ReadSpans: TypeAlias = Callable[..., Awaitable[Page[StoredSpan]]]


class Spans:
    """Brings the spans that a session lacks, and takes away those of ours that it should no longer have."""

    def __init__(self, api: ContentApi, attempts: Attempts, config: UploadConfig, clock: Clock) -> None:
        self._api = api
        self._attempts = attempts
        self._config = config
        self._clock = clock
        self._most = MAX_BATCH_SPANS
        """In one request; fewer, once the API has found one too long."""
        self._gives_ids = False
        """Has the API given spans ids of its own? Then one is sent when the id of its parent is known."""

    async def bring(
        self, journey: Journey, session_id: str, turn_ids: Sequence[str], standing: Standing | None
    ) -> None:
        """Spans follow when all turns are there: `turn_ids`. Raises TransientError where the attempts are used up."""
        content = journey.send.session.content
        assert content is not None
        wanted = WantedSpans(turn_ids, content.turns)
        later = await self._missing_at_first(journey, session_id, wanted, content, standing)
        missing: list[SpanPlace] = []
        """The next ones; `later` has the rest."""
        refused = _Refusals()
        doubtful: set[SpanPlace] = set()
        """Those that may have been stored without a word."""
        while True:
            missing += islice(later, max(MAX_BATCH_SPANS - len(missing), 0))
            if not missing:
                break
            batch = next(span_batches(content.turns, self._ready(missing, wanted)))[: self._most]
            sent_as = {place: wanted.id(place) for place in batch}
            create = partial(self._api.create_spans, [wanted.body(place, id) for place, id in sent_as.items()])
            try:
                created, answers = await self._attempts.until_known(journey, create)
            except AmbiguousError as error:
                doubtful.update(batch)
                left = await self._missing(journey, session_id, wanted, batch, self._lookup_until())
                journey.is_doubtful = False
                misplaced = await self._misplaced(journey, wanted, sent_as, _without(batch, left))
                missing = [*misplaced, *left, *_without(missing, batch)]
                if len(left) == len(batch):
                    if self._attempts.is_used_up(journey):
                        raise
                    await self._attempts.wait(journey, error)
                continue
            except RejectedError as error:  # all of them
                if error.status == TOO_LARGE and len(batch) > 1:
                    self._most = len(batch) // 2
                    continue
                created, answers = AnsweredSpans([], [RefusedSpan(place, str(error)) for place in range(len(batch))])
            misplaced = await self._misplaced(journey, wanted, sent_as, wanted.renamed(sent_as, created))
            missing = [*misplaced, *_without(missing, batch)]
            journey.begin_step()
            journey.has_stored_spans |= len(answers) < len(batch)
            if answers:
                reasons = {batch[answer.place]: answer.reason for answer in answers if answer.place < len(batch)}
                until = self._lookup_until() if doubtful & reasons.keys() else self._clock.now()
                again = await self._sort_out(journey, session_id, wanted, reasons, until)
                missing = [*again, *missing]
                refused.add(reasons, content.turns)
        journey.refused_spans = refused.told() or journey.refused_spans
        if refused.count and not journey.has_stored_spans:
            journey.refused_all_spans = refused.first_reason

    async def _sort_out(
        self,
        journey: Journey,
        session_id: str,
        wanted: WantedSpans,
        reasons: dict[SpanPlace, str],
        until: float,
    ) -> list[SpanPlace]:
        """Those that are to be sent once more, under another id; of the reasons those are left that are refusals."""
        # One that was sent before is refused as being there; so is one whose id a deleted span holds.
        lacking = await self._missing(journey, session_id, wanted, list(reasons), until)
        again: list[SpanPlace] = []
        refused: list[SpanPlace] = []
        for place in lacking:
            if not _is_taken(reasons[place]):
                refused.append(place)
            elif not await self._is_there(journey, wanted, place):
                (again if wanted.renew(place) else refused).append(place)
        for place in reasons.keys() - set(refused):
            del reasons[place]
        return again

    def _ready(self, missing: Sequence[SpanPlace], wanted: WantedSpans) -> Iterable[SpanPlace]:
        """Those that can be sent now: a parent comes before its children."""
        waiting = set(missing) if self._gives_ids else ()
        return (place for place in missing if wanted.parent(place) not in waiting) if waiting else missing

    async def _misplaced(
        self, journey: Journey, wanted: WantedSpans, sent_as: Mapping[SpanPlace, str], stored: Iterable[SpanPlace]
    ) -> list[SpanPlace]:
        """Those that name their parent by the id that it was sent with, and has not got: taken away, to go again."""
        misplaced = []
        for place in stored:
            self._gives_ids |= wanted.id(place) != sent_as[place]
            parent = wanted.parent(place)
            if parent is not None and parent in sent_as and wanted.id(parent) != sent_as[parent]:
                misplaced.append(place)
                await self._delete(journey, wanted.id(place))
        return misplaced

    async def _delete(self, journey: Journey, span_id: str) -> None:
        try:
            await self._attempts.ask(journey, partial(self._api.delete_span, span_id))
        except RejectedError as error:
            if not is_gone(error):
                raise

    async def _missing_at_first(
        self, journey: Journey, session_id: str, wanted: WantedSpans, content: Content, standing: Standing | None
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
        again: list[SpanPlace] = []
        if journey.send.state != "existing":
            again = seen.misplaced()
            for span_id in seen.unknown():
                span = await self._attempts.ask(journey, partial(self._api.span, span_id))
                if span is not None and span.mark is not None:
                    seen.surplus[span_id] = None
            for span_id in [*seen.surplus, *(wanted.id(place) for place in again)]:
                await self._delete(journey, span_id)
        left_out = frozenset(again)
        return (place for place in all_spans(turns) if place not in seen or place in left_out)

    async def _missing(
        self, journey: Journey, session_id: str, wanted: WantedSpans, places: Sequence[SpanPlace], until: float
    ) -> list[SpanPlace]:
        """Which of these the API does not show by then."""
        seen = await self._look(journey, session_id, wanted, places, until)
        return [place for place in places if place not in seen]

    async def _look(
        self, journey: Journey, session_id: str, wanted: WantedSpans, places: Sequence[SpanPlace] | None, until: float
    ) -> SeenSpans:
        """What the API shows once these are there, or all of them (None), or the time is over."""
        times = 0
        while True:
            seen = SeenSpans(wanted)
            for question, enough in self._questions(session_id, wanted, places):

                async def page(offset: int, ask: _ReadSpans = question) -> Page[StoredSpan]:
                    return await self._attempts.ask(journey, partial(ask, offset=offset))

                async for found in all_pages(page, self._api.spans_page, enough=enough):
                    seen.add(found)
            left = until - self._clock.now()
            if left <= 0 or all(place in seen for place in (all_spans(wanted.turns) if places is None else places)):
                return seen
            await self._attempts.pause(times, left)
            times += 1

    def _questions(
        self, session_id: str, wanted: WantedSpans, places: Sequence[SpanPlace] | None
    ) -> Iterator[tuple[_ReadSpans, int]]:
        """That show these, with how many rows there should be; of a session with many turns by turn."""
        if places is None or len(wanted.turns) <= MANY_TURNS:
            yield partial(self._api.spans, [session_id]), wanted.first_spans[-1]
            return
        numbers = list(dict.fromkeys(place.turn for place in places))
        for start in range(0, len(numbers), MAX_IDS_PER_QUERY):
            some = numbers[start : start + MAX_IDS_PER_QUERY]
            question = partial(self._api.spans_of_turns, [wanted.turn_ids[number] for number in some])
            yield question, sum([len(wanted.turns[number].spans) for number in some])

    async def _is_there(self, journey: Journey, wanted: WantedSpans, place: SpanPlace) -> bool:
        """Does the API know it by its id, though no list shows it yet?"""
        found = await self._attempts.ask(journey, partial(self._api.span, wanted.id(place)))
        return found is not None and found.turn_id == wanted.turn_ids[place.turn]

    def _lookup_until(self) -> float:
        return self._clock.now() + self._config.lookup_seconds


def _without(places: Iterable[SpanPlace], others: Iterable[SpanPlace]) -> Iterator[SpanPlace]:
    """These places, and none of those."""
    left_out = set(others)
    return (place for place in places if place not in left_out)


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
