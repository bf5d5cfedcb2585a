"""What a session holds: its turns in order, their spans, its end. Sent once, though none of it has a key.

A turn is sent again only after the stored ones were read and it was not among them, for as long as a write may take to
show (upload.lookup_seconds). Spans have ids of ours, made of what they say, so that the same is true of them without
comparing more than these.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import orjson

from pipeline.clock import Clock
from pipeline.config import UploadConfig
from pipeline.errors import AmbiguousError, RefusedError, RejectedError, TraceImportError, TransientError
from pipeline.models import Content, TurnImport
from pipeline.prints import FIGURES, span_ids, spans_sha256
from pipeline.uploader.attempts import Attempts
from pipeline.uploader.batches import (
    MAX_BATCH_SPANS,
    MAX_BATCH_TURNS,
    SPANS_PAGE,
    TURNS_PAGE,
    SpanPlace,
    all_spans,
    next_turns,
    span_at,
    span_batches,
)
from pipeline.uploader.checks import Checks
from pipeline.uploader.client import Client, StoredSession, is_gone
from pipeline.uploader.content_api import CLOSED, ContentApi, RefusedSpan, StoredTurn
from pipeline.uploader.journey import Journey
from pipeline.uploader.retry import backoff_seconds
from pipeline.uploader.standing import Standing, standing_of

REOPENS = "REOPEN_AND_REEVALUATE"
"""The policy of a product whose closed sessions open by themselves when a turn comes (api-contract 2.5)."""
CONFLICT, TOO_LARGE = 409, 413
CLEARED = ("actualOutput", "retrievalContext", *(name for name in FIGURES if name != "status"))
"""What an older state of a turn may have said, and the newer one no longer does."""
REFUSED_SHOWN = 10
"""Spans that a reject names."""
MAX_REPAIRS = 3
"""How often turns that the API stored and does not show are sent anew."""
T = TypeVar("T")


class ContentRejectedError(TraceImportError):
    """The API refused a turn, or the end, for good; `status` and the message are the API's."""

    def __init__(self, what: str, error: RejectedError) -> None:
        super().__init__(f"{what}: {error}")
        self.status = error.status


class TurnsDifferError(TraceImportError):
    """What the session holds on the server is another conversation than the trace."""


class Contents:
    """Brings what a session lacks; several sessions at once, one session's steps in order."""

    def __init__(
        self,
        client: Client,
        attempts: Attempts,
        checks: Checks,
        *,
        config: UploadConfig,
        clock: Clock,
        chance: random.Random,
        closed_policy: str | None,
        others_show_until: float,
    ) -> None:
        self._client = client
        self._api = ContentApi(client)
        self._attempts = attempts
        self._checks = checks
        self._config = config
        self._clock = clock
        self._chance = chance
        self._closed_policy = closed_policy
        self._others_show_until = others_show_until
        """Until then (monotonic), what an earlier process sent may still come to light."""
        self._most_turns = MAX_BATCH_TURNS
        self._most_spans = MAX_BATCH_SPANS
        """In one request; fewer, once the API has found one too long."""

    async def look(self, journey: Journey, session_id: str, *, rewrites: bool) -> Standing:
        """What is there of the session's turns; those that an earlier process may have sent are waited for.

        `rewrites`: see standing_of.
        """
        content = _content_of(journey)
        is_in_doubt = journey.send.before.is_changing or journey.send.state in ("sent", "unknown")
        until = self._others_show_until if is_in_doubt else self._clock.now()
        standing = await self._read_until(journey, session_id, len(content.turns), until, rewrites=rewrites)
        if journey.send.state == "existing":  # somebody may have said it twice: it is not ours to take away
            return standing._replace(doubles=[], others=[*standing.doubles, *standing.others])
        return standing

    async def bring(
        self,
        journey: Journey,
        session_id: str,
        *,
        standing: Standing | None,
        is_open: bool,
        is_finished: bool = False,
        may_rewrite: bool = False,
        may_delete: bool = False,
    ) -> None:
        """Add what is missing, and end the session. `standing` None: it is new, and empty.

        `may_rewrite`: turns that say something else are brought up to date; `may_delete`: and those go that the trace
        does not have.

        Raises TransientError where the attempts are used up, ContentRejectedError, TurnsDifferError.
        """
        content = _content_of(journey)
        ids: list[str] = []
        if standing is not None:
            ids = await self._settled(journey, standing, may_delete=may_delete)
            for place in standing.stale if may_rewrite else ():
                await self._rewrite(journey, ids[place], place)
        known = len(ids)
        if known < len(content.turns):
            if not is_open and self._closed_policy != REOPENS:
                await self._open(journey, session_id)
            ids = await self._append(journey, session_id, ids)
        if content.extent == "full":  # else spans that are there from an earlier run stay
            await self._bring_spans(journey, session_id, ids, old_turns=known)
        if content.finish is not None and not (is_finished and known == len(content.turns)):
            await self._finish(journey, session_id, content.finish)

    # --- turns --------------------------------------------------------------------------------------------

    async def _append(self, journey: Journey, session_id: str, ids: list[str]) -> list[str]:
        """Send the turns that are missing, and look whether they are there: the ids of all."""
        wanted = _content_of(journey).turns
        for _ in range(MAX_REPAIRS):
            while len(ids) < len(wanted):
                before = len(ids)
                ids = await self._append_some(journey, session_id, ids)
                if len(ids) > before:
                    journey.begin_step()
            self._attempts.leave_place(journey)
            if await self._checks.are_stored(session_id, ids):
                return ids
            until = self._clock.now() + self._config.lookup_seconds
            standing = await self._read_until(journey, session_id, len(wanted), until)
            ids = await self._settled(journey, standing)
            if len(ids) == len(wanted):
                return ids
            await self._open_if_closed(journey, session_id)
        raise AmbiguousError("the API says that it stored turns, and does not show them", kind="turns_not_shown")

    async def _append_some(self, journey: Journey, session_id: str, ids: list[str]) -> list[str]:
        """One request; the ids of all that are there then."""
        wanted = _content_of(journey).turns
        first = len(ids)
        some = wanted[first : first + min(next_turns(wanted, first), self._most_turns)]

        async def post() -> list[str]:
            if len(some) == 1:
                return await self._api.create_turn(session_id, some[0].body)
            return await self._api.create_turns(session_id, [turn.messages or b"" for turn in some])

        try:
            created = await self._known_to_be_stored(journey, post)
            if len(created) == len(some):
                return ids + created
            # It took them and stored none, or not all: a closed session may ignore what comes.
            journey.used_attempts += 1
            if not self._attempts.is_used_up(journey) and await self._open_if_closed(journey, session_id):
                return ids
            raise AmbiguousError("the API says nothing about turns that it took", kind="broken_answer")
        except AmbiguousError as error:
            until = self._clock.now() + self._config.lookup_seconds
            standing = await self._read_until(journey, session_id, first + len(some), until)
            found = await self._settled(journey, standing)
            if len(found) <= first:
                if self._attempts.is_used_up(journey):
                    raise
                await self._attempts.wait(journey, error)
            return found
        except RejectedError as error:
            if error.status == TOO_LARGE and len(some) > 1:
                self._most_turns = len(some) // 2
                return ids
            journey.used_attempts += 1  # opening it may help nothing
            if not self._attempts.is_used_up(journey) and await self._open_if_closed(journey, session_id):
                return ids
            raise ContentRejectedError(f"turn {first + 1} was refused", error) from error

    async def _rewrite(self, journey: Journey, turn_id: str, place: int) -> None:
        body = _content_of(journey).turns[place].body
        said = orjson.loads(body)
        cleared = b"".join([b'"%b":null,' % name.encode() for name in CLEARED if name not in said])
        body = b"{%b%b" % (cleared, body[1:])
        try:
            await self._attempts.ask(journey, lambda: self._api.update_turn(turn_id, body))
        except RejectedError as error:
            raise ContentRejectedError(f"the change of turn {place + 1} was refused", error) from error

    async def _settled(self, journey: Journey, standing: Standing, *, may_delete: bool = False) -> list[str]:
        """The turns that are there, once what is there twice or does not belong is gone."""
        if standing.others and not may_delete:
            place = len(standing.ids) + 1
            raise TurnsDifferError(
                f"{len(standing.others)} turns on the server, the first one in place {place}, are not those of this "
                "trace; nothing was added"
            )
        for turn_id in [*standing.doubles, *standing.others]:
            await self._delete(journey, lambda turn_id=turn_id: self._api.delete_turn(turn_id))  # type: ignore[misc]
        return standing.ids

    async def _read_until(
        self, journey: Journey, session_id: str, count: int, until: float, *, rewrites: bool = False
    ) -> Standing:
        """How the turns stand once `count` of them show, or the time is over."""
        wanted = _content_of(journey).turns
        times = 0
        while True:
            stored: dict[str, StoredTurn] = {}
            offset = 0
            while True:
                page = await self._attempts.ask(
                    journey,
                    lambda offset=offset: self._api.turns([session_id], offset=offset),  # type: ignore[misc]
                )
                stored |= {turn.id: turn for turn in page}
                offset += TURNS_PAGE
                if len(page) < TURNS_PAGE:
                    break
            standing = standing_of(list(stored.values()), wanted, rewrites=rewrites)
            left = until - self._clock.now()
            if len(standing.ids) >= count or standing.others or left <= 0:
                return standing
            times += 1
            await self._clock.sleep(min(0.2 + backoff_seconds(min(times, 5), self._chance), max(left, 0.2)))

    # --- spans --------------------------------------------------------------------------------------------

    async def _bring_spans(self, journey: Journey, session_id: str, turn_ids: list[str], *, old_turns: int) -> None:
        """`old_turns`: so many of the turns were there before."""
        turns = _content_of(journey).turns
        send = journey.send
        known = min(send.before.turns, old_turns)
        is_as_before = not send.before.is_changing and send.before.spans_sha256 == spans_sha256(turns[:known])
        ids = {
            SpanPlace(number, place): span_id
            for number, (turn_id, turn) in enumerate(zip(turn_ids, turns, strict=True))
            for place, span_id in enumerate(span_ids(turn_id, turn))
        }
        missing = all_spans(turns)
        if known and is_as_before:
            missing = all_spans(turns, known)
        elif old_turns and (missing or send.before.spans_sha256 is not None):
            is_in_doubt = send.before.is_changing or send.state in ("sent", "unknown")
            until = self._others_show_until if is_in_doubt else self._clock.now()
            missing = await self._missing_spans(
                journey, session_id, missing, ids, until, clears=send.state != "existing"
            )
        refused: dict[SpanPlace, str] = {}
        while missing:
            batch = next(span_batches(turns, missing))[: self._most_spans]
            try:
                answers = await self._known_to_be_stored(
                    journey,
                    lambda batch=batch: self._api.create_spans(  # type: ignore[misc]
                        [self._span_body(turns, turn_ids, ids, place) for place in batch]
                    ),
                )
            except AmbiguousError as error:
                until = self._clock.now() + self._config.lookup_seconds
                left = await self._missing_spans(journey, session_id, batch, ids, until)
                missing = [*left, *missing[len(batch) :]]
                if len(left) == len(batch):
                    if self._attempts.is_used_up(journey):
                        raise
                    await self._attempts.wait(journey, error)
                continue
            except RejectedError as error:  # all of them
                if error.status == TOO_LARGE and len(batch) > 1:
                    self._most_spans = len(batch) // 2
                    continue
                answers = [RefusedSpan(index, str(error)) for index in range(len(batch))]
            missing = missing[len(batch) :]
            journey.begin_step()
            if answers:  # what was sent before is refused as being there
                lacking = set(await self._missing_spans(journey, session_id, batch, ids, self._clock.now()))
                refused |= {
                    batch[answer.place]: answer.reason
                    for answer in answers
                    if answer.place < len(batch) and batch[answer.place] in lacking
                }
        if refused:
            journey.refused_spans = _told(refused, turns)

    def _span_body(
        self, turns: Sequence[TurnImport], turn_ids: Sequence[str], ids: dict[SpanPlace, str], place: SpanPlace
    ) -> bytes:
        span = span_at(turns, place)
        parent = (
            b"" if span.parent is None else b'"parentTraceId":"%b",' % ids[place._replace(span=span.parent)].encode()
        )
        return b'{"id":"%b","inferenceResultId":%b,%b%b' % (
            ids[place].encode(),
            orjson.dumps(turn_ids[place.turn]),
            parent,
            span.body[1:],
        )

    async def _missing_spans(
        self,
        journey: Journey,
        session_id: str,
        places: Sequence[SpanPlace],
        ids: dict[SpanPlace, str],
        until: float,
        *,
        clears: bool = False,
    ) -> list[SpanPlace]:
        """Which of these the API does not show. `clears`: ours that are no longer wanted are deleted."""
        times = 0
        while True:
            shown: dict[str, bool] = {}
            offset = 0
            while True:
                page = await self._attempts.ask(
                    journey,
                    lambda offset=offset: self._api.span_ids(session_id, offset=offset),  # type: ignore[misc]
                )
                shown |= {span_id: is_ours for span_id, _, is_ours in page}
                offset += SPANS_PAGE
                if len(page) < SPANS_PAGE:
                    break
            missing = [place for place in places if ids[place] not in shown]
            left = until - self._clock.now()
            if not missing or left <= 0:
                break
            times += 1
            await self._clock.sleep(min(0.2 + backoff_seconds(min(times, 5), self._chance), max(left, 0.2)))
        if clears:
            wanted = set(ids.values())
            for span_id in [one for one, is_ours in shown.items() if is_ours and one not in wanted]:
                await self._delete(journey, lambda span_id=span_id: self._api.delete_span(span_id))  # type: ignore[misc]
        return missing

    # --- the end ------------------------------------------------------------------------------------------

    async def _finish(self, journey: Journey, session_id: str, body: bytes) -> None:
        journey.begin_step()
        status = "FAILED" if "error" in orjson.loads(body) else "COMPLETED"
        is_opened = False
        while True:
            try:
                await self._known_to_be_stored(journey, lambda: self._api.finish(session_id, body))
            except AmbiguousError as error:
                if is_finished_with(await self._session(journey, session_id), body):
                    return
                if self._attempts.is_used_up(journey):
                    raise
                await self._attempts.wait(journey, error)
            except RejectedError as error:
                session = await self._session(journey, session_id)
                if session is None or session.status not in CLOSED:
                    raise ContentRejectedError("its end was refused", error) from error
                if session.status == status or is_opened:
                    return  # it closed by itself, or an attempt before had finished it
                await self._open(journey, session_id)
                is_opened = True
            else:
                return

    async def _session(self, journey: Journey, session_id: str) -> StoredSession | None:
        try:
            return await self._attempts.ask(journey, lambda: self._client.get_session(session_id))
        except RejectedError as error:
            if is_gone(error):
                return None
            raise ContentRejectedError("the session cannot be read", error) from error

    async def _open_if_closed(self, journey: Journey, session_id: str) -> bool:
        """Was it closed, by whoever it was? Then it is open now."""
        session = await self._session(journey, session_id)
        if session is None or session.status in (None, "PENDING"):
            return False
        await self._open(journey, session_id)
        return True

    async def _open(self, journey: Journey, session_id: str) -> None:
        try:
            await self._attempts.ask(journey, lambda: self._client.open_session(session_id))
        except RejectedError as error:
            raise ContentRejectedError("it cannot be opened again", error) from error

    # --- one request --------------------------------------------------------------------------------------

    async def _known_to_be_stored(self, journey: Journey, request: Callable[[], Awaitable[T]]) -> T:
        """Tried until it is answered. Raises AmbiguousError where it may have been stored all the same."""
        while True:
            try:
                return await self._attempts.attempt(journey, request)
            except RefusedError as error:
                if error.status != 429:  # only that one says that nothing was stored (reliability.md)
                    raise AmbiguousError(str(error), kind=error.kind, status=error.status) from error
                failed: TransientError = error
            except AmbiguousError:
                raise
            except TransientError as error:
                failed = error
            except RejectedError as error:
                if error.status == CONFLICT:  # with what? Perhaps with itself
                    journey.used_attempts += 1
                    raise AmbiguousError(str(error), kind=error.kind, status=error.status) from error
                raise
            if self._attempts.is_used_up(journey):
                raise failed
            await self._attempts.wait(journey, failed)

    async def _delete(self, journey: Journey, request: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._attempts.ask(journey, request)
        except RejectedError as error:
            if not is_gone(error):
                raise ContentRejectedError("what is there twice cannot be deleted", error) from error


def is_finished_with(session: StoredSession | None, body: bytes) -> bool:
    """Did it end the way that the body of a finish says?"""
    if session is None or session.status not in CLOSED:
        return False
    told = {"stoppingReason": session.stoppingReason, "error": session.error}
    return all(told[key] == value for key, value in orjson.loads(body).items())


def _told(refused: dict[SpanPlace, str], turns: Sequence[TurnImport]) -> str:
    shown = [
        f"span {orjson.loads(span_at(turns, place).body)['name']!r} of turn {place.turn + 1}: {reason}"
        for place, reason in list(refused.items())[:REFUSED_SHOWN]
    ]
    more = f"; and {len(refused) - REFUSED_SHOWN} more" if len(refused) > REFUSED_SHOWN else ""
    return f"{len(refused)} spans were refused, all else is there: {'; '.join(shown)}{more}"


def _content_of(journey: Journey) -> Content:
    content = journey.send.session.content
    assert content is not None  # who has none is not brought here
    return content
