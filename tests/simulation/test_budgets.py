"""The budgets of pacing in simulated time: a few seeds here, all twenty in `make bench` (tests.benchmarks.pacing)."""

from __future__ import annotations

import random

import pytest

from tests.benchmarks.pacing import BUDGETS
from tests.simulation.events import play
from tests.simulation.laws import LAWS, Ours
from tests.simulation.scenarios import SCENARIOS, Played
from tests.simulation.servers import STYLES, Bucket, Style, Unlimited


def worst(name: str, style: Style, seeds: int) -> list[Played]:
    return [SCENARIOS[name](LAWS["ours"], style, seed) for seed in range(seeds)]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("name", "seeds"), [("0.5/s", 20), ("2/s", 10), ("5/s", 5), ("40/s", 2), ("300/s", 1)])
def test_an_unknown_limit_is_used_and_hardly_ever_overrun(name: str, seeds: int, style: Style) -> None:
    least, most = BUDGETS[name]
    for played in worst(name, style, seeds):
        assert played.accepted_share * 100 >= least, played
        assert played.refused_share * 100 <= most, played


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("quota", [600, 120])
def test_limits_counted_per_minute_are_used(quota: int, style: Style) -> None:
    for played in worst(f"{quota} a minute", style, 5):
        assert played.accepted_share >= 0.9, played
        assert played.refused_share <= 0.1, played


@pytest.mark.parametrize("style", STYLES)
def test_a_limit_that_falls_is_obeyed_within_half_a_minute(style: Style) -> None:
    for played in worst("200 → 20/s", style, 2):
        assert played.recovery_seconds is not None
        assert played.recovery_seconds <= 30


@pytest.mark.parametrize("style", STYLES)
def test_a_limit_that_rises_is_found_within_about_a_minute(style: Style) -> None:
    for played in worst("20 → 200/s", style, 2):
        assert played.recovery_seconds is not None
        assert played.recovery_seconds <= 75


def test_a_server_that_queues_is_kept_busy_and_not_piled_up_on() -> None:
    (played,) = worst("knee at 100/s", "seconds", 1)
    assert played.accepted_share >= 0.97
    assert played.p95_seconds is not None
    assert played.p95_seconds < 0.25


def test_a_slow_server_gets_all_that_may_be_sent_at_once() -> None:
    (played,) = worst("slow, 2 s", "seconds", 1)
    assert played.accepted_share >= 0.95


def test_another_client_gets_its_share() -> None:
    (played,) = worst("40/s, a neighbour at 20/s", "seconds", 1)
    assert played.accepted_share >= 0.48
    assert played.other_share is not None
    assert played.other_share >= 0.48


def test_two_of_us_share_a_limit() -> None:
    for played in worst("40/s, two of the same", "seconds", 3):
        assert min(played.accepted_share, played.other_share or 0) >= 0.3, played


@pytest.mark.parametrize("style", STYLES)
def test_refusals_at_random_neither_strangle_nor_last(style: Style) -> None:
    for played in worst("20 % refused at random", style, 2):
        assert played.per_second is not None
        assert played.per_second >= 5, played
        assert played.recovery_seconds is not None
        assert played.recovery_seconds <= 10, played


def test_without_a_limit_three_thousand_a_second_are_reached_within_five_seconds() -> None:
    chance = random.Random(0)
    law = Ours(0.0, chance, max_at_once=256)
    (seen,) = play([law], Unlimited(), seconds=7, began_at=0.0, chance=chance, latency_seconds=0.05)
    assert seen.accepted(5, 7) / 2 > 3_000


def test_the_next_night_begins_where_this_one_ended() -> None:
    chance = random.Random(0)
    law = Ours(0.0, chance, found_per_second=300)
    (seen,) = play([law], Bucket(lambda now: 300, "seconds", now=0.0), seconds=60, began_at=0.0, chance=chance)
    assert seen.accepted(0, 10) >= 0.9 * 300 * 10
    assert seen.refused_share < 0.005
