"""SIGINT and SIGTERM become the wish to stop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from pipeline.report.snapshot import Stop


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """The first SIGINT or SIGTERM drains, the second breaks off; whatever is open goes on in the next run."""
    stop = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.request(number)
        if stop.times == 1:  # straight to the descriptor: a handler must not wait for a lock that it interrupted
            os.write(2, b"\nStopping: waiting for what is on the wire. Once more to stop at once.\n")
        if stop.times == 2:  # a third one ends it the hard way; the next run goes on all the same
            signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
