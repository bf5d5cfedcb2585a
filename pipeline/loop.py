"""An event loop in a thread of its own: works also where this thread has a loop already (a notebook)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pipeline.report.snapshot import Stop

T = TypeVar("T")


def in_a_loop_of_its_own(work: Callable[[], Coroutine[Any, Any, T]], stop: Stop) -> T:
    """Run `work` to its end and return what it returns; an interrupt asks it to stop, and is waited for."""
    with ThreadPoolExecutor(1, thread_name_prefix="import") as thread:
        future = thread.submit(_run, work)
        while True:
            try:
                return future.result()
            except KeyboardInterrupt:
                stop.request(signal.SIGINT)


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(work())


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415  (not on every platform)
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
