from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.mappers.times import Unit, iso_utc

NOON = "2026-08-22T12:00:00.000000Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-08-22T12:00:00Z", NOON),
        ("2026-08-22T12:00:00.000Z", NOON),
        ("2026-08-22T12:00:00.123Z", "2026-08-22T12:00:00.123000Z"),
        ("2026-08-22 12:00:00.123456", "2026-08-22T12:00:00.123456Z"),
        ("2026-08-22T12:00:00.123456Z", "2026-08-22T12:00:00.123456Z"),
        ("2026-08-22T12:00:00.123456789Z", "2026-08-22T12:00:00.123456Z"),
        ("2026-08-22T12:00:00", NOON),
        ("2026-08-22 12:00:00 UTC", NOON),
        ("  2026-08-22T14:00:00+02:00 ", NOON),
        ("2026-08-22T14:00:00.5+0200", "2026-08-22T12:00:00.500000Z"),
        ("2026-W34-6T12:00:00.12345", "2026-08-22T12:00:00.123450Z"),
        ("2026-08-22", "2026-08-22T00:00:00.000000Z"),
        ("20260822", "2026-08-22T00:00:00.000000Z"),
        ("1787400000", NOON),
        ("1787400000000000000", NOON),
    ],
)
def test_a_text_becomes_iso_utc(text: str, expected: str) -> None:
    assert iso_utc(text) == expected


@pytest.mark.parametrize("number", [1787400000, 1787400000.0, 1787400000000, 1787400000000000, 1787400000000000000])
def test_without_a_unit_the_size_of_a_number_tells_it(number: float) -> None:
    assert iso_utc(number) == NOON
    assert iso_utc(number, unit="auto") == NOON


@pytest.mark.parametrize(
    ("number", "unit", "expected"),
    [
        (1, "s", "1970-01-01T00:00:01.000000Z"),
        (1, "ms", "1970-01-01T00:00:00.001000Z"),
        (1, "us", "1970-01-01T00:00:00.000001Z"),
        (1_999, "ns", "1970-01-01T00:00:00.000001Z"),
        (-1, "s", "1969-12-31T23:59:59.000000Z"),
        (0.25, "s", "1970-01-01T00:00:00.250000Z"),
    ],
)
def test_a_given_unit_counts(number: float, unit: Unit, expected: str) -> None:
    assert iso_utc(number, unit=unit) == expected


def test_nanoseconds_keep_their_digits_beyond_what_a_float_holds() -> None:
    assert iso_utc(1787400000123456789) == "2026-08-22T12:00:00.123456Z"


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_nothing_is_none(nothing: Any) -> None:
    assert iso_utc(nothing) is None


@pytest.mark.parametrize("aware", [True, False])
def test_a_datetime_without_zone_is_utc(aware: bool) -> None:
    moment = datetime(2026, 8, 22, 14, tzinfo=timezone(timedelta(hours=2))) if aware else datetime(2026, 8, 22, 12)
    assert iso_utc(moment) == NOON


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2026-13-01",
        "12:00",
        [],
        {},
        True,
        1e300,
        float("nan"),
        pytest.param(10**5000, id="huge"),
        "9" * 60,
    ],
)
def test_what_is_no_time_is_a_value_error_in_plain_words(value: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a time|out of the range"):
        iso_utc(value)


def test_a_zone_that_leads_out_of_the_calendar_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="out of the range"):
        iso_utc("0001-01-01T00:00:00+05:00")


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_shape_of_one_moment_gives_one_text(moment: datetime) -> None:
    expected = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    naive = moment.replace(tzinfo=None)
    for shape in (moment, naive, moment.isoformat(), naive.isoformat(" ", "microseconds"), naive.isoformat() + "Z"):
        assert iso_utc(shape) == expected


@given(st.text())
def test_any_text_is_a_time_nothing_or_a_value_error(text: str) -> None:
    try:
        assert iso_utc(text) is None or len(iso_utc(text) or "") == 27
    except ValueError as error:
        assert str(error)
