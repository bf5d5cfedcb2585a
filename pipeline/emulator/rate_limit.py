"""How many requests the server takes: a token bucket, a window, or a queue that makes answers late."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from email.utils import formatdate

from pipeline.emulator.options import Options
from pipeline.emulator.wire import Answer, RefusalError


@dataclass(frozen=True, slots=True)
class Decision:
    is_allowed: bool
    remaining: int
    wait_seconds: float
    """Until the next request is allowed."""


class RateLimit:
    """At most `max_per_second` requests; a refused request costs nothing."""

    def __init__(self, options: Options, max_per_second: float, burst: float | None) -> None:
        self._options = options
        self._rate = max_per_second
        self._burst = max(1.0, max_per_second) if burst is None else max(1.0, burst)
        self._tokens = self._burst
        self._filled_at = time.monotonic()
        self._window = 0
        self._used = 0

    def take(self) -> Decision:
        return self._from_window() if self._options.rate_limit_mode == "fixed_window" else self._from_bucket()

    def headers(self, decision: Decision) -> list[tuple[bytes, bytes]]:
        """What an answer tells about the limit, by option `rate_limit_headers`."""
        kind = self._options.rate_limit_headers
        seconds = max(1, math.ceil(decision.wait_seconds))
        if kind == "x-ratelimit":
            limit = self._per_window if self._options.rate_limit_mode == "fixed_window" else int(self._burst)
            return [
                (b"x-ratelimit-limit", b"%d" % limit),
                (b"x-ratelimit-remaining", b"%d" % decision.remaining),
                (b"x-ratelimit-reset", b"%d" % (time.time() + seconds)),
            ]
        if decision.is_allowed or kind == "none":
            return []
        if kind == "http-date":
            return [(b"retry-after", formatdate(time.time() + seconds, usegmt=True).encode())]
        return [(b"retry-after", b"%d" % seconds)]

    def refusal(self, decision: Decision) -> Answer:
        answer = RefusalError(429, "Too many requests, please try again later.").answer()
        answer.headers = self.headers(decision)
        return answer

    @property
    def _per_window(self) -> int:
        return max(1, int(self._rate * self._options.rate_limit_window_seconds))

    def _from_bucket(self) -> Decision:
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        is_allowed = self._tokens >= 1
        if is_allowed:
            self._tokens -= 1
        return Decision(is_allowed, int(self._tokens), max(0.0, 1 - self._tokens) / self._rate)

    def _from_window(self) -> Decision:
        seconds = self._options.rate_limit_window_seconds
        window, position = divmod(time.time(), seconds)
        if window != self._window:
            self._window, self._used = int(window), 0
        is_allowed = self._used < self._per_window
        if is_allowed:
            self._used += 1
        remaining = self._per_window - self._used
        return Decision(is_allowed, remaining, 0.0 if remaining else seconds - position)


class Queue:
    """No refusals: beyond `per_second`, each request waits for those before it."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._free_at = 0.0

    def wait_seconds(self) -> float:
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + self._interval
        return self._free_at - now
