"""What a limit lets through, measured between two refusals.

A refusal shows that the bucket is empty. So what was accepted until the next one is what flowed in meanwhile, the
pause included as far as the bucket is deep enough to hold it. How deep it is cannot be seen from one refusal; but of
several, with rates that differed, only the right depth makes the same limit.
"""

from __future__ import annotations

from collections import deque

DEPTHS_SECONDS = (1.0, 0.5, 0.2, 0.0)
"""How deep a bucket may be; the first is what is thought before it is known."""
AGREEMENT = 1.1
"""Another depth is believed when it makes the measurements agree so much better."""
MEASUREMENTS = 3
FEW = 4
"""Fewer requests than that measure nothing."""
MARK_EVERY_SECONDS = 0.5
MARKS = 120
SHORTEST_SECONDS = 0.1


class Meter:
    """Requests accepted since the last refusal, and what the last few refusals measured."""

    def __init__(self, now: float) -> None:
        self.depth_seconds = DEPTHS_SECONDS[0]
        self.accepted = 0
        self.began_at = now
        """When the bucket was empty last."""
        self.resumed_at = now
        self.pause_seconds = 0.0
        self._was_idle = False
        self._marks: deque[tuple[float, int]] = deque([(now, 0)], maxlen=MARKS)
        """Moments since then, with what had been accepted."""
        self._measured: deque[tuple[float, ...]] = deque(maxlen=MEASUREMENTS)
        """The limit by each of the last refusals, for each depth."""

    @property
    def is_unsure(self) -> bool:
        """A single measurement cannot tell a deep bucket from a shallow one."""
        return len(self._measured) < 2

    def accept(self, now: float, *, was_held_back: bool) -> None:
        """A request was accepted."""
        self.accepted += 1
        if not was_held_back:
            self._was_idle = True
        if now - self._marks[-1][0] >= MARK_EVERY_SECONDS:
            self._marks.append((now, self.accepted))

    def begin(self, now: float, pause_seconds: float, *, is_full: bool) -> None:
        """The bucket is empty, and everybody pauses. `is_full`: as far as is known, it is full after the pause."""
        self.accepted = 0
        self.began_at = now
        self.pause_seconds = pause_seconds
        self.resumed_at = now + pause_seconds
        self._was_idle = False
        self._marks.clear()
        self._marks.append((self.resumed_at if is_full else now, 0))

    def note(self, now: float, limit: float | None) -> None:
        """A refusal: keep what it measures. `limit` is what was thought until now."""
        if self.accepted >= FEW:
            self._measured.append(tuple(self._measure(now, limit, depth) for depth in DEPTHS_SECONDS))

    def note_known(self, limit: float) -> None:
        """The limit is known otherwise, and certain."""
        self._measured.extend([(limit,) * len(DEPTHS_SECONDS)] * 2)

    def forget(self) -> None:
        """What was measured until now was another limit."""
        self._measured.clear()

    def choose_depth(self) -> None:
        """By the depth with which the last refusals tell the same limit."""
        if self.is_unsure:
            return
        spreads = [max(rates) / min(rates) for rates in zip(*self._measured, strict=True)]
        best = spreads.index(min(spreads))
        if spreads[best] * AGREEMENT < spreads[DEPTHS_SECONDS.index(self.depth_seconds)]:
            self.depth_seconds = DEPTHS_SECONDS[best]

    def measure(self, now: float, limit: float) -> float:
        """The limit by this refusal, with the depth that is believed."""
        return self._measure(now, limit, self.depth_seconds)

    def credit_seconds(self, limit: float) -> float:
        """How much of a pause the bucket holds, beside the one request that a refusal was short of."""
        return max(0.0, self.depth_seconds - 1 / limit)

    def inflow(self, now: float, depth_seconds: float) -> float:
        """The most that can have flowed into a bucket of that depth, by any stretch of time that ends now."""
        least = min(FEW, self.accepted)
        return max(
            (self.accepted - before + (before > 0)) / max(now - at + depth_seconds, SHORTEST_SECONDS)
            for at, before in self._marks
            if self.accepted - before >= least
        )

    def _measure(self, now: float, limit: float | None, depth_seconds: float) -> float:
        if limit is None:
            return self.inflow(now, depth_seconds)
        depth_seconds = max(0.0, depth_seconds - 1 / limit)
        measured = self.inflow(now, depth_seconds)
        if self._was_idle:
            return measured
        unpaused = max(0.0, now - self.resumed_at)
        filled_seconds = max(unpaused + min(depth_seconds, self.pause_seconds), SHORTEST_SECONDS)
        return max(measured, self.accepted / filled_seconds)
