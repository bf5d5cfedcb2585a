"""Lists that are read page by page, whole, from an API whose highest limit nobody knows (api-contract 11.13)."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from pipeline.errors import RejectedError, TransientError
from pipeline.uploader.transport import MAX_ANSWER_BYTES, TOO_LONG

LOWER_LIMITS = (100, 50, 20, 10, 3, 1)
"""What is asked for where an API refuses more, or its answer is longer than we read."""
REFUSED_LIMIT = (400, 422)
LEAST_REFUSED = 10
"""Lower limits are not what an API refuses."""
PAGES_BEFORE_MORE = 20
MOST_PASSES = 16
"""A list whose rows change places between two pages is read so often."""


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=_HasId)


class Page(NamedTuple, Generic[Row]):
    """Rows of a list, and how many had been asked for."""

    rows: list[Row]
    limit: int


class LowerLimitError(TransientError):
    """That many rows could not be had; ask again, with the limit of now."""


class PageSize:
    """How many rows of one list are asked for at once, and how many the API gives, as far as that has shown."""

    def __init__(self, asked: int) -> None:
        self._asked = asked
        """So many at most."""
        self._allowed = asked
        """The API has not refused a limit as high."""
        self._fitting = asked
        """So many fit into one answer, as long as they were of late."""
        self._given = asked
        """More never came where there were more: fewer than this, and than the limit, end a list."""
        self._pages_that_fit = 0
        """Since fewer were asked for."""
        self._longest = 0
        """As many came at once."""

    @property
    def limit(self) -> int:
        """What is asked for now."""
        return min(self._allowed, self._fitting)

    def lower(self, error: RejectedError | TransientError, *, asked: int) -> bool:
        """A list could not be had, perhaps for how much was asked for: may it be asked for with the limit of now?"""
        is_refused = error.status in REFUSED_LIMIT and asked > LEAST_REFUSED
        if not (is_refused or error.kind == TOO_LONG):
            return False
        if self.limit == asked:
            lower = next((limit for limit in LOWER_LIMITS if limit < asked), asked)
            if is_refused:
                self._allowed = lower
            else:
                self._fitting = lower
                self._pages_that_fit = 0
        return self.limit < asked

    def keep(self, *, refused: int) -> None:
        """It was refused also with this limit, as low as any: that was not why."""
        if refused <= self._allowed:
            self._allowed = self._asked

    def fitted(self, rows: int, *, length: int, asked: int) -> None:
        """So many came, in so many bytes: where that leaves room for more of them, more are asked for after a while.

        Not at once: beside short rows another list may have long ones, and is to get on.
        """
        self._pages_that_fit += 1
        if rows and asked == self._fitting < self._asked and self._pages_that_fit >= PAGES_BEFORE_MORE:
            more = next((limit for limit in reversed(LOWER_LIMITS) if limit > asked), self._asked)
            if length / rows * more <= MAX_ANSWER_BYTES / 2:
                self._fitting = more
                self._pages_that_fit = 0

    def is_last(self, rows: int, *, limit: int, before: int | None, is_enough: bool) -> bool:
        """Does a page of so many rows end the list? `before`: so many the page before it had, which did not.

        One that is short, and yet the longest that ever came, may have been cut: then what should be there decides.
        """
        if rows > self._given:  # the list had only grown
            self._given = self._asked
        elif rows and before is not None and before < min(limit, self._given):
            self._given = before
        is_short = rows < self._longest
        self._longest = max(self._longest, rows)
        return not rows or (rows < min(limit, self._given) and (is_short or is_enough))


async def all_pages(
    page: Callable[[int], Awaitable[Page[Row]]], size: PageSize, *, enough: int = sys.maxsize
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
            rows, limit = await page(seen)
            yield rows
            found = {row.id for row in rows}
            seen += len(rows)
            ids |= found
            is_stuck = found == before  # it knows nothing of `offset`
            if size.is_last(len(rows), limit=limit, before=len(before) or None, is_enough=seen >= enough) or is_stuck:
                break
            before = found
        if len(ids) >= seen or is_stuck:
            return
    raise TransientError("the rows of a list change places with every page that is read", kind="unstable_list")


async def all_rows(page: Callable[[int], Awaitable[Page[Row]]], size: PageSize) -> list[Row]:
    """The same, each row once."""
    rows: dict[str, Row] = {}
    async for found in all_pages(page, size):
        rows |= {row.id: row for row in found}
    return list(rows.values())
