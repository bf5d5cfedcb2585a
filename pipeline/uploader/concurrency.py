"""How many requests at once: fewer where answers come later because of us.

A server that queues instead of refusing answers later the more is in flight: latency = in flight / throughput
(Little). So the median latency of a few answers is compared with the least one seen, and what is in flight is cut to
what would take half as long again. It is the gradient of Netflix's concurrency-limits and of Envoy's adaptive
concurrency, with two questions asked of every change. Did fewer in flight shorten the answers? If not, the server
is slow and not congested, and that is its new normal. And is the least latency still true? Every minute in which
answers are late, half as many are sent for a moment, until the queue is gone (BBR's ProbeRTT).
"""

from __future__ import annotations

SAMPLES = 16
"""Answers whose median is one measurement."""
LATE = 1.5
"""Answers are late that take so many times the least latency"""
SLACK_SECONDS = 0.02
"""and so much more: below that it is the machines' own business."""
HELPED = 0.85
"""A cut by half that leaves more than this share of the latency has not helped."""
GROWTH = 0.1
TIMEOUT_CUT = 0.7
FORGET_SECONDS = 60.0


class Concurrency:
    """The number of requests that may be in flight; `ceiling` is never exceeded."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._cap = float(ceiling)
        self._samples: list[float] = []
        self._most_in_flight = 0
        self._began_at = 0.0
        self._least_seconds = float("inf")
        self._least_at = 0.0
        self._before_cuts: tuple[float, float] | None = None
        """The cap and the latency before the first of the cuts that are being judged."""
        self._drained_from: float | None = None
        self._cut_at = float("-inf")
        self.at_once = ceiling

    def note_answer(self, now: float, started_at: float, in_flight: int) -> None:
        """An answer came; so many were in flight, itself among them."""
        if started_at < self._began_at:
            return  # it left before the last change, and tells of the time before
        samples = self._samples
        samples.append(now - started_at)
        if in_flight > self._most_in_flight:  # noqa: PLR1730  (three times as fast as max)
            self._most_in_flight = in_flight
        if len(samples) >= SAMPLES:
            self._judge(now, sorted(samples)[SAMPLES // 2])
            samples.clear()
            self._most_in_flight = 0

    def note_timeout(self, now: float, started_at: float) -> None:
        """No answer in time: fewer at once, once for all that left before."""
        if started_at >= self._cut_at:
            self._cut_at = now
            self._set_cap(now, self._cap * TIMEOUT_CUT)

    def _judge(self, now: float, seconds: float) -> None:
        if self._drained_from is not None:
            self._least_seconds, self._least_at = seconds, now
            self._set_cap(now, self._drained_from)
            self._drained_from = None
            return
        if seconds <= self._least_seconds:
            self._least_seconds, self._least_at = seconds, now
        late_seconds = LATE * self._least_seconds + SLACK_SECONDS
        if seconds > late_seconds:
            self._cut(now, seconds, late_seconds)
            return
        self._before_cuts = None
        if seconds < (1 + LATE) / 2 * self._least_seconds + SLACK_SECONDS:
            self._grow(now)
        if now - self._least_at > FORGET_SECONDS and seconds > 1.1 * self._least_seconds + SLACK_SECONDS / 2:
            self._drained_from = self._cap
            self._set_cap(now, min(self._cap, self._most_in_flight) / 2)

    def _cut(self, now: float, seconds: float, late_seconds: float) -> None:
        in_flight = min(self._cap, self._most_in_flight)
        if self._before_cuts is None:
            self._before_cuts = (in_flight, seconds)
        cap_before, seconds_before = self._before_cuts
        if in_flight <= max(cap_before / 2, 1) and seconds > HELPED * seconds_before:
            self._least_seconds, self._least_at = seconds, now  # slow, and not because of us
            self._before_cuts = None
            self._set_cap(now, cap_before)
            return
        self._set_cap(now, in_flight * max(late_seconds / seconds, 0.5))

    def _grow(self, now: float) -> None:
        if self._cap < self._ceiling and self._most_in_flight >= self.at_once:
            self._cap = min(self._cap + max(1.0, GROWTH * self._cap), float(self._ceiling))
            self.at_once = max(1, int(self._cap))

    def _set_cap(self, now: float, cap: float) -> None:
        self._cap = min(max(cap, 1.0), float(self._ceiling))
        self.at_once = max(1, int(self._cap))
        self._began_at = now
        self._samples.clear()
