"""A list is read whole, whatever the API's highest limit is, and each row is there once."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import AmbiguousError, RejectedError
from pipeline.uploader.pages import PAGES_BEFORE_MORE, Page, PageSize, all_pages, all_rows
from pipeline.uploader.transport import MAX_ANSWER_BYTES, TOO_LONG


class Row(NamedTuple):
    id: str


ASKED = 50


class Server:
    def __init__(self, rows: int, most: int, chance: random.Random | None = None) -> None:
        self.rows = [Row(str(number)) for number in range(rows)]
        self.most = most
        self.chance = chance
        self.asked = 0

    async def page(self, offset: int) -> Page[Row]:
        self.asked += 1
        rows = list(self.rows)
        if self.chance is not None:
            self.chance.shuffle(rows)
        return Page(rows[offset : offset + min(ASKED, self.most)], ASKED)


async def read(server: Server, size: PageSize, enough: int) -> list[Row]:
    return [row async for page in all_pages(server.page, size, enough=enough) for row in page]


@given(st.integers(1, 60), st.lists(st.integers(0, 200), min_size=1, max_size=5))
def test_each_list_is_read_whole_whatever_the_highest_limit_is(most: int, lengths: list[int]) -> None:
    size = PageSize(ASKED)
    for length in lengths:
        server = Server(length, most)
        assert asyncio.run(all_rows(server.page, size)) == server.rows


@given(st.integers(1, 60), st.lists(st.integers(0, 200), min_size=1, max_size=5))
def test_the_rows_that_should_be_there_are_never_missed(most: int, lengths: list[int]) -> None:
    size = PageSize(ASKED)
    for length in lengths:
        server = Server(length, most)
        assert asyncio.run(read(server, size, length)) == server.rows


def test_where_all_is_there_that_should_be_nothing_more_is_asked() -> None:
    server = Server(7, ASKED)
    asyncio.run(read(server, PageSize(ASKED), 7))
    assert server.asked == 1


@given(st.integers(2, 40), st.randoms(use_true_random=False))
def test_rows_that_change_places_are_found_all_the_same(length: int, chance: random.Random) -> None:
    server = Server(length, length // 2 + 1, chance)
    found = asyncio.run(all_rows(server.page, PageSize(ASKED)))
    assert sorted(found) == sorted(server.rows)


def test_an_api_that_knows_no_offset_is_not_asked_for_ever() -> None:
    rows = [Row(str(number)) for number in range(ASKED)]

    async def page(offset: int) -> Page[Row]:
        return Page(rows, ASKED)

    assert asyncio.run(all_rows(page, PageSize(ASKED))) == rows


def test_a_list_is_read_whole_where_another_one_changes_the_limit_meanwhile() -> None:
    size = PageSize(ASKED)
    too_long = RejectedError("limit must not be higher than 10", kind="rejected", status=400)
    assert size.lower(too_long, asked=ASKED)
    limit = size.limit
    assert limit < ASKED
    rows = [Row(str(number)) for number in range(3 * ASKED)]

    async def page(offset: int) -> Page[Row]:
        found = rows[offset : offset + limit]
        size.keep(refused=limit)  # another list was refused, whatever its limit
        return Page(found, limit)

    assert asyncio.run(all_rows(page, size)) == rows


def test_after_rows_that_were_long_more_are_asked_for_where_they_are_short() -> None:
    size = PageSize(ASKED)
    too_long = AmbiguousError("the answer is too long", kind=TOO_LONG, status=200)
    while size.lower(too_long, asked=size.limit):
        pass
    assert size.limit == 1
    for _ in range(PAGES_BEFORE_MORE):
        size.fitted(1, length=MAX_ANSWER_BYTES // 2, asked=1)
    assert size.limit == 1
    for _ in range(10 * PAGES_BEFORE_MORE):
        size.fitted(size.limit, length=size.limit * 1_000, asked=size.limit)
    assert size.limit == ASKED
