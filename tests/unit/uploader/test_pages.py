"""A list is read whole, whatever the API's highest limit is, and each row is there once."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from pipeline.uploader.pages import PageSize, all_pages, all_rows


class Row(NamedTuple):
    id: str


ASKED = 50


class Server:
    def __init__(self, rows: int, most: int, chance: random.Random | None = None) -> None:
        self.rows = [Row(str(number)) for number in range(rows)]
        self.most = most
        self.chance = chance
        self.asked = 0

    async def page(self, offset: int) -> list[Row]:
        self.asked += 1
        rows = list(self.rows)
        if self.chance is not None:
            self.chance.shuffle(rows)
        return rows[offset : offset + min(ASKED, self.most)]


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

    async def page(offset: int) -> list[Row]:
        return rows

    assert asyncio.run(all_rows(page, PageSize(ASKED))) == rows
