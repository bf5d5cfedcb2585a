"""Finding a rate limit that nobody told us, from nothing but what was accepted and when it was refused.

The limit is pictured as a bucket that fills at so much a second (a token bucket; a window of a minute behaves alike).
A refusal shows that it is empty, so between two refusals what was accepted is what flowed in: meter.py measures it, as
BBR measures bandwidth by what is delivered (draft-ietf-ccwg-bbr), instead of guessing and halving. Then:

- until the first refusal the rate doubles every half second (slow start, RFC 5681);
- after a pause the bucket has filled: a few percent above the limit catch the lost time up, evenly, until the picture
  is empty again;
- where the refusal that is due then does not come, the excess doubles every few seconds, convex as CUBIC's growth
  (RFC 9438): a limit that has risen is found, and one that has not is overrun by a few percent;
- where a bucket is too shallow to catch a pause up, the rate stays just below the limit for fifty times what a
  refusal costs;
- where a refusal comes early, the limit falls to what was measured;
- refusals that do not care about the rate are noise (noise.py), and long pauses are a window's (windows.py).

It knows no clock and no network: moments and pauses come in, a rate comes out.
"""

from __future__ import annotations

import math

from pipeline.uploader.meter import DEPTHS_SECONDS, FEW, Meter
from pipeline.uploader.noise import Noise
from pipeline.uploader.windows import Windows

START_PER_SECOND = 50.0
DOUBLED_EVERY_SECONDS = 0.5
"""Until the first refusal."""
SLOWEST_PER_SECOND = 0.02
FASTEST_PER_SECOND = 100_000.0
BLIND_PER_SECOND = 1.0
"""Refusals with next to nothing accepted say little of the limit: down to this, and the pauses do the rest."""
FOUND_BEFORE_SHARE = 0.9
"""A limit that an earlier run found is begun with somewhat below, and verified."""

CATCH_UP = 0.03
"""So much above the limit, until a pause is caught up."""
PROBE = (0.005, 3.0, 4)
"""So much above it when that is done; doubled every so many seconds or requests, whichever is later."""
FIRST_PROBE = (0.05, 1.0, 2)
"""The same after a single measurement, when little is known."""
BELOW = 0.01
HOLD_FACTOR = 50
"""A refusal that costs a second, for good, is risked every fifty: 2 % at most. In between, just below."""
LONGEST_HOLD_SECONDS = 600.0
BROKEN_HOLD = 0.25
"""Refused while just below: lower by four times as much each time, up to this share."""

STEP_DOWN = 0.85
"""An early refusal lowers the limit so far at most,"""
FAR_DOWN = 0.5
"""unless what was accepted is less than this share of it: then that is the measure."""
HALVING = 8
"""So few requests may halve it, and no more: chance has its part in when they are refused."""
LEARNING_SECONDS = 30.0
"""A measurement over so long weighs as much as all that was known before."""


class Limit:
    """The rate at which to start requests; `ceiling` is never exceeded."""

    def __init__(self, ceiling: float | None, *, found_before: float | None = None, now: float = 0.0) -> None:
        self._ceiling = FASTEST_PER_SECOND if ceiling is None else ceiling
        self._slowest = min(SLOWEST_PER_SECOND, self._ceiling)
        self._is_searching = True
        self._start = START_PER_SECOND if ceiling is None else ceiling
        self._used_seconds = 0.0
        """In the search: time in which the rate held requests back."""
        self._limit = 0.0
        self._is_found = False
        """Has a refusal shown where it is?"""
        self._spare_seconds = DEPTHS_SECONDS[0]
        """How full the bucket is, in the picture."""
        self._doublings = 0.0
        """Of the excess, since a refusal has been due."""
        self._hold_until = -math.inf
        self._broken_holds = 0
        self._last_at = now
        """When something was accepted last."""
        self._is_resuming = False
        self._meter = Meter(now)
        self._windows = Windows(now)
        self._noise = Noise()
        if found_before is not None and math.isfinite(found_before) and found_before > 0:
            self._is_searching = False
            self._limit = self._bounded(max(found_before * FOUND_BEFORE_SHARE, BLIND_PER_SECOND))
        self._rate = self._bounded(self._start if self._is_searching else self._limit)

    @property
    def per_second(self) -> float:
        """The present rate."""
        return self._rate

    @property
    def found_per_second(self) -> float | None:
        """The limit as refusals have shown it; None as long as there were none."""
        return self._limit if self._is_found and not self._noise.is_on else None

    @property
    def is_noise(self) -> bool:
        """Do refusals come whatever the rate?"""
        return self._noise.is_on

    def hint(self, per_second: float) -> None:
        """The API told its limit. It ends the search there, and no more: what is accepted counts."""
        if self._is_searching and self._rate >= per_second >= BLIND_PER_SECOND:
            self._is_searching = False
            self._limit = self._bounded(per_second)
            self._set_rate()

    def accept(self, now: float, *, was_held_back: bool) -> None:
        """A request was accepted. Who did not use the rate learns nothing about it."""
        seconds = now - self._last_at
        self._last_at = now
        self._meter.accept(now, was_held_back=was_held_back)
        if self._noise.is_on:
            if self._noise.accept(self._meter.accepted):
                self._search_from(self._rate)
        elif self._is_searching:
            if was_held_back:
                self._used_seconds += min(seconds, 1.0)
                self._rate = self._bounded(self._start * 2 ** min(self._used_seconds / DOUBLED_EVERY_SECONDS, 30))
        else:
            if self._is_resuming:
                seconds = self._resume(now)
            filled_seconds = self._spare_seconds + seconds - 1 / self._limit
            self._spare_seconds = min(filled_seconds, self._meter.credit_seconds(self._limit))
            is_due = self._spare_seconds < 0 or self._meter.is_unsure
            if was_held_back and is_due and now >= self._hold_until:
                _, every_seconds, every_requests = self._probe
                self._doublings += min(seconds, 1 + 1 / self._rate) / max(every_seconds, every_requests / self._rate)
            self._set_rate(now)

    def refuse(self, now: float, pause_seconds: float, *, is_news: bool) -> None:
        """The API refused, and everybody pauses. `is_news`: for the first time since the last pause."""
        if self._noise.is_on:
            self._noise.refuse()
        if not is_news:
            return
        accepted = self._meter.accepted
        if self._is_searching and accepted < FEW and self._start > BLIND_PER_SECOND:
            self._search_from(max(self._start / 4, min(self._start, BLIND_PER_SECOND)))
        elif accepted:
            self._learn(now, pause_seconds)
        elif not self._noise.is_on:
            self._noise.note_another()
        self._windows.empty(now, accepted)
        self._meter.begin(now, pause_seconds, is_full=self._is_searching)
        self._is_resuming = True
        self._doublings = 0.0
        if not self._is_searching:
            self._set_rate(now + pause_seconds)

    # --- learning -----------------------------------------------------------------------------------------

    def _learn(self, now: float, pause_seconds: float) -> None:
        meter = self._meter
        if self._noise.is_on:
            after_all = self._noise.limit_after_all(now)
            self._limit = self._bounded(self._limit * self._noise.step_up(now) if after_all is None else after_all)
            return
        if self._is_searching or not self._is_found:  # also where an earlier run or a hint told where to begin
            meter.note(now, None if self._is_searching else self._limit)
            self._is_searching = False
            self._is_found = True
            self._limit = self._bounded(meter.inflow(now, max(DEPTHS_SECONDS[0], pause_seconds)))
            return
        self._noise.note_refusal(
            now, limit=self._limit, rate=self._rate, accepted=meter.accepted, seconds=now - meter.resumed_at
        )
        if self._noise.is_on:
            self._limit = max(self._noise.limit_before, self._limit)
        elif self._spare_seconds > max(1.5 / self._limit, 0.03 * (now - meter.began_at)):
            self._learn_from_an_early_one(now)
        else:
            self._learn_from_a_due_one(now, pause_seconds)

    def _learn_from_an_early_one(self, now: float) -> None:
        """The bucket was empty sooner than in the picture: the limit has fallen."""
        meter = self._meter
        meter.forget()
        meter.note(now, self._limit)
        measured = meter.inflow(now, max(meter.depth_seconds, meter.pause_seconds))
        if measured >= FAR_DOWN * self._limit:
            measured = max(measured, STEP_DOWN * self._limit)
        self._limit = self._bounded(max(measured, self._lowest()))

    def _learn_from_a_due_one(self, now: float, pause_seconds: float) -> None:
        """The picture is right, by and large: the limit is measured once more."""
        meter = self._meter
        seconds = max(now - meter.began_at, 0.1)
        was_holding = now < self._hold_until
        was_unsure = meter.is_unsure
        meter.note(now, self._limit)
        meter.choose_depth()
        measured = meter.measure(now, self._limit)
        is_late = measured > 1.05 * self._limit + 1.5 / seconds
        self._broken_holds = self._broken_holds + 1 if was_holding else 0
        below_rate = self._rate / (1 + min(PROBE[0] * 4**self._broken_holds, BROKEN_HOLD))
        measured = min(measured, max(below_rate, meter.accepted / seconds))
        if meter.accepted < FEW:
            measured = min(measured, 0.9 * self._limit)
        measured = max(measured, self._lowest())
        weight = 1.0 if is_late or was_holding or was_unsure else seconds / (seconds + LEARNING_SECONDS)
        self._limit = self._bounded(self._limit + weight * (measured - self._limit))
        if not (is_late or meter.is_unsure):
            lost_seconds = max(0.0, pause_seconds - meter.credit_seconds(self._limit))
            self._hold_until = now + pause_seconds + min(HOLD_FACTOR * lost_seconds, LONGEST_HOLD_SECONDS)

    def _lowest(self) -> float:
        return self._limit / (1 + self._meter.accepted / HALVING)

    def _resume(self, now: float) -> float:
        """The first one after a pause was accepted; returns the seconds since the pause ended."""
        self._is_resuming = False
        windowed = self._windows.resume(now)
        if windowed is not None:
            self._limit = self._bounded(windowed)
            self._meter.note_known(self._limit)
        self._spare_seconds = min(self._meter.pause_seconds, self._meter.credit_seconds(self._limit))
        return max(0.0, now - self._meter.resumed_at)

    # --- the rate -----------------------------------------------------------------------------------------

    def _search_from(self, rate: float) -> None:
        self._is_searching = True
        self._start = self._rate = rate
        self._used_seconds = 0.0

    @property
    def _probe(self) -> tuple[float, float, int]:
        return FIRST_PROBE if self._meter.is_unsure else PROBE

    def _set_rate(self, now: float = -math.inf) -> None:
        if self._noise.is_on:
            factor = 1.0
        elif now < self._hold_until:
            factor = 1 - BELOW
        else:
            excess = self._probe[0] * 2 ** min(self._doublings, 40)
            factor = 1 + (max(excess, CATCH_UP) if self._spare_seconds > 0 else excess)
        self._rate = self._bounded(self._limit * factor)

    def _bounded(self, rate: float) -> float:
        return min(max(rate, self._slowest), self._ceiling)
