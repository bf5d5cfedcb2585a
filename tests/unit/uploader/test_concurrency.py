"""How many at once, given how long answers take: no clock, no network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.uploader.concurrency import SAMPLES, Concurrency


def answers(
    concurrency: Concurrency, latency: Callable[[int], float], *, count: int, now: float = 0.0, gap: float = 0.01
) -> float:
    """Each with as many in flight as allowed; returns the moment of the last."""
    for _ in range(count):
        now += gap
        in_flight = concurrency.at_once
        concurrency.note_answer(now, now - latency(in_flight), in_flight)
    return now


def queue(per_second: float, latency_seconds: float = 0.05) -> Callable[[int], float]:
    """A server that takes so many a second and lets the others wait (Little's law)."""
    return lambda in_flight: max(latency_seconds, in_flight / per_second)


def test_it_begins_at_the_ceiling_and_stays_there_while_answers_are_quick() -> None:
    concurrency = Concurrency(64)
    answers(concurrency, lambda _: 0.05, count=2_000)
    assert concurrency.at_once == 64


def test_a_slow_server_is_not_a_congested_one() -> None:
    concurrency = Concurrency(64)
    answers(concurrency, lambda _: 2.0, count=2_000, gap=0.2)
    assert concurrency.at_once == 64


def test_answers_that_are_late_because_of_us_lower_it_until_they_are_not() -> None:
    concurrency = Concurrency(64)
    now = answers(concurrency, lambda _: 0.05, count=SAMPLES)  # before anything queued
    answers(concurrency, queue(100), count=5_000, now=now)
    assert 5 <= concurrency.at_once <= 12  # 100/s x 0.05 s fill the server; the rest is queue


def test_it_recovers_when_answers_are_quick_again() -> None:
    concurrency = Concurrency(64)
    now = answers(concurrency, lambda _: 0.05, count=SAMPLES)
    now = answers(concurrency, queue(100), count=2_000, now=now)
    answers(concurrency, lambda _: 0.05, count=4_000, now=now)
    assert concurrency.at_once == 64


def test_a_server_that_becomes_slow_whatever_we_do_is_got_used_to() -> None:
    concurrency = Concurrency(64)
    now = answers(concurrency, lambda _: 0.05, count=200)
    answers(concurrency, lambda _: 1.0, count=1_000, now=now, gap=1.0)
    assert concurrency.at_once == 64


def test_timeouts_lower_it_once_for_all_that_left_before() -> None:
    concurrency = Concurrency(64)
    for _ in range(30):
        concurrency.note_timeout(30.0, started_at=0.0)
    assert concurrency.at_once == 44
    concurrency.note_timeout(61.0, started_at=31.0)
    assert concurrency.at_once == 31


@pytest.mark.parametrize("ceiling", [1, 2, 64])
@given(events=st.lists(st.tuples(st.floats(0, 40), st.integers(1, 100), st.booleans()), max_size=200))
def test_whatever_happens_it_is_between_one_and_the_ceiling(
    ceiling: int, events: list[tuple[float, int, bool]]
) -> None:
    concurrency = Concurrency(ceiling)
    now = 0.0
    for seconds, in_flight, is_timeout in events:
        now += seconds
        if is_timeout:
            concurrency.note_timeout(now, now - seconds)
        else:
            concurrency.note_answer(now, now - seconds, in_flight)
        assert 1 <= concurrency.at_once <= ceiling
