"""The rate at which to start, given what was accepted and refused: no clock, no network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.uploader.limit import FASTEST_PER_SECOND, SLOWEST_PER_SECOND, START_PER_SECOND, Limit


class Requests:
    """Answers to a Limit, one after the other, at the rate that it gives."""

    def __init__(self, ceiling: float | None = None, *, found_before: float | None = None) -> None:
        self.limit = Limit(ceiling, found_before=found_before)
        self.now = 0.0

    def accept(self, seconds: float, *, is_held_back: bool = True) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += 1 / self.limit.per_second
            self.limit.accept(self.now, was_held_back=is_held_back)

    def refuse(self, pause_seconds: float = 1.0) -> None:
        self.limit.refuse(self.now, pause_seconds, is_news=True)
        self.now += pause_seconds


def test_without_a_ceiling_it_begins_quickly_and_doubles() -> None:
    requests = Requests()
    assert requests.limit.per_second == START_PER_SECOND
    requests.accept(1.0)
    assert requests.limit.per_second == pytest.approx(4 * START_PER_SECOND, rel=0.05)


def test_who_is_not_held_back_learns_nothing() -> None:
    requests = Requests()
    requests.accept(20, is_held_back=False)
    assert requests.limit.per_second == START_PER_SECOND


def test_with_a_ceiling_it_begins_there_and_stays_there() -> None:
    requests = Requests(20.0)
    assert requests.limit.per_second == 20.0
    requests.accept(60)
    assert requests.limit.per_second == 20.0


@given(
    ceiling=st.one_of(st.none(), st.floats(0.001, 1e4)),
    found_before=st.one_of(st.none(), st.floats()),
    events=st.lists(
        st.tuples(st.sampled_from(["accept", "idle", "refuse", "refuse again", "hint"]), st.floats(0, 100)), max_size=80
    ),
)
def test_whatever_happens_the_rate_is_positive_and_under_the_ceiling(
    ceiling: float | None, found_before: float | None, events: list[tuple[str, float]]
) -> None:
    limit = Limit(ceiling, found_before=found_before)
    now = 0.0
    for event, seconds in events:
        now += seconds
        if event.startswith("refuse"):
            limit.refuse(now, seconds, is_news=event == "refuse")
        elif event == "hint":
            limit.hint(seconds)
        else:
            limit.accept(now, was_held_back=event == "accept")
        assert limit.per_second >= min(SLOWEST_PER_SECOND, ceiling or SLOWEST_PER_SECOND)
        assert limit.per_second <= (ceiling or FASTEST_PER_SECOND)
