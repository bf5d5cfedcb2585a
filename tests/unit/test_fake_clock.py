"""The tests' own clock: what simulations rest on."""

from __future__ import annotations

import asyncio

import pytest

from tests.fake_clock import START, DeadlockError, FakeClock, in_virtual_time


def test_a_sleep_takes_exactly_its_time_and_no_real_one() -> None:
    async def story(clock: FakeClock) -> float:
        await clock.sleep(3_600.5)
        return clock.now()

    assert in_virtual_time(story) == 3_600.5


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    async def story(clock: FakeClock) -> list[tuple[float, str]]:
        woken: list[tuple[float, str]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append((clock.now(), name))

        await asyncio.gather(sleeper("late", 3), sleeper("early", 1), sleeper("middle", 2))
        return woken

    assert in_virtual_time(story) == [(1.0, "early"), (2.0, "middle"), (3.0, "late")]


def test_waiting_for_nothing_is_an_error_and_not_a_hang() -> None:
    async def story(clock: FakeClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError):
        in_virtual_time(story)


def test_a_story_without_end_is_an_error_and_not_a_hang() -> None:
    async def story(clock: FakeClock) -> None:
        while True:
            await clock.sleep(1)

    with pytest.raises(DeadlockError):
        in_virtual_time(story, longest_seconds=100)


def test_a_stall_moves_time_while_nobody_runs() -> None:
    async def story(clock: FakeClock) -> float:
        sleeping = asyncio.create_task(clock.sleep(1))
        await asyncio.sleep(0)
        clock.pass_time(5)
        await sleeping
        return clock.now()

    assert in_virtual_time(story) == 5.0


def test_the_date_can_jump_without_the_seconds() -> None:
    clock = FakeClock()
    clock.wall_shift_seconds = -3600
    assert clock.now() == 0
    assert (clock.wall() - START).total_seconds() == -3600


def test_a_clock_goes_on_in_the_next_story() -> None:
    clock = FakeClock()
    in_virtual_time(lambda clock: clock.sleep(10), clock)
    in_virtual_time(lambda clock: clock.sleep(5), clock)
    assert clock.now() == 15.0
