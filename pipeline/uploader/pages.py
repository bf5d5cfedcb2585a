"""Lists that are read page by page, whole, from an API whose highest limit nobody knows (api-contract 11.13)."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

from pipeline.errors import RejectedError, TransientError
from pipeline.uploader.transport import TOO_LONG

LOWER_LIMITS = (100, 50, 20, 10, 3, 1)
"""What is asked for where an API refuses more, or its answer is longer than we read."""
REFUSED_LIMIT = (400, 422)
LEAST_REFUSED = 10
"""Lower limits are not what an API refuses."""
MOST_PASSES = 16
"""A list whose rows change places between two pages is read so often."""


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=_HasId)


class PageSize:
    """How many rows of one list the API gives at most, as far as that has shown."""

    def __init__(self, asked: int) -> None:
        self.asked = self.limit = asked
        """So many are asked for."""
        self._rows = asked
        """The same, or fewer once it has shown that they do not come."""
        self._most = 0
        """As many came at once."""

    def lower(self, error: RejectedError | TransientError, *, asked: int) -> bool:
        """A list could not be had, perhaps for how much was asked for: may it be asked for with the limit of now?"""
        is_refused = error.status in REFUSED_LIMIT and asked > LEAST_REFUSED
        if not (is_refused or error.kind == TOO_LONG):
            return False
        if self.limit == asked:
            self.limit = next((limit for limit in LOWER_LIMITS if limit < asked), asked)
            self._rows = min(self._rows, self.limit)
        return self.limit < asked

    def keep(self) -> None:
        """It was refused whatever the limit: that was not why."""
        self.limit = self._rows = self.asked

    def is_last(self, rows: int, *, after: int | None, is_enough: bool) -> bool:
        """Does a page of so many rows end the list? `after`: so many the page before it had.

        One that is short, and yet the longest that ever came, may have been cut: then what should be there decides.
        """
        if rows > self._rows:  # that one had only grown
            self._rows = self.limit
        elif rows and after is not None and after < self._rows:
            self._rows = after
        is_short = rows < self._most
        self._most = max(self._most, rows)
        return not rows or (rows < self._rows and (is_short or is_enough))


async def all_pages(
    page: Callable[[int], Awaitable[list[Row]]], size: PageSize, *, enough: int = sys.maxsize
) -> AsyncIterator[list[Row]]:
    """All pages of a list; `page` takes how many rows to leave out. `enough`: so many should be there.

    A row that stands on two pages has pushed another one out of both: then the list is read once more, and whoever
    takes the pages sees some rows again. Raises TransientError where that does not help.
    """
    ids: set[str] = set()
    for _ in range(MOST_PASSES):
        seen = 0
        before: set[str] = set()
        while True:
            rows = await page(seen)
            yield rows
            found = {row.id for row in rows}
            seen += len(rows)
            ids |= found
            is_stuck = found == before  # it knows nothing of `offset`
            if size.is_last(len(rows), after=len(before) or None, is_enough=seen >= enough) or is_stuck:
                break
            before = found
        if len(ids) >= seen or is_stuck:
            return
    raise TransientError("the rows of a list change places with every page that is read", kind="unstable_list")


async def all_rows(page: Callable[[int], Awaitable[list[Row]]], size: PageSize) -> list[Row]:
    """The same, each row once."""
    rows: dict[str, Row] = {}
    async for found in all_pages(page, size):
        rows |= {row.id: row for row in found}
    return list(rows.values())
