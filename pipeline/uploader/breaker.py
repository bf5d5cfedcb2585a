"""The breaker: after many troubles in a row everybody waits, and one attempt at a time asks whether it is over."""

from __future__ import annotations

import random

from pipeline.uploader.retry import backoff_seconds

THRESHOLD = 10
"""So many attempts in a row without any answer of the API's: stop, and probe with one."""
LONGEST_PROBE_SECONDS = 5.0
"""A probe is one request: asking often costs nobody anything."""


class Breaker:
    """Closed as long as answers come."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.failures = 0
        """In a row."""
        self._probes = 0
        self._probes_sent = 0
        self.probe_out = 0
        """The number of the probe that is out, and was not heard of; 0: none is."""
        self._next_probe = 0.0
        self.is_open = False

    def probe_at(self) -> float:
        """When the next probe may leave; never, while one is out. (The breaker is open.)"""
        return float("inf") if self.probe_out else self._next_probe

    def send_probe(self) -> None:
        """A probe leaves."""
        self._probes_sent += 1
        self.probe_out = self._probes_sent

    def lose_probe(self) -> None:
        """It was given up before it saw anything, or saw what tells nothing."""
        self.probe_out = 0

    def note_answer(self) -> None:
        """Things work, if only to say "later"."""
        self.failures = 0
        self.is_open = False
        self.probe_out = 0

    def note_trouble(self, now: float, *, was_probe: bool) -> None:
        """No answer, or a broken one."""
        self.failures += 1
        if self.is_open:
            if was_probe:  # the others left before the breaker opened, and tell nothing new
                self._probes += 1
                self._probe_later(now)
        elif self.failures >= THRESHOLD:
            self.is_open = True
            self._probes = 1
            self._probe_later(now)

    def _probe_later(self, now: float) -> None:
        self.probe_out = 0
        self._next_probe = now + min(0.2 + backoff_seconds(self._probes, self._chance), LONGEST_PROBE_SECONDS)
