"""Places for sessions that are on their way; who waits for something else than its turn gives its place back."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable


class Places:
    """A number of places. The lowest rank comes first; `on_free` hears of a place that nobody waits for."""

    def __init__(self, count: int, on_free: Callable[[], None]) -> None:
        self._free = count
        self._on_free = on_free
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        """A heap: rank, arrival, turn."""
        self._arrivals = 0

    def take(self) -> bool:
        """Take a place if there is a free one."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    async def wait(self, rank: int) -> None:
        """Take a place as soon as there is one."""
        if self.take():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        heapq.heappush(self._waiting, (rank, self._arrivals, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was handed over in the same moment
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place back."""
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
        self._on_free()
