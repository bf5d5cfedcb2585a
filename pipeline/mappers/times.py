"""Whatever way an export writes a moment, it becomes ISO 8601 UTC: "2026-08-22T08:00:00.000000Z"."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Unit = Literal["auto", "s", "ms", "us", "ns"]

_EPOCH = datetime(1970, 1, 1)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_HINT = 'ISO 8601 such as "2026-08-22T08:00:00Z", or a number since 1970 in s, ms, µs or ns'


def iso_utc(value: Any, *, unit: Unit | None = None) -> str | None:
    """The moment as ISO UTC; None for None and "". Raises ValueError, which says what is wrong.

    A text without zone is UTC; digits beyond microseconds are cut. Numbers (also as digits in a text) count
    `unit`; without one (or with "auto") the size tells: below 1e11 seconds, 1e14 ms, 1e17 µs, else ns.
    """
    if value.__class__ is str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return _unusual_text(value, unit)
        # The two shapes that exports are full of are cut and pasted; isoformat() is four times slower.
        if value[19:20] == "." and value[7] == "-" and value[13] == ":" == value[16]:
            if len(value) == 26 and moment.tzinfo is None:
                return f"{value[:10]}T{value[11:]}Z"
            if len(value) == 24 and value[23] == "Z":
                return f"{value[:10]}T{value[11:23]}000Z"
        return _written(moment, value)
    return None if value is None else _unusual_value(value, unit)


def _unusual_value(value: Any, unit: Unit | None) -> str:
    if isinstance(value, datetime):
        return _written(value, value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _since_epoch(value, unit)
    raise ValueError(f"{type(value).__name__} is not a time; a time is {_HINT}")


def _unusual_text(value: str, unit: Unit | None) -> str | None:
    text = value.strip()
    if not text:
        return None
    # Eight digits are a date ("20260822"); no export counts so few seconds.
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and 8 < len(digits) < 40:
        return _since_epoch(int(text), unit)
    try:
        return _written(datetime.fromisoformat(text.removesuffix("UTC").rstrip()), value)
    except ValueError:
        raise ValueError(f"{_cut(value)} is not a time; a time is {_HINT}") from None


def _since_epoch(number: int | float, unit: Unit | None) -> str:
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"{number} is not a time; a time is {_HINT}")
    if unit is None or unit == "auto":
        size = abs(number)
        unit = "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"
    per_second = _PER_SECOND[unit]
    try:
        if isinstance(number, int):
            microseconds = number * 1_000_000 // per_second
        else:
            microseconds = round(number * (1_000_000 / per_second))
        return _written(_EPOCH + timedelta(microseconds=microseconds), number)
    except OverflowError:
        raise ValueError(f"{_cut(number)} is out of the range of years 1 to 9999 when read as {unit}") from None


def _written(moment: datetime, original: Any) -> str:
    if moment.tzinfo is not None:
        try:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        except OverflowError:
            raise ValueError(f"{_cut(original)} is out of the range of years 1 to 9999 in UTC") from None
    return f"{moment.isoformat(timespec='microseconds')}Z"


def _cut(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    text = ascii(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 60 else f"{text[:57]}…"
