"""The gates that every attempt passes: one pause for all, a breaker, a number at once, evenly spaced starts."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType

from pipeline.clock import Clock
from pipeline.uploader.retry import backoff_seconds, parse_retry_after

CATCH_UP_SECONDS = 0.02
"""How far starts may lag behind their schedule and still be caught up: sleeps are not exact."""
BREAKER_THRESHOLD = 10
"""So many attempts in a row without any answer of the API's: stop, and probe with one."""
SLOWEST_PER_SECOND = 0.1
GROWTH_PER_SECOND = 0.05
"""A pace that was cut grows by this share of itself a second, while it is accepted."""


class Pace:
    """Who may start when. Used as `async with pace:` around one attempt; `now` and `sleep` come from the clock.

    `max_per_second` is never exceeded. Without it the pace is free until the API refuses; then it is cut to below
    what was being accepted, once per congestion, and grows again. (This is the place for a better law.)
    """

    def __init__(
        self,
        clock: Clock,
        chance: random.Random,
        *,
        max_per_second: float | None,
        max_at_once: int,
        max_pause_seconds: float,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._ceiling = max_per_second
        self._rate = max_per_second
        self._max_pause_seconds = max_pause_seconds
        self._slots = asyncio.Semaphore(max_at_once)
        self._next_start = clock.now()
        self._paused_until = clock.now()
        self._failures = 0
        self._is_open = False
        self._probes = 0
        self._probe_is_out = False
        self._next_probe = 0.0
        self._breaker_moved = asyncio.Event()
        self._refusals = 0
        self._cut_at = float("-inf")
        self._accepted_since_cut = 0
        self._counting_since = clock.now()
        self._last_accepted = clock.now()
        self.in_flight = 0
        self.last_answer_at = clock.now()
        """When the API last gave an answer that was not "later" or trouble."""
        self.has_trouble = False
        """Has any attempt since then gone wrong?"""

    @property
    def per_second(self) -> float | None:
        """The present pace; None: free."""
        return self._rate

    @property
    def is_waiting(self) -> bool:
        """Is the whole run paused, or the breaker open?"""
        return self._is_open or self._clock.now() < self._paused_until

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
        while True:
            now = self._clock.now()
            if now < self._paused_until:
                await self._clock.sleep(self._paused_until - now)
                continue
            if self._is_open:
                if not self._probe_is_out and now >= self._next_probe:
                    self._probe_is_out = True
                    return True
                await self._wait_for_breaker(now)
                continue
            if self._rate is None:
                return False
            start = max(self._next_start, now - CATCH_UP_SECONDS)
            self._next_start = start + 1 / self._rate
            if start <= now:
                return False
            await self._clock.sleep(start - now)
            if self._clock.now() >= self._paused_until and not self._is_open:
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

    # --- what the attempts saw ----------------------------------------------------------------------------

    def answered(self) -> None:
        """The API gave a real answer (stored, exists, rejected): things work."""
        now = self._clock.now()
        self._failures = 0
        self._refusals = 0
        self.last_answer_at = now
        self.has_trouble = False
        self._accepted_since_cut += 1
        if self._is_open:
            self._close_breaker()
        if self._rate is not None and self._rate != self._ceiling:
            grown = self._rate * (1 + GROWTH_PER_SECOND * min(now - self._last_accepted, 1.0))
            self._rate = grown if self._ceiling is None else min(grown, self._ceiling)
        self._last_accepted = now

    def refused(self, retry_after: str | None, started_at: float) -> None:
        """The API said "later": one pause for all, and slower after it."""
        now = self._clock.now()
        self.has_trouble = True
        self._probe_is_out = False
        self._failures = 0
        if self._is_open:
            self._close_breaker()
        wait = parse_retry_after(retry_after, now=self._clock.wall(), longest_seconds=self._max_pause_seconds)
        if started_at >= self._cut_at:  # the first of this congestion; the others left before the cut
            self._refusals += 1
            self._cut(now)
        if wait is None:
            wait = min(backoff_seconds(self._refusals, self._chance) + 0.5, self._max_pause_seconds)
        self._pause(now, wait)

    def troubled(self) -> None:
        """No answer, or a broken one."""
        now = self._clock.now()
        self.has_trouble = True
        self._failures += 1
        if self._is_open:
            self._probe_is_out = False
            self._probes += 1
            self._next_probe = now + 0.5 + backoff_seconds(self._probes, self._chance)
            self._breaker_moved.set()
        elif self._failures >= BREAKER_THRESHOLD:
            self._is_open = True
            self._probes = 1
            self._next_probe = now + 0.5 + backoff_seconds(1, self._chance)

    def abandoned(self) -> None:
        """An attempt was given up before it saw anything (the run stops)."""
        self._probe_is_out = False
        self._breaker_moved.set()

    def _cut(self, now: float) -> None:
        if self._rate is None:
            self._rate = self._accepted_since_cut / max(now - self._counting_since, 0.1)
        self._rate = max(self._rate * 0.7, SLOWEST_PER_SECOND)
        self._cut_at = now
        self._accepted_since_cut = 0

    def _pause(self, now: float, seconds: float) -> None:
        self._paused_until = max(self._paused_until, now + seconds)
        self._next_start = max(self._next_start, self._paused_until)
        self._counting_since = self._paused_until

    def _close_breaker(self) -> None:
        self._is_open = False
        self._probe_is_out = False
        self._breaker_moved.set()
