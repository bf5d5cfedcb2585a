"""When a run has to be through: moments of the wall's clock, lengths of time, and clocks that jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import load_config
from pipeline.deadline import deadline_of, next_moment, parse_duration, parse_moment
from pipeline.errors import UsageError
from tests.fake_clock import START, FakeClock
from tests.unit.factories import make_config

MADRID = ZoneInfo("Europe/Madrid")


def next_local(moment: str, now: str) -> str:
    """Both as they are read off a wall in Madrid."""
    then = next_moment(parse_moment(moment), datetime.fromisoformat(now).replace(tzinfo=MADRID), MADRID)
    return f"{then.astimezone(MADRID):%Y-%m-%d %H:%M:%S%z}"


# --- what is understood -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("45s", 45), ("1h30m", 5400), ("1h 30m", 5400), ("1d", 86400), ("2H", 7200)],
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2", "h", "2x", "30m1h", "-2h", "1.5h", "0s", "400d", "9" * 400 + "d", "٢h"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no length of time|a year at most"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "6", "6am", "24:00", "06:60", "2026-08-22", "06:00Z", "tomorrow", "0001-01-01T00"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="is no moment; write a time of day"):
        parse_moment(text)


@given(st.text())
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    for parse in (parse_duration, parse_moment):
        try:
            parse(text)
        except ValueError as error:
            assert repr(text) in str(error) or repr(text.strip()) in str(error)


# --- the next such moment ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "now", "then"),
    [
        ("06:00", "2026-08-22 22:00", "2026-08-23 06:00:00+0200"),
        ("6:00", "2026-08-22 05:59:59", "2026-08-22 06:00:00+0200"),
        ("06:00", "2026-08-22 06:00", "2026-08-23 06:00:00+0200"),
        ("23:30:15", "2026-08-22 22:00", "2026-08-22 23:30:15+0200"),
        ("06:00", "2026-12-31 23:00", "2027-01-01 06:00:00+0100"),
        ("2026-08-24T06:00", "2026-08-22 22:00", "2026-08-24 06:00:00+0200"),
        ("2026-08-24T06:00Z", "2026-08-22 22:00", "2026-08-24 08:00:00+0200"),
    ],
)
def test_a_time_of_day_is_the_next_one(moment: str, now: str, then: str) -> None:
    assert next_local(moment, now) == then


@pytest.mark.parametrize(
    ("moment", "now", "then"),
    [
        ("06:00", "2026-03-28 22:00", "2026-03-29 06:00:00+0200"),  # the clock jumps on at 02:00
        ("02:30", "2026-03-29 01:00", "2026-03-29 03:30:00+0200"),  # and that never comes
        ("06:00", "2026-10-24 22:00", "2026-10-25 06:00:00+0100"),
        ("02:30", "2026-10-25 01:00", "2026-10-25 02:30:00+0200"),  # this comes twice: the first
        ("02:30", "2026-10-25 02:45", "2026-10-25 02:30:00+0100"),  # and then the second
    ],
)
def test_nights_on_which_the_clock_is_changed(moment: str, now: str, then: str) -> None:
    assert next_local(moment, now) == then


def test_a_moment_that_is_past_is_refused() -> None:
    with pytest.raises(UsageError, match="2026-08-22T07:59 is past"):
        deadline_of("2026-08-22T07:59", None, FakeClock(), zone=UTC)


# --- what is left -----------------------------------------------------------------------------------------


def test_without_a_deadline_there_is_none() -> None:
    assert deadline_of(None, None, FakeClock()) is None


def test_a_length_of_time_does_not_mind_clocks_that_jump() -> None:
    clock = FakeClock()
    deadline = deadline_of(None, "2h", clock)
    assert deadline is not None
    clock.pass_time(3600)
    clock.wall_shift_seconds = -86_400
    assert deadline.seconds_left() == 3600
    clock.wall_shift_seconds = 86_400
    assert deadline.seconds_left() == 3600


def test_a_moment_is_when_the_wall_shows_it() -> None:
    clock = FakeClock()
    deadline = deadline_of("2026-08-22T10:00", None, clock, zone=UTC)
    assert datetime(2026, 8, 22, 8, tzinfo=UTC) == START
    assert deadline is not None
    assert deadline.seconds_left() == 7200
    clock.wall_shift_seconds = 3600
    assert deadline.seconds_left() == 3600


def test_the_last_request_leaves_before_the_deadline_by_what_the_end_takes() -> None:
    deadline = deadline_of(None, "2h", FakeClock())
    assert deadline is not None
    assert deadline.seconds_to_send(0) == 7200 - 5
    assert 7200 - 60 < deadline.seconds_to_send(1_000_000) < 7200 - 25


def test_conversations_that_were_read_take_longer_to_bring_to_an_end() -> None:
    clock = FakeClock()
    deadline = deadline_of(None, "2h", clock)
    assert deadline is not None
    assert deadline.seconds_to_send(1_000_000, merges=True) < deadline.seconds_to_send(1_000_000) - 200
    clock.pass_time(600)  # they are still being read
    assert deadline.seconds_to_send(0, merges=True) == deadline.seconds_to_send(0) - 1200


def test_a_short_run_keeps_most_of_its_time() -> None:
    deadline = deadline_of(None, "4s", FakeClock())
    assert deadline is not None
    assert deadline.seconds_to_send(1_000_000) == 3


# --- in the configuration ---------------------------------------------------------------------------------


def load(tmp_path: Path, stop: str, **overrides: Any) -> Any:
    (tmp_path / "config.yaml").write_text(f"source: {{paths: [a]}}\nstop: {stop}\n")
    return load_config(tmp_path / "config.yaml", overrides=overrides, environ={}).stop


def test_yaml_may_hold_either(tmp_path: Path) -> None:
    assert load(tmp_path, '{at: "06:00"}').at == "06:00"
    assert load(tmp_path, "{at: 06:00}").at == "06:00"
    assert load(tmp_path, "{at: 2026-08-22T06:00:00}").at == "2026-08-22T06:00:00"
    assert load(tmp_path, "{after: 2h}").after == "2h"


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ("{at: 22:30}", 'stop.at: put quotes around it: at: "22:30"'),
        ("{at: soon}", "stop.at: 'soon' is no moment"),
        ("{at: 2026-08-22}", "stop.at: '2026-08-22' is no moment"),
        ("{after: 2}", "stop.after: 2 of what"),
        ("{after: two hours}", "stop.after: 'two hours' is no length of time"),
        ('{at: "06:00", after: 2h}', "not both"),
        ("{until: 2h}", "stop.until: unknown key"),
    ],
)
def test_what_yaml_may_not_hold_is_named(tmp_path: Path, stop: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, stop)
    assert message in str(caught.value)


def test_an_option_wins_over_either_key_of_the_file(tmp_path: Path) -> None:
    stop = load(tmp_path, '{at: "06:00"}', **{"stop.after": "2h"})
    assert (stop.at, stop.after) == (None, "2h")


def test_a_deadline_is_not_part_of_what_a_job_is() -> None:
    assert make_config(stop={"after": "2h"}).mapping_sha256() == make_config().mapping_sha256()
