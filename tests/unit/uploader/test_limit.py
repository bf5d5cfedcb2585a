"""The rate at which to start, given what was accepted and refused: no clock, no network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.uploader.limit import FALL, SLOWEST_PER_SECOND, START_PER_SECOND, Limit


def accept(limit: Limit, seconds: float, *, step: float = 0.1) -> None:
    for _ in range(round(seconds / step)):
        limit.accept(step, was_held_back=True)


def test_without_a_ceiling_it_begins_quickly_and_doubles() -> None:
    limit = Limit(None)
    assert limit.per_second == START_PER_SECOND
    accept(limit, 1.0)
    assert limit.per_second == pytest.approx(4 * START_PER_SECOND)


def test_who_is_not_held_back_learns_nothing() -> None:
    limit = Limit(None)
    for _ in range(1_000):
        limit.accept(0.1, was_held_back=False)
    assert limit.per_second == START_PER_SECOND


def test_with_a_ceiling_it_begins_there_and_stays_there() -> None:
    limit = Limit(20.0)
    assert limit.per_second == 20.0
    accept(limit, 0.1)
    assert limit.per_second == 20.0


def test_a_refusal_leaves_a_share_of_what_was_accepted() -> None:
    limit = Limit(None)
    for _ in range(400):
        limit.accept(0.025, was_held_back=True)
    limit.fall(10.0)
    assert limit.per_second == pytest.approx(FALL * 40)


def test_after_a_fall_it_comes_back_to_where_it_was_refused_and_then_beyond() -> None:
    limit = Limit(None)
    for _ in range(400):
        limit.accept(0.025, was_held_back=True)
    limit.fall(10.0)
    accept(limit, 10.0)
    assert limit.per_second == pytest.approx(40, rel=0.01)
    accept(limit, 20.0)
    assert limit.per_second > 80


def test_a_refusal_first_of_all_leaves_some_speed() -> None:
    limit = Limit(None)
    limit.fall(0.1)
    assert limit.per_second >= 10


@given(
    ceiling=st.one_of(st.none(), st.floats(0.001, 1e4)),
    events=st.lists(st.tuples(st.sampled_from(["accept", "idle", "fall"]), st.floats(0, 100)), max_size=60),
)
def test_whatever_happens_the_rate_is_positive_and_under_the_ceiling(
    ceiling: float | None, events: list[tuple[str, float]]
) -> None:
    limit = Limit(ceiling)
    for event, seconds in events:
        if event == "fall":
            limit.fall(seconds)
        else:
            limit.accept(seconds, was_held_back=event == "accept")
        assert limit.per_second > 0
        assert limit.per_second <= (ceiling or float("inf"))
        assert limit.per_second >= FALL * min(SLOWEST_PER_SECOND, ceiling or SLOWEST_PER_SECOND)
