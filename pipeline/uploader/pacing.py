"""The gates that every attempt passes: a number at once, one pause for all, a breaker, evenly spaced starts."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType

from pipeline.clock import Clock
from pipeline.uploader.limit import Limit
from pipeline.uploader.retry import backoff_seconds, parse_retry_after

CATCH_UP_SECONDS = 0.02
"""How far starts may lag behind their schedule and still be caught up: sleeps are not exact."""
BREAKER_THRESHOLD = 10
"""So many attempts in a row without any answer of the API's: stop, and probe with one."""
LONGEST_PROBE_SECONDS = 5.0
"""A probe is one request: asking often costs nobody anything."""


class Pace:
    """Who may start when: `async with pace:` around one attempt, then say what the attempt saw."""

    def __init__(
        self,
        clock: Clock,
        chance: random.Random,
        *,
        max_per_second: float | None,
        max_at_once: int,
        max_pause_seconds: float,
    ) -> None:
        now = clock.now()
        self._clock = clock
        self._chance = chance
        self._limit = Limit(max_per_second)
        self._max_pause_seconds = max_pause_seconds
        self._slots = asyncio.Semaphore(max_at_once)
        self._turn = asyncio.Lock()
        self._next_start = now
        self._was_held_back = False
        self._paused_until = now
        self._refusals = 0
        self._fell_at = now
        self._failures = 0
        self._is_open = False
        self._probes = 0
        self._probe_is_out = False
        self._next_probe = now
        self._breaker_moved = asyncio.Event()
        self.in_flight = 0
        self._last_answer_at = now
        """When the API last gave an answer that was not "later" or trouble."""
        self._trouble_since: float | None = None
        """When the first attempt after that went wrong, if one did."""

    @property
    def per_second(self) -> float:
        """The present rate of starts, at most."""
        return self._limit.per_second

    @property
    def is_waiting(self) -> bool:
        """Is the whole run paused, or the breaker open?"""
        return self._is_open or self._clock.now() < self._paused_until

    @property
    def trouble_seconds(self) -> float:
        """How long nothing but trouble and "later" has come back; a run that asks nothing has no trouble."""
        return 0.0 if self._trouble_since is None else self._clock.now() - self._trouble_since

    async def __aenter__(self) -> bool:
        """Wait for the turn; says whether this attempt is the breaker's probe, which counts against nobody."""
        await self._slots.acquire()
        try:
            is_probe = await self._pass_gates()
        except BaseException:
            self._slots.release()
            raise
        self.in_flight += 1
        return is_probe

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.in_flight -= 1
        self._slots.release()

    async def _pass_gates(self) -> bool:
        # One at a time, first come first served: what the others saw meanwhile counts for all who still wait.
        async with self._turn:
            while True:
                now = self._clock.now()
                if now < self._paused_until:
                    await self._clock.sleep(self._paused_until - now)
                elif self._is_open:
                    if not self._probe_is_out and now >= self._next_probe:
                        self._probe_is_out = True
                        return True
                    await self._wait_for_breaker(now)
                elif now < self._next_start:
                    self._was_held_back = True
                    await self._clock.sleep(self._next_start - now)
                else:
                    self._next_start = max(self._next_start, now - CATCH_UP_SECONDS) + 1 / self._limit.per_second
                    return False

    async def _wait_for_breaker(self, now: float) -> None:
        self._breaker_moved.clear()
        moved = asyncio.ensure_future(self._breaker_moved.wait())
        probe_time = asyncio.ensure_future(self._clock.sleep(max(self._next_probe - now, 0.05)))
        try:
            await asyncio.wait({moved, probe_time}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            moved.cancel()
            probe_time.cancel()

    # --- what the attempt saw -----------------------------------------------------------------------------

    def answered(self) -> None:
        """The API gave a real answer (stored, exists, rejected): things work."""
        now = self._clock.now()
        self._limit.accept(now - self._last_answer_at, was_held_back=self._was_held_back)
        self._was_held_back = False
        self._failures = 0
        self._refusals = 0
        self._last_answer_at = now
        self._trouble_since = None
        self._close_breaker()

    def refused(self, retry_after: str | None, started_at: float) -> None:
        """The API said "later": one pause for all, and slower after it."""
        now = self._clock.now()
        self._note_trouble(now)
        self._failures = 0
        self._close_breaker()
        wait = parse_retry_after(retry_after, now=self._clock.wall(), longest_seconds=self._max_pause_seconds)
        is_news = started_at >= self._fell_at  # the others left before the rate fell
        if is_news:
            self._refusals += 1
            self._limit.fall(now - self._fell_at)
        if wait is None:
            wait = min(0.2 + backoff_seconds(self._refusals, self._chance), self._max_pause_seconds)
        if is_news or retry_after is not None:
            self._paused_until = max(self._paused_until, now + wait)
            self._next_start = self._fell_at = self._paused_until

    def troubled(self, *, was_probe: bool) -> None:
        """No answer, or a broken one."""
        now = self._clock.now()
        self._note_trouble(now)
        self._failures += 1
        if self._is_open:
            if was_probe:  # the others left before the breaker opened, and tell nothing new
                self._probes += 1
                self._probe_later(now)
        elif self._failures >= BREAKER_THRESHOLD:
            self._is_open = True
            self._probes = 1
            self._probe_later(now)

    def abandoned(self, *, was_probe: bool) -> None:
        """An attempt was given up before it saw anything (the run stops)."""
        if was_probe:
            self._probe_is_out = False
            self._breaker_moved.set()

    def _note_trouble(self, now: float) -> None:
        if self._trouble_since is None:
            self._trouble_since = now

    def _probe_later(self, now: float) -> None:
        self._probe_is_out = False
        self._next_probe = now + min(0.2 + backoff_seconds(self._probes, self._chance), LONGEST_PROBE_SECONDS)
        self._breaker_moved.set()

    def _close_breaker(self) -> None:
        self._is_open = False
        self._probe_is_out = False
        self._breaker_moved.set()
