"""Before the first turn of a session leaves, the ledger says so: then only a look tells whether it was stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Beginnings:
    """Sessions that begin while one commit goes on share the next one."""

    def __init__(self, write: Callable[[list[int]], Awaitable[None]]) -> None:
        self._write = write
        self._rows: list[int] = []
        self._going_on: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def note(self, row: int) -> None:
        """Returns when it is written down. Raises StoppedError."""
        self._rows.append(row)
        if self._next is None:
            self._next = asyncio.create_task(self._commit(self._going_on))
            self._next.add_done_callback(_see)
        await asyncio.shield(self._next)

    async def written(self) -> None:
        """Returns when nothing is left to be written down."""
        while self._next is not None or (self._going_on is not None and not self._going_on.done()):
            await asyncio.wait([task for task in (self._going_on, self._next) if task is not None])

    async def _commit(self, going_on: asyncio.Task[None] | None) -> None:
        if going_on is not None:
            await asyncio.wait([going_on])
        rows, self._rows = self._rows, []
        self._going_on, self._next = self._next, None
        await self._write(rows)


def _see(task: asyncio.Task[None]) -> None:
    """Whoever waited hears of the error; where all were cancelled, nobody has to."""
    if not task.cancelled():
        task.exception()
