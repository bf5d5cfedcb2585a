"""Ways to pace, ours and the published ones, behind one small interface; each of the others in our own words.

All have more to send than they can. The published ones are given what their users give them: 64 workers, of which
each sends one request after the other and waits itself before it tries a refused one again.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from pipeline.uploader.gates import NEVER, NOW, Gates
from pipeline.uploader.retry import parse_retry_after
from tests.fake_clock import START

WORKERS = 64


class Law(Protocol):
    """See pipeline.uploader.gates: NOW, or when to ask again, or NEVER before something has come back."""

    def may_start(self, now: float) -> float: ...

    def start(self, now: float) -> None: ...

    def answered(self, now: float, started_at: float) -> None: ...

    def refused(self, now: float, retry_after: str | None, started_at: float) -> None: ...


NewLaw = Callable[[float, random.Random], Law]


class Ours:
    """The gates of production."""

    def __init__(
        self, now: float, chance: random.Random, *, found_per_second: float | None = None, max_at_once: int = WORKERS
    ) -> None:
        self.gates = Gates(
            now,
            chance,
            max_per_second=None,
            max_at_once=max_at_once,
            max_pause_seconds=300,
            found_per_second=found_per_second,
        )
        self.may_start = self.gates.may_start

    def start(self, now: float) -> None:
        self.gates.start(now)

    def answered(self, now: float, started_at: float) -> None:
        self.gates.answered(now, started_at)
        self.gates.end()

    def refused(self, now: float, retry_after: str | None, started_at: float) -> None:
        self.gates.refused(now, START + timedelta(seconds=now), retry_after, started_at)
        self.gates.end()


class Fixed:
    """64 workers, each of which obeys Retry-After for itself: a script with a semaphore and a retry library."""

    def __init__(self, now: float, chance: random.Random) -> None:
        self._chance = chance
        self._free = WORKERS
        self._waiting: list[float] = []
        self._in_a_row = 0

    def may_start(self, now: float) -> float:
        while self._waiting and self._waiting[0] <= now:
            heapq.heappop(self._waiting)
            self._free += 1
        if self._free > 0:
            return NOW
        return self._waiting[0] if self._waiting else NEVER

    def start(self, now: float) -> None:
        self._free -= 1

    def answered(self, now: float, started_at: float) -> None:
        self._free += 1
        self._in_a_row = 0

    def refused(self, now: float, retry_after: str | None, started_at: float) -> None:
        self._in_a_row += 1
        wait = parse_retry_after(retry_after, now=START + timedelta(seconds=now), longest_seconds=300)
        if wait is None:  # full jitter, as the retry libraries do it
            wait = self._chance.uniform(0, min(20.0, 2.0 ** min(self._in_a_row / WORKERS, 5)))
        heapq.heappush(self._waiting, now + wait)


class Aimd(Fixed):
    """Additive increase, multiplicative decrease of a paced rate (Chiu and Jain 1989; RFC 5681 in requests a second).

    One more a second for each second without refusal; half of it once a round trip with one.
    """

    def __init__(self, now: float, chance: random.Random) -> None:
        super().__init__(now, chance)
        self._rate = 10.0
        self._next_start = now
        self._changed_at = self._grown_at = now

    def may_start(self, now: float) -> float:
        free_at = super().may_start(now)
        return free_at if free_at != NOW or now >= self._next_start else self._next_start

    def start(self, now: float) -> None:
        super().start(now)
        self._next_start = max(self._next_start, now) + 1 / self._rate

    def answered(self, now: float, started_at: float) -> None:
        super().answered(now, started_at)
        self._rate += min(now - self._grown_at, 1.0)
        self._grown_at = now

    def refused(self, now: float, retry_after: str | None, started_at: float) -> None:
        super().refused(now, retry_after, started_at)
        if started_at >= self._changed_at:
            self._rate = max(self._rate / 2, 0.1)
            self._changed_at = self._grown_at = now


class VectorArc:
    """Vector's adaptive request concurrency, as its documentation and RFC 1858 (2020-04-06) describe it.

    One at once at first, 200 at most. Once per average round trip: one more if the bound was reached, nothing was
    refused and answers came no later than on average; nine tenths if something was refused or they came 2.5
    deviations later (average and deviation exponentially weighted, 0.4). A refused request waits by itself, for
    1, 1, 2, 3, 5 … s with full jitter, and holds no place meanwhile; Retry-After is not looked at.
    """

    def __init__(self, now: float, chance: random.Random) -> None:
        self._chance = chance
        self._at_once = 1
        self._in_flight = 0
        self._mean: float | None = None
        self._variance = 0.0
        self._next_update = now
        self._sum = 0.0
        self._count = 0
        self._was_refused = self._was_reached = False

    def may_start(self, now: float) -> float:
        return NOW if self._in_flight < self._at_once else NEVER

    def start(self, now: float) -> None:
        self._in_flight += 1
        self._was_reached |= self._in_flight >= self._at_once

    def answered(self, now: float, started_at: float) -> None:
        self._sum += now - started_at
        self._count += 1
        self._came_back(now)

    def refused(self, now: float, retry_after: str | None, started_at: float) -> None:
        self._was_refused = True
        self._came_back(now)

    def _came_back(self, now: float) -> None:
        self._in_flight -= 1
        current = self._sum / self._count if self._count else None
        if self._mean is None:
            if current is not None:
                self._mean = current
                self._next_update = now + current
            return
        if now < self._next_update:
            return
        late = self._mean + 2.5 * math.sqrt(self._variance)
        if self._at_once < 200 and self._was_reached and not self._was_refused and current and current <= self._mean:
            self._at_once += 1
        elif self._at_once > 1 and (self._was_refused or (current or 0.0) >= late + 1e-9):
            self._at_once = max(1, int(self._at_once * 0.9))
        if current is not None:
            step = current - self._mean
            self._mean += 0.4 * step
            self._variance = 0.6 * (self._variance + 0.4 * step * step)
        self._next_update = now + self._mean
        self._sum, self._count = 0.0, 0
        self._was_refused = self._was_reached = False


class BotocoreAdaptive(Fixed):
    """botocore's retry mode `adaptive` (AWS SDKs and Tools Reference Guide, "Retry behavior"), with 64 threads.

    A token bucket from the first refusal on; its rate follows CUBIC in seconds and requests (scale 0.4, beta 0.7) from
    the rate measured (half seconds, smoothed by 0.8), and is twice that at most. Refused requests back off by
    themselves, up to 20 s, with full jitter.
    """

    def __init__(self, now: float, chance: random.Random) -> None:
        super().__init__(now, chance)
        self._is_on = False
        self._rate = 1.0
        self._tokens = 0.0
        self._filled_at = now
        self._highest = 0.0
        self._failed_at = now
        self._measured = 0.0
        self._bucket = math.floor(now * 2) / 2
        self._count = 0

    def may_start(self, now: float) -> float:
        free_at = super().may_start(now)
        if free_at != NOW or not self._is_on:
            return free_at
        self._refill(now)
        return NOW if self._tokens >= 1 - 1e-9 else now + (1 - self._tokens) / self._rate

    def start(self, now: float) -> None:
        super().start(now)
        if self._is_on:
            self._tokens -= 1

    def answered(self, now: float, started_at: float) -> None:
        super().answered(now, started_at)
        self._measure(now)
        back_after = (self._highest * 0.3 / 0.4) ** (1 / 3)
        self._set_rate(now, 0.4 * (now - self._failed_at - back_after) ** 3 + self._highest)

    def refused(self, now: float, retry_after: str | None, started_at: float) -> None:
        super().refused(now, None, started_at)
        self._measure(now)
        self._highest = min(self._measured, self._rate) if self._is_on else self._measured
        self._failed_at = now
        self._is_on = True
        self._set_rate(now, self._highest * 0.7)

    def _measure(self, now: float) -> None:
        self._count += 1
        bucket = math.floor(now * 2) / 2
        if bucket > self._bucket:
            self._measured = 0.8 * self._count / (bucket - self._bucket) + 0.2 * self._measured
            self._count = 0
            self._bucket = bucket

    def _set_rate(self, now: float, rate: float) -> None:
        self._refill(now)
        self._rate = max(min(rate, 2 * self._measured), 0.5)
        self._tokens = min(self._tokens, max(self._rate, 1.0))

    def _refill(self, now: float) -> None:
        self._tokens = min(max(self._rate, 1.0), self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now


LAWS: dict[str, NewLaw] = {
    "ours": Ours,
    "Vector ARC": VectorArc,
    "botocore": BotocoreAdaptive,
    "AIMD": Aimd,
    "fixed 64": Fixed,
}
