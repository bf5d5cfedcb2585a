"""The gates that every attempt passes, without a loop or a clock: who may start now, and when to ask again.

One pause for all, a breaker, a number at once, evenly spaced starts. Moments come in, answers go out, so the same
object stands behind the asyncio queue of pacing.py and in the simulation of `make bench`.
"""

from __future__ import annotations

import random
from datetime import datetime

from pipeline.uploader.breaker import Breaker
from pipeline.uploader.concurrency import Concurrency
from pipeline.uploader.limit import Limit
from pipeline.uploader.retry import parse_retry_after

CATCH_UP_SECONDS = 0.02
"""How far starts may lag behind their schedule and still be caught up: sleeps are not exact."""
SHORTEST_PAUSE_SECONDS = 0.5
"""A pause that is told shorter: the refusals would follow each other."""
APART_SECONDS = 0.1
"""Clients that were told the same second come back apart, at most by so much."""
LONGEST_UNTOLD_PAUSE_SECONDS = 10.0
NOW = 0.0
NEVER = float("inf")


class Gates:
    """Ask `may_start`, then `start`; say what the attempt saw, and `end` it."""

    def __init__(
        self,
        now: float,
        chance: random.Random,
        *,
        max_per_second: float | None,
        max_at_once: int,
        max_pause_seconds: float,
        found_per_second: float | None = None,
    ) -> None:
        self.limit = Limit(max_per_second, found_before=found_per_second, now=now)
        self.concurrency = Concurrency(max_at_once)
        self.breaker = Breaker(chance)
        self.in_flight = 0
        self.paused_until = now
        self._chance = chance
        self._max_pause_seconds = max_pause_seconds
        self._next_start = now
        self._last_start = -NEVER
        self._least_gap_seconds = 1 / max_per_second if max_per_second is not None else 0.0
        self._was_held_back = False
        self._refusals = 0
        """One after the other, with nothing accepted in between."""
        self.are_posts_failing = False
        """Was trouble the last that was heard of one?"""

    def may_start(self, now: float) -> float:
        """NOW, or the moment to ask again, or NEVER: something must come back first."""
        if now < self.paused_until:
            return self.paused_until
        if self.breaker.is_open:
            probe_at = max(self.breaker.probe_at(), self._last_start + self._least_gap_seconds)
            return NOW if now >= probe_at else probe_at
        if self.in_flight >= self.concurrency.at_once:
            return NEVER
        if self._refusals > 1 and self.in_flight > 0 and self._refusals >= self._patience:
            return NEVER
        if now < self._next_start:
            self._was_held_back = True
            return self._next_start
        return NOW

    def start(self, now: float) -> bool:
        """An attempt starts; is it the breaker's probe?"""
        self.in_flight += 1
        if self.breaker.is_open:
            self.breaker.send_probe()
            self._last_start = now
            self._next_start = max(self._next_start, now + self._least_gap_seconds)
            return True
        self._last_start = max(self._next_start, now - CATCH_UP_SECONDS)
        self._next_start = self._last_start + 1 / self.limit.per_second
        return False

    def end(self) -> None:
        """It is over."""
        self.in_flight -= 1

    def answered(self, now: float, started_at: float | None) -> None:
        """A real answer (stored, exists, rejected). Without `started_at` its latency does not count."""
        if started_at is not None:
            self.concurrency.note_answer(now, started_at, self.in_flight)
        self.limit.accept(now, was_held_back=self._was_held_back)
        self._was_held_back = False
        self._refusals = 0
        self.are_posts_failing = False
        if self.breaker.failures:
            self.breaker.note_answer()

    def looked_up(self, now: float) -> None:
        """A look-up was answered: the API is there. It does not follow that it stores anything."""
        self.limit.accept(now, was_held_back=self._was_held_back)
        self._was_held_back = False
        self._refusals = 0
        if not self.are_posts_failing:
            self.breaker.note_answer()
        elif self.breaker.is_open:
            self.breaker.lose_probe()  # the next one may be a post

    def refused(self, now: float, wall: datetime, retry_after: str | None, started_at: float) -> None:
        """The API said "later": one pause for all. What left before the last pause ended is no news."""
        self.breaker.note_answer()
        told = parse_retry_after(retry_after, now=wall, longest_seconds=self._max_pause_seconds)
        is_news = started_at >= self.paused_until
        if is_news:
            self._refusals += 1
        pause = self._pause_seconds(told)
        self.limit.refuse(now, pause, is_news=is_news)
        if is_news or told is not None:
            self.paused_until = max(self.paused_until, now + pause)
            self._next_start = max(self.paused_until, self._last_start + self._least_gap_seconds)

    def troubled(
        self, now: float, *, was_probe: bool, is_lookup: bool = False, timed_out_from: float | None = None
    ) -> None:
        """No answer, or a broken one; `timed_out_from`: it started then, and no answer came in time."""
        self.are_posts_failing |= not is_lookup
        self.breaker.note_trouble(now, was_probe=was_probe)
        if timed_out_from is not None:
            self.concurrency.note_timeout(now, timed_out_from)

    @property
    def _patience(self) -> int:
        """After so many refusals in a row one attempt at a time is enough to ask."""
        return 5 if self.limit.is_noise else 2

    def _pause_seconds(self, told: float | None) -> float:
        if self.limit.is_noise and self._refusals < self._patience:
            return told or 0.0
        if told is not None:
            pause = max(told, SHORTEST_PAUSE_SECONDS) + self._chance.uniform(0, APART_SECONDS)
            return min(pause, self._max_pause_seconds)
        untold = min(2.0 ** min(self._refusals - 1, 10), LONGEST_UNTOLD_PAUSE_SECONDS)
        return min(untold * self._chance.uniform(0.75, 1.25), self._max_pause_seconds)
