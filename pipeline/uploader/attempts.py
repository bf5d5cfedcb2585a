"""One attempt of one request, through the gates; and when the next one may be made."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.clock import Clock, iso
from pipeline.config import UploadConfig
from pipeline.errors import AmbiguousError, ExistsError, FatalError, RefusedError, RejectedError, TransientError
from pipeline.uploader.beginnings import Beginnings
from pipeline.uploader.counts import Counts
from pipeline.uploader.journey import Journey, StoppingError
from pipeline.uploader.pacing import Pace
from pipeline.uploader.places import Places
from pipeline.uploader.questions import ask_until_answered
from pipeline.uploader.retry import MAX_REFUSALS, RetryBudget, backoff_seconds
from pipeline.uploader.showing import pause_seconds

T = TypeVar("T")
NOT_STORED, CONFLICT, TOO_LARGE = 429, 409, 413


class Attempts:
    """For all sessions of a run: their places, their pace, their budget of retries."""

    def __init__(
        self,
        pace: Pace,
        places: Places,
        counts: Counts,
        config: UploadConfig,
        clock: Clock,
        chance: random.Random,
        is_stopping: Callable[[], bool],
        beginnings: Beginnings,
    ) -> None:
        self._pace = pace
        self._places = places
        self._counts = counts
        self._config = config
        self._clock = clock
        self._chance = chance
        self._is_stopping = is_stopping
        self._beginnings = beginnings
        self._budget = RetryBudget(clock.now())

    async def attempt(self, journey: Journey, request: Callable[[], Awaitable[T]]) -> T:
        """One attempt; raises what the client raises, and StoppingError where the run stops."""
        if self._is_stopping():
            raise StoppingError
        if not journey.has_place:
            await self._places.wait(journey.rank)
            journey.has_place = True
        async with self._pace.turn(journey.rank) as is_probe:
            started_at = self._clock.now()
            journey.attempts += 1
            journey.first_sent_at = journey.first_sent_at or iso(self._clock.wall())
            journey.is_sending = True
            try:
                result = await request()
            except RefusedError as error:
                journey.last_error = error
                journey.refusals += 1
                self._counts.throttled += 1
                self._pace.refused(error.retry_after, started_at)
                raise
            except TransientError as error:
                journey.last_error = error
                journey.used_attempts += not is_probe
                journey.was_ambiguous |= isinstance(error, AmbiguousError)
                self._pace.troubled(was_probe=is_probe, timed_out_from=started_at if error.kind == "timeout" else None)
                raise
            except (ExistsError, RejectedError, FatalError):
                self._pace.answered()
                raise
            except asyncio.CancelledError:
                journey.was_ambiguous = True  # it goes on behind our back
                raise
            finally:
                journey.is_sending = False
                if not is_probe:
                    journey.spent_seconds += self._clock.now() - started_at
            self._pace.answered(started_at)
        self._budget.accept()
        journey.latency_ms = (self._clock.now() - started_at) * 1000
        return result

    async def ask(self, journey: Journey, question: Callable[[], Awaitable[T]]) -> T:
        """What may be asked twice: tried until it is answered, or TransientError."""
        if self._is_stopping():
            raise StoppingError
        self.leave_place(journey)
        return await ask_until_answered(
            self._pace,
            self._clock,
            self._counts,
            self._chance,
            question,
            max_attempts=self._config.max_attempts,
            rank=journey.rank,
        )

    async def until_known(self, journey: Journey, request: Callable[[], Awaitable[T]]) -> T:
        """A write without a key, tried until it is answered. Raises AmbiguousError where it may have been stored."""

        async def write() -> T:
            journey.has_written = journey.is_doubtful = True  # and not before: it may have to wait at the gates
            return await request()

        if not journey.is_begun:
            await self._beginnings.note(journey.send.row)
            journey.is_begun = True
        while True:
            try:
                result = await self.attempt(journey, write)
            except RefusedError as error:
                if error.status != NOT_STORED:  # only that one says that nothing was stored (reliability.md)
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
                journey.is_doubtful = False
                raise
            else:
                journey.is_doubtful = False
                return result
            journey.is_doubtful = False
            if self.is_used_up(journey):
                raise failed
            await self.wait(journey, failed)

    async def pause(self, times: int, left: float) -> None:
        """Before one looks again whether something has come to light; see pause_seconds."""
        self._counts.in_doubt += 1
        try:
            await self._clock.sleep(pause_seconds(times, left))
        finally:
            self._counts.in_doubt -= 1

    def is_used_up(self, journey: Journey) -> bool:
        """Has this step had all the attempts and all the time that it may have?"""
        return (
            journey.used_attempts >= self._config.max_attempts
            or journey.refusals >= MAX_REFUSALS
            or journey.spent_seconds >= self._config.record_deadline_seconds
        )

    async def wait(self, journey: Journey, error: TransientError) -> None:
        """Until it may be tried again."""
        if self._is_stopping():
            raise StoppingError
        self._counts.retries += 1
        if isinstance(error, RefusedError):
            return  # the pause is everybody's turn to wait
        self.leave_place(journey)
        seconds = backoff_seconds(max(journey.used_attempts, 1), self._chance)
        journey.spent_seconds += seconds
        await self._clock.sleep(seconds + self._budget.wait_seconds(self._clock.now()))

    def leave_place(self, journey: Journey) -> None:
        """Who waits for something else than its turn keeps nobody from theirs."""
        if journey.has_place:
            journey.has_place = False
            self._places.leave()
