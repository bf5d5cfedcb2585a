"""Limits that are counted in windows: a quota used up early and the rest of the window waited for.

The rate of a window is what was accepted in it by its whole length, the wait included. At that rate the next window is
used from beginning to end, with a short pause at most. Where pauses stay long at that rate they are no window's, but
of an API that always says the same Retry-After, and nothing is learnt from them.
"""

from __future__ import annotations

from pipeline.uploader.meter import FEW

LONG_PAUSE_SECONDS = 5.0
LONG_PAUSES = 3
LONGEST_CYCLE_SECONDS = 150.0


class Windows:
    """What was accepted since the end of a long pause, or since a while ago."""

    def __init__(self, now: float) -> None:
        self._emptied_at = self._began_at = now
        self._accepted = 0
        self._long_pauses = 0
        self._is_windowed = False

    def empty(self, now: float, accepted: int) -> None:
        """Refused, after so many accepted since the last refusal."""
        if accepted:
            self._emptied_at = now
            self._accepted += accepted

    def resume(self, now: float) -> float | None:
        """Something is accepted again: the rate of the windows, if there are windows."""
        seconds, accepted = now - self._began_at, self._accepted
        is_long = now - self._emptied_at >= LONG_PAUSE_SECONDS
        self._long_pauses = self._long_pauses + 1 if is_long else 0
        self._is_windowed = (self._is_windowed or is_long) and self._long_pauses <= LONG_PAUSES
        if is_long or seconds > LONGEST_CYCLE_SECONDS:
            self._began_at, self._accepted = now, 0
        return accepted / seconds if self._is_windowed and accepted >= FEW and seconds >= LONG_PAUSE_SECONDS else None
