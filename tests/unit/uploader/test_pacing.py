"""The gates that every attempt passes, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

from pipeline.uploader.breaker import LONGEST_PROBE_SECONDS
from pipeline.uploader.breaker import THRESHOLD as BREAKER_THRESHOLD
from pipeline.uploader.gates import CATCH_UP_SECONDS
from pipeline.uploader.pacing import Pace
from tests.fake_clock import FakeClock, in_virtual_time

Attempt = Callable[[], Awaitable[str]]


class Rush:
    """Many workers that all want to start at once; `server` says what each attempt sees."""

    def __init__(
        self,
        server: Callable[[FakeClock], str],
        *,
        seconds: float,
        workers: int = 64,
        max_per_second: float | None = None,
        max_at_once: int = 64,
        max_pause_seconds: float = 300,
        latency_seconds: float = 0.05,
        found_per_second: float | None = None,
        seed: int = 0,
    ) -> None:
        self.clock = FakeClock()
        self.server = server
        self.latency_seconds = latency_seconds
        self.starts: list[float] = []
        self.probes: list[float] = []
        self.seen: list[tuple[float, str]] = []
        self.most_at_once = 0

        async def story(clock: FakeClock) -> None:
            self.pace = Pace(
                clock,
                random.Random(seed),
                max_per_second=max_per_second,
                max_at_once=max_at_once,
                max_pause_seconds=max_pause_seconds,
                found_per_second=found_per_second,
            )
            running = [asyncio.create_task(self._work()) for _ in range(workers)]
            await clock.sleep(seconds)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

        in_virtual_time(story, self.clock)

    async def _work(self) -> None:
        while True:
            async with self.pace.turn() as is_probe:
                started_at = self.clock.now()
                self.starts.append(started_at)
                if is_probe:
                    self.probes.append(started_at)
                self.most_at_once = max(self.most_at_once, self.pace.in_flight)
                await self.clock.sleep(self.latency_seconds / 2)
                what = self.server(self.clock)
                self.seen.append((self.clock.now(), what))
                await self.clock.sleep(self.latency_seconds / 2)
                self.tell(what, started_at, is_probe)

    def tell(self, what: str, started_at: float, is_probe: bool) -> None:
        if what == "ok":
            self.pace.answered(started_at)
        elif what == "found":
            self.pace.looked_up()
        elif what == "trouble":
            self.pace.troubled(was_probe=is_probe)
        else:
            self.pace.refused(None if what == "later" else what.removeprefix("later "), started_at)

    def count(self, what: str, since: float = 0.0) -> int:
        return sum(1 for at, seen in self.seen if seen == what and at >= since)


def most_in_a_window(starts: list[float], seconds: float) -> int:
    return max(number + 1 - bisect_left(starts, at - seconds + 1e-9) for number, at in enumerate(starts))


def bucket(per_second: float) -> Callable[[FakeClock], str]:
    """A token bucket with one second of burst, whose limit nobody tells."""
    state = [max(per_second, 1.0), 0.0]

    def server(clock: FakeClock) -> str:
        now = clock.now()
        state[0] = min(max(per_second, 1.0), state[0] + (now - state[1]) * per_second)
        state[1] = now
        if state[0] < 1:
            return "later"
        state[0] -= 1
        return "ok"

    return server


def sometimes_later(share: float, retry_after: str, seed: int) -> Callable[[FakeClock], str]:
    chance = random.Random(seed)
    return lambda clock: retry_after if chance.random() < share else "ok"


# --- starts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.5, 7.0, 40.0, 1_000.0])
def test_no_window_sees_more_than_max_per_second(rate: float) -> None:
    rush = Rush(lambda clock: "ok", seconds=max(20 / rate, 3), max_per_second=rate)
    for seconds in (0.1, 1.0, 2.5):
        assert most_in_a_window(rush.starts, seconds) <= rate * (seconds + CATCH_UP_SECONDS) + 1


@pytest.mark.parametrize("later", ["later", "later 1", "later 0"])
@pytest.mark.parametrize("seed", range(10))
def test_not_even_after_a_pause(seed: int, later: str) -> None:
    rush = Rush(sometimes_later(0.05, later, seed), seconds=60, max_per_second=10)
    for seconds in (0.5, 1.0, 5.0):
        assert most_in_a_window(rush.starts, seconds) <= 10 * (seconds + CATCH_UP_SECONDS) + 1


def test_the_rate_that_is_allowed_is_used_from_the_first_second() -> None:
    rush = Rush(lambda clock: "ok", seconds=10, max_per_second=20)
    assert len(rush.starts) >= 198


def test_starts_are_even() -> None:
    rush = Rush(lambda clock: "ok", seconds=5, max_per_second=20)
    gaps = [later - earlier for earlier, later in zip(rush.starts, rush.starts[1:], strict=False)]
    assert gaps == pytest.approx([0.05] * len(gaps))


def test_no_more_are_in_flight_than_allowed() -> None:
    rush = Rush(lambda clock: "ok", seconds=2, max_per_second=1_000, max_at_once=3)
    assert rush.most_at_once == 3


def test_time_in_which_nobody_wanted_to_start_is_not_caught_up() -> None:
    async def story(clock: FakeClock) -> list[float]:
        pace = Pace(clock, random.Random(0), max_per_second=10, max_at_once=64, max_pause_seconds=300)
        await clock.sleep(60)
        starts = []
        for _ in range(5):
            async with pace.turn():
                starts.append(clock.now() - 60)
        return starts

    assert in_virtual_time(story) == pytest.approx([0, 0.08, 0.18, 0.28, 0.38])


def test_who_gives_up_waiting_takes_no_place_away() -> None:
    async def story(clock: FakeClock) -> float:
        pace = Pace(clock, random.Random(0), max_per_second=1, max_at_once=64, max_pause_seconds=300)

        async def attempt() -> float:
            async with pace.turn():
                return clock.now()

        await attempt()
        patient = asyncio.create_task(attempt())
        impatient = [asyncio.create_task(attempt()) for _ in range(50)]
        last = asyncio.create_task(attempt())
        await clock.sleep(0.5)
        for task in impatient:
            task.cancel()
        await asyncio.gather(*impatient, return_exceptions=True)
        assert await patient == pytest.approx(1, abs=0.05)
        return await last

    assert in_virtual_time(story) == pytest.approx(2, abs=0.05)


# --- one pause for all ------------------------------------------------------------------------------------


def once(what: str, *, at: float) -> Callable[[FakeClock], str]:
    """Everything is fine, but once."""
    state = [False]

    def server(clock: FakeClock) -> str:
        if not state[0] and clock.now() >= at:
            state[0] = True
            return what
        return "ok"

    return server


def test_retry_after_pauses_everybody() -> None:
    rush = Rush(once("later 7", at=1), seconds=12, max_per_second=20)
    refused_at = next(at for at, what in rush.seen if what != "ok") + rush.latency_seconds / 2
    assert not [at for at in rush.starts if refused_at < at < refused_at + 7]
    assert [at for at in rush.starts if refused_at + 7 <= at < refused_at + 7.2]


def test_retry_after_as_a_date_pauses_until_then() -> None:
    clock = FakeClock()
    date = format_datetime(clock.wall() + timedelta(seconds=9), usegmt=True)
    rush = Rush(once(f"later {date}", at=1), seconds=12, max_per_second=20)
    assert not [at for at in rush.starts if 1.1 < at < 9]
    assert [at for at in rush.starts if 9 <= at < 9.2]


def test_no_pause_is_longer_than_max_pause_seconds() -> None:
    rush = Rush(once("later 99999", at=1), seconds=12, max_per_second=20, max_pause_seconds=3)
    assert [at for at in rush.starts if 4 <= at < 4.5]


@pytest.mark.parametrize("text", ["soon", "nan", "", "-7"])
def test_a_retry_after_without_sense_is_a_short_pause(text: str) -> None:
    rush = Rush(once(f"later {text}", at=1), seconds=12, max_per_second=20)
    assert [at for at in rush.starts if 1.2 <= at < 3]


def test_the_refusals_of_those_who_left_before_slow_down_only_once() -> None:
    rush = Rush(lambda clock: "later 2" if 1 <= clock.now() < 1.06 else "ok", seconds=4, max_per_second=200)
    assert rush.count("later 2") > 5
    assert len([at for at in rush.starts if at > 2.5]) > 40


# --- the breaker ------------------------------------------------------------------------------------------


def test_the_breaker_opens_after_ten_failures_and_probes_with_one_at_a_time() -> None:
    rush = Rush(lambda clock: "trouble", seconds=120, max_at_once=8)
    failures = [at + rush.latency_seconds / 2 for at, _ in rush.seen]
    opened_at = failures[BREAKER_THRESHOLD - 1]
    after = [at for at in rush.starts if at > opened_at]
    assert after == rush.probes
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(after))
    assert after[-1] > 120 - LONGEST_PROBE_SECONDS - 1


def test_probes_keep_to_the_rate_that_was_given() -> None:
    rush = Rush(lambda clock: "trouble" if clock.now() < 60 else "ok", seconds=90, max_per_second=0.5)
    assert rush.probes
    assert all(later - earlier >= 2 - 0.03 for earlier, later in pairwise(rush.starts))


def test_the_breaker_closes_with_the_first_answer() -> None:
    rush = Rush(lambda clock: "trouble" if clock.now() < 30 else "ok", seconds=60, max_per_second=20)
    closed_at = next(at for at, what in rush.seen if what == "ok")
    assert closed_at < 30 + LONGEST_PROBE_SECONDS + 1
    assert len([at for at in rush.starts if at > closed_at + 1]) > 20 * 20


def test_look_ups_that_are_answered_do_not_close_it_while_posts_fail() -> None:
    state = [0]

    def server(clock: FakeClock) -> str:
        state[0] += 1
        if state[0] > 2 * BREAKER_THRESHOLD and state[0] % 3 == 0:
            return "found"
        return "trouble" if clock.now() < 30 else "ok"

    rush = Rush(server, seconds=60, max_per_second=20)
    opened_at = [at for at, what in rush.seen if what == "trouble"][BREAKER_THRESHOLD - 1] + rush.latency_seconds / 2
    closed_at = next(at for at, what in rush.seen if what == "ok")
    meanwhile = [at for at in rush.starts if opened_at < at < closed_at - rush.latency_seconds]
    assert meanwhile
    assert set(meanwhile) <= set(rush.probes)
    assert rush.count("found", since=opened_at) > 0
    assert len([at for at in rush.starts if at > closed_at + 1]) > 20 * 20


def test_trouble_lasts_as_long_as_posts_fail_whatever_look_ups_say() -> None:
    async def story(clock: FakeClock) -> None:
        pace = Pace(clock, random.Random(1), max_per_second=None, max_at_once=4, max_pause_seconds=300)
        pace.troubled(was_probe=False)
        await clock.sleep(10)
        pace.looked_up()
        assert pace.trouble_seconds == 10
        pace.answered()
        assert pace.trouble_seconds == 0
        pace.troubled(was_probe=False, is_lookup=True)
        await clock.sleep(5)
        pace.looked_up()
        assert pace.trouble_seconds == 0

    in_virtual_time(story)


def test_a_refusal_is_an_answer_too() -> None:
    rush = Rush(lambda clock: "trouble" if clock.now() < 30 else "later 1" if clock.now() < 36 else "ok", seconds=60)
    assert all(at < 36 for at in rush.probes)
    assert rush.count("ok", since=40) > 40


def test_nine_failures_in_a_row_open_nothing() -> None:
    state = [0]

    def server(clock: FakeClock) -> str:
        state[0] += 1
        return "ok" if state[0] % BREAKER_THRESHOLD == 0 else "trouble"

    rush = Rush(server, seconds=30, workers=1, max_per_second=20)
    assert rush.probes == []


def test_stragglers_that_fail_late_call_no_second_probe() -> None:
    async def story(clock: FakeClock) -> None:
        pace = Pace(clock, random.Random(0), max_per_second=None, max_at_once=64, max_pause_seconds=300)
        probing = 0

        async def attempt(seconds: float) -> None:
            nonlocal probing
            async with pace.turn() as is_probe:
                probing += is_probe
                assert probing <= 1
                await clock.sleep(seconds)
                probing -= is_probe
                pace.troubled(was_probe=is_probe)

        stragglers = [asyncio.create_task(attempt(5 + number / 2)) for number in range(20)]
        early = [asyncio.create_task(attempt(0.1)) for _ in range(BREAKER_THRESHOLD)]
        await asyncio.gather(*early)
        probers = [asyncio.create_task(attempt(30)) for _ in range(10)]
        await asyncio.gather(*stragglers)
        await clock.sleep(200)
        for task in probers:
            task.cancel()
        await asyncio.gather(*probers, return_exceptions=True)

    in_virtual_time(story)


async def opened(clock: FakeClock) -> Pace:
    """The breaker is open, and the next probe is due."""
    pace = Pace(clock, random.Random(0), max_per_second=None, max_at_once=64, max_pause_seconds=300)
    for _ in range(BREAKER_THRESHOLD):
        async with pace.turn():
            pace.troubled(was_probe=False)
    await clock.sleep(10)
    return pace


@pytest.mark.parametrize("error", [None, ZeroDivisionError(), asyncio.CancelledError()])
def test_a_probe_of_which_nobody_tells_is_lost_and_another_one_goes(error: BaseException | None) -> None:
    async def story(clock: FakeClock) -> None:
        pace = await opened(clock)
        with contextlib.suppress(ZeroDivisionError, asyncio.CancelledError):
            async with pace.turn() as is_probe:
                assert is_probe
                if error is not None:
                    raise error
        async with asyncio.timeout(10), pace.turn() as is_probe:
            assert is_probe
            pace.answered()
        assert not pace.is_waiting

    in_virtual_time(story)


def test_a_probe_that_was_told_of_does_not_lose_the_next_one() -> None:
    async def story(clock: FakeClock) -> int:
        pace = await opened(clock)
        probes = 0

        async def probe() -> None:
            nonlocal probes
            async with pace.turn():
                probes += 1
                await clock.sleep(100)

        async with pace.turn():
            waiting = [asyncio.create_task(probe()) for _ in range(3)]
            await clock.sleep(1)
            pace.looked_up()  # while posts fail: the next one goes at once
            await clock.sleep(1)
        await clock.sleep(50)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return probes

    assert in_virtual_time(story) == 1


def test_trouble_is_counted_from_its_beginning_and_not_from_the_last_answer() -> None:
    async def story(clock: FakeClock) -> float | None:
        pace = Pace(clock, random.Random(0), max_per_second=None, max_at_once=64, max_pause_seconds=300)
        await clock.sleep(1_000)  # a slow reader
        pace.troubled(was_probe=False)
        await clock.sleep(7)
        return pace.trouble_seconds

    assert in_virtual_time(story) == 7


# --- an unknown limit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("limit", "least_used", "most_refused"), [(5, 0.95, 0.03), (40, 0.98, 0.005)])
def test_an_unknown_limit_is_found(limit: float, least_used: float, most_refused: float, seed: int) -> None:
    rush = Rush(bucket(limit), seconds=300, seed=seed)
    accepted, refused = rush.count("ok"), rush.count("later")
    print(f"limit {limit}/s seed {seed}: used {accepted / limit / 300:.1%}, refused {refused / len(rush.seen):.1%}")
    assert accepted >= least_used * limit * 300
    assert refused <= most_refused * len(rush.seen)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("seconds", [0.01, 1, 10])
def test_a_bad_beginning_is_no_crawl_for_ever(seconds: float, seed: int) -> None:
    limit = bucket(40)
    rush = Rush(lambda clock: "later" if clock.now() < seconds else limit(clock), seconds=seconds + 150, seed=seed)
    accepted = rush.count("ok", since=seconds + 120)
    print(f"refused for {seconds} s at first, seed {seed}: {accepted / 30:.1f}/s of 40/s after two minutes")
    assert accepted / 30 > 20


def test_a_limit_that_falls_is_found_again() -> None:
    high, low = bucket(200), bucket(20)
    rush = Rush(lambda clock: (high if clock.now() < 60 else low)(clock), seconds=180)
    accepted = rush.count("ok", since=90)
    print(f"200/s → 20/s: {accepted / 90:.1f}/s accepted from 30 s on")
    assert accepted >= 0.95 * 20 * 90


def test_a_first_guess_from_an_earlier_run_that_is_too_high_does_not_hurt_for_long() -> None:
    rush = Rush(bucket(40), seconds=120, found_per_second=5_000)
    assert rush.count("ok") >= 0.95 * 40 * 120
    assert rush.count("later") <= 0.1 * len(rush.seen)


# --- answers that come later the more are sent ------------------------------------------------------------


def test_a_server_that_queues_instead_of_refusing_is_not_piled_up_on() -> None:
    async def story(clock: FakeClock) -> tuple[int, list[float]]:
        pace = Pace(clock, random.Random(0), max_per_second=None, max_at_once=64, max_pause_seconds=300)
        free_at, latencies = 0.0, []

        async def work() -> None:
            nonlocal free_at
            while True:
                async with pace.turn():
                    started_at = clock.now()
                    free_at = max(free_at, clock.now()) + 1 / 100
                    await clock.sleep(free_at - clock.now() + 0.05)
                    latencies.append(clock.now() - started_at)
                    pace.answered(started_at)

        working = [asyncio.create_task(work()) for _ in range(64)]
        await clock.sleep(60)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        return len(latencies), sorted(latencies[1_000:])

    answered, latencies = in_virtual_time(story)
    assert answered >= 0.97 * 100 * 60
    assert latencies[int(0.95 * len(latencies))] < 0.2


# --- nobody polls -----------------------------------------------------------------------------------------


def test_where_nothing_holds_an_attempt_back_it_waits_for_nothing() -> None:
    async def story(clock: FakeClock) -> None:
        pace = Pace(clock, random.Random(0), max_per_second=None, max_at_once=64, max_pause_seconds=300)
        turn = pace.turn()
        entering = turn.__aenter__()
        with pytest.raises(StopIteration) as passed:
            entering.send(None)  # a coroutine that never waits ends with its first step
        assert passed.value.value is False
        await turn.__aexit__(None, None, None)

    in_virtual_time(story)


def test_a_long_pause_is_one_timer_however_many_wait() -> None:
    async def story(clock: FakeClock) -> int:
        pace = Pace(clock, random.Random(0), max_per_second=None, max_at_once=64, max_pause_seconds=300)
        pace.refused("60", clock.now())
        looks = 0
        now = clock.now

        def counted() -> float:
            nonlocal looks
            looks += 1
            return now()

        async def attempt() -> None:
            async with pace.turn():
                pass

        waiting = [asyncio.create_task(attempt()) for _ in range(100)]
        await clock.sleep(1)
        clock.now = counted  # type: ignore[method-assign]
        await asyncio.sleep(50)
        before = looks
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return before

    # The virtual loop itself reads the clock a few times; a poll would read it thousands of times.
    assert in_virtual_time(story) < 20
