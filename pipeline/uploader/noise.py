"""Refusals that have nothing to do with our rate, told from a limit, and lived with.

A limit stops refusing when the rate is lowered; a server that refuses one request in five does not, and who went on
lowering would stand still. So after several refusals in a row, each soon after a pause, they are taken for noise:
the rate is as it was before the cuts and rises with every refusal, until nothing is refused any more (then it is
searched anew) or most of what is sent (then it was a limit after all, and what was accepted is its measure).
"""

from __future__ import annotations

from collections import deque

FEW_REQUESTS, FEW_SECONDS, FEW_IN_A_ROW = 16, 20.0, 6
SOON_REQUESTS, SOON_SECONDS, SOON_IN_A_ROW, DEEP_CUT = 40, 10.0, 8, 4
"""Refusals in a row after so few requests and seconds; the second row counts only where the limit was cut to a quarter
on the way, for then a limit would be far."""
LAST_REFUSALS, LAST_REQUESTS = 10, 70
"""The same for a rate so slow that nothing is soon: so many refusals, most of them after some requests, but few."""
ABOUT = 1.2
"""Who sends so much more than the limit found is refused for good reason."""
STEP_UP, STEP_SECONDS = 1.25, 0.5
"""For each refusal that has nothing to do with the rate, but not more often."""
REFUSALS, ANSWERS, OWN_SHARE = 8, 50, 0.5
"""Of the answers to so many refusals and so many requests: if more are refused, it is our rate's doing."""
QUIET_REQUESTS = 100
"""So many accepted in a row: the noise is over."""


class Noise:
    """Is it noise at present?"""

    def __init__(self) -> None:
        self.is_on = False
        self.limit_before = 0.0
        """What was thought of the limit before the row of refusals began."""
        self._few_in_a_row = self._soon_in_a_row = 0
        self._last: deque[int] = deque(maxlen=LAST_REFUSALS)
        """Requests before each of the last refusals."""
        self._since = self._stepped_at = 0.0
        self._refusals = self._accepted = self._refused = 0

    def note_refusal(self, now: float, *, limit: float, rate: float, accepted: int, seconds: float) -> None:
        """Refused for the first time since a pause, after so many requests and seconds. Is it one too many?"""
        is_after_few = accepted < FEW_REQUESTS and seconds < FEW_SECONDS
        self._few_in_a_row = self._few_in_a_row + 1 if is_after_few else 0
        if rate <= ABOUT * limit:
            is_soon = accepted < SOON_REQUESTS and seconds < SOON_SECONDS
            self._soon_in_a_row = self._soon_in_a_row + 1 if is_soon else 0
        if max(self._few_in_a_row, self._soon_in_a_row) <= 1:
            self.limit_before = limit
        is_cut_deep = limit <= self.limit_before / DEEP_CUT
        self._last.append(accepted)
        if (
            self._few_in_a_row >= FEW_IN_A_ROW
            or (self._soon_in_a_row >= SOON_IN_A_ROW and is_cut_deep)
            or self._are_last_ones_frequent
        ):
            self.is_on = True
            self._few_in_a_row = self._soon_in_a_row = 0
            self._last.clear()
            self._begin(now)

    def note_another(self) -> None:
        """Refused after a pause, with nothing accepted since the last refusal."""
        self._last.append(0)

    @property
    def _are_last_ones_frequent(self) -> bool:
        is_full = len(self._last) == LAST_REFUSALS
        return is_full and sum(self._last) < LAST_REQUESTS and sum(map(bool, self._last)) > LAST_REFUSALS / 2

    def accept(self, in_a_row: int) -> bool:
        """While it is on: accepted, so many in a row. Is the noise over?"""
        self._accepted += 1
        if in_a_row > QUIET_REQUESTS:
            self.is_on = False
        return not self.is_on

    def refuse(self) -> None:
        """While it is on: refused, news or not."""
        self._refused += 1

    def step_up(self, now: float) -> float:
        """While it is on: refused once more. By how much the rate rises."""
        if now - self._stepped_at < STEP_SECONDS:
            return 1.0
        self._stepped_at = now
        return STEP_UP

    def limit_after_all(self, now: float) -> float | None:
        """While it is on: refused once more. If that is our doing: what was accepted a second; the noise is off."""
        self._refusals += 1
        answers = self._accepted + self._refused
        if self._refusals < REFUSALS or answers < ANSWERS:
            return None
        accepted_per_second = self._accepted / max(now - self._since, 0.1)
        if self._refused > OWN_SHARE * answers:
            self.is_on = False
            return accepted_per_second
        self._begin(now)
        return None

    def _begin(self, now: float) -> None:
        self._since = now
        self._refusals = self._accepted = self._refused = 0
