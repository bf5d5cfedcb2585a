"""Finding a rate limit that nobody told us, from nothing but what was accepted and when it was refused.

The limit is pictured as a bucket that fills at `L` a second, for `depth_seconds` at most (a token bucket; a window of a
minute behaves alike). A refusal shows that it is empty. So between two refusals what was accepted is what flowed in,
the pause included, and `accepted / seconds` measures `L` without bias, as bandwidth is measured by what is delivered
(BBR, draft-ietf-ccwg-bbr) and not by guessing and halving. Then:

- until the first refusal the rate doubles every half second (slow start, RFC 5681);
- after a pause the bucket has filled: a few percent above `L` catch the lost time up, until the picture is empty;
- where the refusal that is due does not come, the excess doubles every few seconds, convex as CUBIC's (RFC 9438), so
  that a limit that has risen is found, and one that has not is overrun by a few percent only;
- where it comes early, `L` falls to what was measured, or the depth was less than thought;
- refusals that go on all the same have nothing to do with the rate: after five cuts in vain it is let go again.

It knows no clock and no network: moments and pauses come in, a rate comes out.
"""

from __future__ import annotations

import math
from collections import deque

START_PER_SECOND = 50.0
DOUBLED_EVERY_SECONDS = 0.5
"""Until the first refusal."""
SLOWEST_PER_SECOND = 0.02
FASTEST_PER_SECOND = 100_000.0
BLIND_PER_SECOND = 1.0
"""Refusals with nothing accepted in between say little about the limit: down to this, and the pauses do the rest."""
CATCH_UP = 0.03
"""So much above the limit found, until a pause is caught up."""
PROBE = 0.005
"""So much above it at first when that is done and the refusal is due, and twice as much"""
PROBE_DOUBLED_EVERY_SECONDS = 3.0
PROBE_DOUBLED_EVERY_REQUESTS = 4
FIRST_PROBE = 0.05
FIRST_PROBE_DOUBLED_EVERY_SECONDS = 1.0
FIRST_PROBE_DOUBLED_EVERY_REQUESTS = 2
"""The same after a single measurement, which cannot tell a deep bucket from a shallow one."""
"""The later of both: a slow limit cannot answer sooner."""
BELOW = 0.01
"""Where a refusal costs time that cannot be caught up, so much below the limit in between."""
HOLD_FACTOR = 50
"""A probe that costs a second is made every fifty: 2 % at most."""
LONGEST_HOLD_SECONDS = 600.0
DEPTHS_SECONDS = (1.0, 0.5, 0.2, 0.0)
"""How deep a bucket may be; the first is what is thought before it is known."""
DEPTH_SECONDS = DEPTHS_SECONDS[0]
AGREEMENT = 1.1
"""Another depth is believed when it makes the measurements agree so much better."""
MEASUREMENTS = 3
BROKEN_HOLD = 0.25
"""Refused while just below: lower by twice as much each time, up to this."""
STEP_DOWN = 0.85
FEW = 4
"""Fewer requests than that measure nothing."""
HALVING = 8
"""So many may halve the limit, and no more: chance has its part in when they are refused."""
FAR_DOWN = 0.5
"""Refused at less than this share of the limit: it has fallen, and what was accepted is the measure."""
LONG_PAUSE_SECONDS = 5.0
LONG_PAUSES = 3
LONGEST_CYCLE_SECONDS = 150.0
FEW_REQUESTS, FEW_SECONDS, FEW_IN_A_ROW = 16, 20.0, 6
SOON_REQUESTS, SOON_SECONDS, SOON_IN_A_ROW, DEEP_CUT = 40, 10.0, 8, 4
"""Refusals in a row after so few requests and seconds have nothing to do with the rate; the second row counts only
where the limit was cut to a quarter on the way, for then a limit would be far."""
STEP_UP = 1.25
"""For each refusal that has nothing to do with the rate."""
DEAF_REFUSALS = 8
DEAF_ANSWERS = 50
OWN_SHARE = 0.5
"""Of the answers to so many refusals and so many requests: if more are refused, it is our rate's doing."""
QUIET_REQUESTS = 100
"""So many accepted in a row: the noise is over."""
FOUND_BEFORE_SHARE = 0.9
"""A limit that an earlier run found is begun with somewhat below, and verified."""
MARK_EVERY_SECONDS = 0.5
MARKS = 120
_FIRST = (FIRST_PROBE, FIRST_PROBE_DOUBLED_EVERY_SECONDS, FIRST_PROBE_DOUBLED_EVERY_REQUESTS)
_LATER = (PROBE, PROBE_DOUBLED_EVERY_SECONDS, PROBE_DOUBLED_EVERY_REQUESTS)


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
        self._depth_seconds = DEPTH_SECONDS
        self._spare_seconds = DEPTH_SECONDS
        """How full the bucket is, in the picture."""
        self._over_seconds = 0.0
        """How long a refusal has been due."""
        self._hold_until = -math.inf
        self._broken_holds = 0
        self._began_at = self._last_at = now
        """When the bucket was empty last; when something was accepted last."""
        self._pause_seconds = 0.0
        self._resumed_at = now
        self._is_resuming = False
        self._was_idle = False
        self._emptied_at = now
        self._cycle_began_at = now
        self._cycle_accepted = 0
        """Since the end of a long pause, or a while ago."""
        self._long_pauses = 0
        self._is_windowed = False
        self._accepted = 0
        self._marks: deque[tuple[float, int]] = deque([(now, 0)], maxlen=MARKS)
        """Moments since then, with what had been accepted."""
        self._measured: deque[tuple[float, ...]] = deque(maxlen=MEASUREMENTS)
        """The limit by each of the last refusals, for each depth."""
        self._few_in_a_row = self._soon_in_a_row = 0
        """Refusals after few requests; refusals soon after a pause."""
        self._before_cuts = 0.0
        self._is_deaf = False
        self._deaf_refusals = self._deaf_answers = self._deaf_refused = 0
        self._deaf_since = now
        self.is_found = False
        """Has a refusal shown where the limit is?"""
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
        return self._limit if self.is_found and not self._is_deaf else None

    @property
    def is_deaf(self) -> bool:
        """Refusals come, whatever the rate."""
        return self._is_deaf

    def hint(self, per_second: float) -> None:
        """The API told its limit. It ends the search there, and no more: what is accepted counts."""
        if self._is_searching and self._rate >= per_second >= BLIND_PER_SECOND:
            self._is_searching = False
            self._limit = self._bounded(per_second)
            self._set_rate()

    def accept(self, now: float, *, was_held_back: bool) -> None:
        """A request was accepted. Who did not use the rate learns nothing about it."""
        self._accepted += 1
        seconds = now - self._last_at
        self._last_at = now
        if now - self._marks[-1][0] >= MARK_EVERY_SECONDS:
            self._marks.append((now, self._accepted))
        if self._is_deaf:
            self._deaf_answers += 1
            if self._accepted > QUIET_REQUESTS:
                self._hear_again()
            return
        self._was_idle |= not was_held_back
        if self._is_searching:
            if was_held_back:
                self._used_seconds += min(seconds, 1.0)
                self._rate = self._bounded(self._start * 2 ** min(self._used_seconds / DOUBLED_EVERY_SECONDS, 30))
            return
        if self._is_resuming:
            self._is_resuming = False
            self._learn_from_the_pause(now)
            self._spare_seconds = self._credit_seconds(self._pause_seconds)
            seconds = max(0.0, now - self._resumed_at)
        self._spare_seconds = min(self._spare_seconds + seconds - 1 / self._limit, self._credit_seconds(math.inf))
        if was_held_back and (self._spare_seconds < 0 or self._is_unsure) and now >= self._hold_until:
            self._over_seconds += min(seconds, 1 + 1 / self._rate)
        self._set_rate(now)

    def refuse(self, now: float, pause_seconds: float, *, is_news: bool) -> None:
        """The API refused, and everybody pauses. `is_news`: for the first time since the last pause."""
        if self._is_deaf:
            self._deaf_refused += 1
            self._deaf_answers += 1
        if not is_news:
            return
        if self._is_searching and self._accepted < FEW and self._start > BLIND_PER_SECOND:
            self._start = self._rate = max(self._start / 4, min(self._start, BLIND_PER_SECOND))
            self._used_seconds = 0.0
        elif self._accepted:
            self._learn(now, pause_seconds)
        if self._accepted:
            self._emptied_at = now
            self._cycle_accepted += self._accepted
        self._began_at = now
        self._pause_seconds = pause_seconds
        self._resumed_at = now + pause_seconds
        self._is_resuming = True
        self._was_idle = False
        self._accepted = 0
        self._over_seconds = 0.0
        self._marks.clear()
        self._marks.append((self._resumed_at if self._is_searching else now, 0))
        if not self._is_searching:
            self._set_rate(self._resumed_at)

    # --- learning -----------------------------------------------------------------------------------------

    def _learn(self, now: float, pause_seconds: float) -> None:
        if self._is_deaf:
            self._listen(now)
        elif self._is_searching or not self.is_found:  # also where the beginning was an earlier run's limit, or a hint
            self._note_measurement(now)
            self._is_searching = False
            self._limit = self._bounded(self._inflow(now, max(DEPTH_SECONDS, pause_seconds)))
            self.is_found = True
        elif not self._is_in_vain(now):
            self.is_found = True
            if self._spare_seconds > max(1.5 / self._limit, 0.03 * (now - self._began_at)):
                self._learn_from_an_early_one(now)
            else:
                self._learn_from_a_due_one(now, pause_seconds)

    def _learn_from_an_early_one(self, now: float) -> None:
        """The bucket was empty sooner than in the picture: the limit has fallen."""
        self._measured.clear()
        self._note_measurement(now)
        measured = self._inflow(now, max(self._depth_seconds, self._pause_seconds))
        if measured >= FAR_DOWN * self._limit:
            measured = max(measured, STEP_DOWN * self._limit)
        self._limit = self._bounded(max(measured, self._limit / (1 + self._accepted / HALVING)))

    def _learn_from_a_due_one(self, now: float, pause_seconds: float) -> None:
        """The picture is right, by and large: the limit is measured once more."""
        seconds = now - self._began_at
        was_holding = now < self._hold_until
        was_unsure = self._is_unsure
        self._note_measurement(now)
        self._choose_depth()
        measured = self._measure(now, self._depth_seconds)
        is_late = measured > 1.05 * self._limit + 1.5 / max(seconds, 0.1)
        self._broken_holds = self._broken_holds + 1 if was_holding else 0
        lower = self._rate / (1 + min(PROBE * 4**self._broken_holds, BROKEN_HOLD))
        measured = min(measured, max(lower, self._accepted / max(seconds, 0.1)))
        if self._accepted < FEW:
            measured = min(measured, 0.9 * self._limit)
        weight = 1.0 if is_late or was_holding or was_unsure else seconds / (seconds + 30.0)
        measured = max(measured, self._limit / (1 + self._accepted / HALVING))
        self._limit = self._bounded(self._limit + weight * (measured - self._limit))
        lost_seconds = pause_seconds - self._credit_seconds(pause_seconds)
        if not (is_late or self._is_unsure):
            self._hold_until = now + pause_seconds + min(HOLD_FACTOR * lost_seconds, LONGEST_HOLD_SECONDS)

    def _learn_from_the_pause(self, now: float) -> None:
        """A window's quota was used up early, and the rest of it was waited for: its rate is that of both together.

        Where pauses stay as long at that rate, they are no windows' but an API's that always says the same.
        """
        seconds = now - self._cycle_began_at
        is_long = now - self._emptied_at >= LONG_PAUSE_SECONDS
        self._long_pauses = self._long_pauses + 1 if is_long else 0
        self._is_windowed = (self._is_windowed or is_long) and self._long_pauses <= LONG_PAUSES
        if self._is_windowed and self._cycle_accepted >= FEW and seconds >= LONG_PAUSE_SECONDS:
            self._limit = self._bounded(self._cycle_accepted / seconds)
            self._measured.extend([(self._limit,) * len(DEPTHS_SECONDS)] * 2)
        if is_long or seconds > LONGEST_CYCLE_SECONDS:
            self._cycle_began_at, self._cycle_accepted = now, 0

    def _is_in_vain(self, now: float) -> bool:
        """Do refusals come as they like? Soon and after few requests, or soon at a quarter of what was the limit."""
        seconds = now - self._resumed_at
        self._few_in_a_row = self._few_in_a_row + 1 if self._accepted < FEW_REQUESTS and seconds < FEW_SECONDS else 0
        if self._rate <= 1.2 * self._limit:
            is_soon = self._accepted < SOON_REQUESTS and seconds < SOON_SECONDS
            self._soon_in_a_row = self._soon_in_a_row + 1 if is_soon else 0
        if max(self._few_in_a_row, self._soon_in_a_row) <= 1:
            self._before_cuts = self._limit
        is_cut_deep = self._limit <= self._before_cuts / DEEP_CUT
        if self._few_in_a_row >= FEW_IN_A_ROW or (self._soon_in_a_row >= SOON_IN_A_ROW and is_cut_deep):
            self._limit = max(self._before_cuts, self._limit)
            self._is_deaf = True
            self._few_in_a_row = self._soon_in_a_row = 0
            self._begin_listening(now)
        return self._is_deaf

    @property
    def _is_unsure(self) -> bool:
        return len(self._measured) < 2

    def _note_measurement(self, now: float) -> None:
        if self._accepted >= FEW:
            self._measured.append(tuple(self._measure(now, depth) for depth in DEPTHS_SECONDS))

    def _choose_depth(self) -> None:
        """By the depth with which the last refusals tell the same limit."""
        if self._is_unsure:
            return
        spreads = [max(rates) / min(rates) for rates in zip(*self._measured, strict=True)]
        current = DEPTHS_SECONDS.index(self._depth_seconds)
        best = spreads.index(min(spreads))
        if spreads[best] * AGREEMENT < spreads[current]:
            self._depth_seconds = DEPTHS_SECONDS[best]

    def _measure(self, now: float, depth_seconds: float) -> float:
        if not self._is_searching and self._limit > 0:
            depth_seconds = max(0.0, depth_seconds - 1 / self._limit)
        measured = self._inflow(now, depth_seconds)
        if self._was_idle or self._is_searching:
            return measured
        unpaused = max(0.0, now - self._resumed_at)
        return max(measured, self._accepted / max(unpaused + min(depth_seconds, self._pause_seconds), 0.1))

    def _inflow(self, now: float, depth_seconds: float) -> float:
        """The most that can have flowed into a bucket of that depth, by any stretch of time that ends now."""
        least = min(4, self._accepted)
        return max(
            (self._accepted - before + (before > 0)) / max(now - at + depth_seconds, 0.1)
            for at, before in self._marks
            if self._accepted - before >= least
        )

    def _credit_seconds(self, pause_seconds: float) -> float:
        """How much of a pause the bucket holds, beside the one request that a refusal was short of."""
        return min(pause_seconds, max(0.0, self._depth_seconds - 1 / self._limit))

    # --- refusals that have nothing to do with the rate ---------------------------------------------------

    def _begin_listening(self, now: float) -> None:
        self._deaf_since = now
        self._deaf_refusals = self._deaf_answers = self._deaf_refused = 0

    def _listen(self, now: float) -> None:
        self._deaf_refusals += 1
        self._limit = self._bounded(self._limit * STEP_UP)
        if self._deaf_refusals >= DEAF_REFUSALS and self._deaf_answers >= DEAF_ANSWERS:
            if self._deaf_refused > OWN_SHARE * self._deaf_answers:
                self._is_deaf = False
                accepted = self._deaf_answers - self._deaf_refused
                self._limit = self._bounded(accepted / max(now - self._deaf_since, 0.1))
            self._begin_listening(now)

    def _hear_again(self) -> None:
        self._is_deaf = False
        self._is_searching = True
        self._start = self._rate
        self._used_seconds = 0.0

    # --- the rate -----------------------------------------------------------------------------------------

    def _set_rate(self, now: float = -math.inf) -> None:
        if self._is_deaf:
            factor = 1.0
        elif now < self._hold_until:
            factor = 1 - BELOW
        else:
            first, every_seconds, every_requests = _FIRST if self._is_unsure else _LATER
            doubled_every = max(every_seconds, every_requests / self._limit)
            probe = first * 2 ** min(self._over_seconds / doubled_every, 40)
            factor = 1 + max(probe, CATCH_UP if self._spare_seconds > 0 else 0)
        self._rate = self._bounded(self._limit * factor)

    def _bounded(self, rate: float) -> float:
        return min(max(rate, self._slowest), self._ceiling)
