"""Rate limits as functions of time: a request arrives, and is taken, refused, or late.

Each is what a real one does with nothing around it; how a refusal is told follows the emulator's options
(`Retry-After: max(1, ceil(wait))`, the same as an HTTP date, nothing, or `X-RateLimit-Reset` as an epoch).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import Literal, NamedTuple, Protocol

from tests.fake_clock import START

Style = Literal["seconds", "date", "none", "x-ratelimit"]
STYLES: tuple[Style, ...] = ("seconds", "date", "none", "x-ratelimit")


class Verdict(NamedTuple):
    """What becomes of one request."""

    is_accepted: bool
    retry_after: str | None = None
    delay_seconds: float = 0.0


TAKEN = Verdict(True)


class Server(Protocol):
    def arrive(self, now: float) -> Verdict: ...


def told(style: Style, now: float, wait_seconds: float) -> str | None:
    """What a refusal says about the wait; `now` counts from START."""
    seconds = max(1, math.ceil(wait_seconds))
    moment = START + timedelta(seconds=now + seconds)
    if style == "seconds":
        return str(seconds)
    if style == "date":
        return format_datetime(moment.replace(microsecond=0), usegmt=True)
    return str(int(moment.timestamp())) if style == "x-ratelimit" else None


class Bucket:
    """`limit(now)` tokens a second, `burst_seconds` of them at most and never less than one; refusals are free."""

    def __init__(
        self, limit: Callable[[float], float], style: Style, *, now: float, burst_seconds: float = 1.0
    ) -> None:
        self._limit = limit
        self._style = style
        self._burst_seconds = burst_seconds
        self._filled_at = now
        self._tokens = max(1.0, limit(now) * burst_seconds)

    def arrive(self, now: float) -> Verdict:
        limit = self._limit(now)
        burst = max(1.0, limit * self._burst_seconds)
        self._tokens = min(burst, self._tokens + (now - self._filled_at) * limit)
        self._filled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return TAKEN
        return Verdict(False, told(self._style, now, (1 - self._tokens) / limit))


class Window:
    """So many requests in each window of the clock."""

    def __init__(self, quota: int, window_seconds: float, style: Style) -> None:
        self._quota = quota
        self._seconds = window_seconds
        self._style = style
        self._window = -1
        self._used = 0

    def arrive(self, now: float) -> Verdict:
        window, position = divmod(now, self._seconds)
        if window != self._window:
            self._window, self._used = int(window), 0
        if self._used < self._quota:
            self._used += 1
            return TAKEN
        return Verdict(False, told(self._style, now, self._seconds - position))


class Knee:
    """No refusals: beyond `per_second`, each request waits for those before it."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._free_at = 0.0

    def arrive(self, now: float) -> Verdict:
        self._free_at = max(now, self._free_at) + self._interval
        return Verdict(True, delay_seconds=self._free_at - now)


class Noise:
    """A share of all requests is refused whatever the rate, in front of `behind`, until `ends_at`."""

    def __init__(self, share: float, style: Style, chance: random.Random, behind: Server, *, ends_at: float) -> None:
        self._share = share
        self._style = style
        self._chance = chance
        self._behind = behind
        self._ends_at = ends_at

    def arrive(self, now: float) -> Verdict:
        if now < self._ends_at and self._chance.random() < self._share:
            return Verdict(False, told(self._style, now, 0.0))
        return self._behind.arrive(now)


class Unlimited:
    """Takes everything."""

    def arrive(self, now: float) -> Verdict:
        return TAKEN
