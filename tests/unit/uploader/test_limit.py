"""The rate at which to start, given what was accepted and refused: no clock, no network."""

from __future__ import annotations

import math

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

    def meet(self, per_second: float, seconds: float) -> list[float]:
        """A token bucket with a second of burst; returns the moments of its refusals."""
        until, refused_at = self.now + seconds, []
        tokens, filled_at = per_second, self.now
        while self.now < until:
            self.now += 1 / self.limit.per_second
            tokens = min(max(per_second, 1.0), tokens + (self.now - filled_at) * per_second)
            filled_at = self.now
            if tokens >= 1:
                tokens -= 1
                self.limit.accept(self.now, was_held_back=True)
            else:
                refused_at.append(self.now)
                self.refuse()
        return refused_at


# --- the search -------------------------------------------------------------------------------------------


def test_without_a_ceiling_it_begins_quickly_and_doubles() -> None:
    requests = Requests()
    assert requests.limit.per_second == START_PER_SECOND
    requests.accept(1.0)
    assert requests.limit.per_second == pytest.approx(4 * START_PER_SECOND, rel=0.05)


def test_three_thousand_a_second_are_reached_within_four_seconds() -> None:
    requests = Requests()
    requests.accept(4.0)
    assert requests.limit.per_second > 3_000


def test_who_is_not_held_back_learns_nothing() -> None:
    requests = Requests()
    requests.accept(20, is_held_back=False)
    assert requests.limit.per_second == START_PER_SECOND


def test_with_a_ceiling_it_begins_there_and_stays_there() -> None:
    requests = Requests(20.0)
    assert requests.limit.per_second == 20.0
    requests.accept(60)
    assert requests.limit.per_second == 20.0


def test_a_limit_below_the_ceiling_is_found_all_the_same() -> None:
    requests = Requests(100.0)
    requests.meet(30.0, 60)
    assert requests.limit.per_second == pytest.approx(30, rel=0.05)


def test_a_refusal_first_of_all_leaves_some_speed() -> None:
    requests = Requests()
    requests.refuse()
    assert requests.limit.per_second >= 10


# --- measuring --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_second", [5.0, 40.0, 300.0])
def test_the_second_refusal_measures_the_limit(per_second: float) -> None:
    requests = Requests()
    requests.meet(per_second, 20)
    assert requests.limit.found_per_second == pytest.approx(per_second, rel=0.05)


def test_refusals_become_rare_once_the_limit_is_known() -> None:
    requests = Requests()
    requests.meet(40, 60)
    assert len(requests.meet(40, 300)) <= 10


def test_in_the_long_run_everything_that_the_limit_allows_is_used() -> None:
    requests = Requests()
    requests.meet(40, 60)
    began_at = requests.now
    refused = len(requests.meet(40, 300))
    assert refused > 0
    assert requests.limit.found_per_second == pytest.approx(40, rel=0.01)
    assert requests.now - began_at == pytest.approx(300, abs=2)


def test_a_limit_that_falls_to_a_tenth_is_found_by_a_few_refusals() -> None:
    requests = Requests()
    requests.meet(200, 120)
    requests.meet(20, 15)
    assert requests.limit.found_per_second == pytest.approx(20, rel=0.1)


def test_a_limit_that_rises_tenfold_is_found_within_about_a_minute() -> None:
    requests = Requests()
    requests.meet(20, 120)
    requests.meet(200, 70)
    assert requests.limit.per_second > 150


def test_refusals_of_those_who_left_before_are_no_news() -> None:
    requests = Requests()
    requests.meet(40, 60)
    before = requests.limit.found_per_second
    for _ in range(20):
        requests.limit.refuse(requests.now, 1.0, is_news=False)
    assert requests.limit.found_per_second == before


def test_refusals_that_have_nothing_to_do_with_the_rate_slow_down_for_a_while_only() -> None:
    requests = Requests()
    requests.meet(300, 60)
    for _ in range(30):
        for _ in range(4):
            requests.now += 1 / requests.limit.per_second
            requests.limit.accept(requests.now, was_held_back=True)
        requests.refuse()
    assert requests.limit.is_noise
    assert requests.limit.per_second > 100
    requests.accept(4)
    assert requests.limit.per_second > 200


# --- what others told -------------------------------------------------------------------------------------


def test_a_hint_ends_the_search_and_nothing_else() -> None:
    requests = Requests()
    requests.accept(1)
    requests.limit.hint(10)
    assert requests.limit.per_second == pytest.approx(10, rel=0.1)
    requests.accept(30)
    assert requests.limit.per_second > 40


def test_a_hint_does_not_speed_up() -> None:
    requests = Requests()
    requests.limit.hint(10_000)
    assert requests.limit.per_second == START_PER_SECOND


def test_what_an_earlier_run_found_is_begun_with_somewhat_below() -> None:
    requests = Requests(found_before=200.0)
    assert 150 < requests.limit.per_second < 200
    assert requests.limit.found_per_second is None
    requests.meet(200, 60)
    assert requests.limit.found_per_second == pytest.approx(200, rel=0.05)


@pytest.mark.parametrize("stored", [1e9, 100_000.0, 1e-9, 0.5, math.nan, math.inf, -3.0, 0.0])
def test_an_absurd_or_stale_one_is_got_over_within_two_minutes(stored: float) -> None:
    requests = Requests(found_before=stored)
    requests.meet(40, 120)
    assert requests.limit.per_second == pytest.approx(40, rel=0.1)


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
