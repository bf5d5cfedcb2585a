"""When to try again."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.uploader.retry import LONGEST_WAIT_SECONDS, RetryBudget, backoff_seconds, parse_retry_after

NOW = datetime(2026, 8, 22, 8, 0, 0, tzinfo=UTC)


def parse(text: str | None) -> float | None:
    return parse_retry_after(text, now=NOW, longest_seconds=300)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("0", 0.0, id="at once"),
        pytest.param(" 7 ", 7.0, id="blanks"),
        pytest.param("1.5", 1.5, id="a fraction, which RFC 9110 does not have and servers send"),
        pytest.param("-5", 0.0, id="negative"),
        pytest.param("99999999999999999999", 300.0, id="absurd"),
        pytest.param("inf", 300.0, id="infinite"),
        pytest.param("Sat, 22 Aug 2026 08:00:30 GMT", 30.0, id="a date"),
        pytest.param("Sat, 22 Aug 2026 10:00:30 +0200", 30.0, id="a date in another zone"),
        pytest.param("Saturday, 22-Aug-26 08:00:30 GMT", 30.0, id="a date of RFC 850"),
        pytest.param("Sat, 22 Aug 2026 07:00:00 GMT", 0.0, id="a date that is over"),
        pytest.param("Sat, 22 Aug 2099 07:00:00 GMT", 300.0, id="a date in an absurd future"),
        pytest.param("nan", None, id="NaN"),
        pytest.param("soon", None, id="garbage"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="missing"),
        pytest.param("Sat, 99 Foo 2026 08:00:30 GMT", None, id="no date"),
        pytest.param("Sat, 22 Aug 99999999999999999999 08:00:30 GMT", None, id="a year beyond counting"),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_bounds(text: str | None, seconds: float | None) -> None:
    assert parse(text) == seconds


@given(
    st.one_of(
        st.text(),
        st.from_regex(
            r"[A-Z][a-z]{2}, [0-9]{1,20} [A-Za-z]{3} [0-9]{1,20} [0-9:]{1,30} [-+A-Z0-9]{1,9}", fullmatch=True
        ),
    )
)
def test_whatever_retry_after_says_it_is_a_sane_wait_or_none(text: str) -> None:
    seconds = parse(text)
    assert seconds is None or 0 <= seconds <= 300


@given(st.integers(1, 100_000), st.integers())
def test_a_backoff_is_never_longer_than_the_longest(attempt: int, seed: int) -> None:
    assert 0 <= backoff_seconds(attempt, random.Random(seed)) <= LONGEST_WAIT_SECONDS


def test_backoffs_are_spread_from_nothing_to_their_bound_which_doubles() -> None:
    chance = random.Random(1)
    for attempt, bound in ((1, 0.5), (2, 1.0), (5, 8.0), (9, 30.0)):
        waits = [backoff_seconds(attempt, chance) for _ in range(2_000)]
        assert min(waits) < 0.05 * bound
        assert 0.95 * bound < max(waits) <= bound


def test_a_few_retries_are_free_and_then_they_wait_in_a_row() -> None:
    budget = RetryBudget(0.0)
    assert [budget.wait_seconds(0.0) for _ in range(100)] == [0.0] * 100
    assert [budget.wait_seconds(0.0) for _ in range(3)] == [0.5, 1.0, 1.5]


def test_what_is_accepted_pays_for_a_fifth_of_a_retry() -> None:
    budget = RetryBudget(0.0)
    for _ in range(100):
        budget.wait_seconds(0.0)
    for _ in range(10):
        budget.accept()
    assert [budget.wait_seconds(0.0) for _ in range(3)] == pytest.approx([0.0, 0.0, 0.5])


def test_the_budget_saves_up_no_more_than_it_began_with() -> None:
    budget = RetryBudget(0.0)
    for _ in range(10_000):
        budget.accept()
    assert sum(budget.wait_seconds(1e6) == 0 for _ in range(1_000)) == 100


def test_no_debt_of_retries_outlives_its_trouble() -> None:
    budget = RetryBudget(0.0)
    waits = [budget.wait_seconds(0.0) for _ in range(10_000)]
    assert max(waits) == LONGEST_WAIT_SECONDS
    assert budget.wait_seconds(LONGEST_WAIT_SECONDS + 1) <= 1
