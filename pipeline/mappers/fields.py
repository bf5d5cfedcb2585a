"""Readers of single fields: each takes what exports write there, and rejects the rest in plain words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pipeline.errors import RejectedError
from pipeline.mappers.times import Unit, iso_utc
from pipeline.models import Span

WAY_OUT = "correct the record, or map the file yourself with format: custom"
EMPTY = frozenset([str, list, dict, tuple, type(None)])
"""A falsy value of one of these types says nothing."""
_TEXT = frozenset([str])
_LONGEST_INT = 4_000
"""Bits; Python refuses to write much longer integers as text."""


def is_empty(value: Any) -> bool:
    """Is this how exports write "nothing": null, an empty text, list or object? (0 and false are values.)"""
    return not value and value.__class__ in EMPTY


def found(value: Any) -> str:
    """What a value is, for people, without showing what it says."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, str):
        return "a text" if value else "an empty text"
    if isinstance(value, Mapping):
        return "an object" if value else "an empty object"
    return "a number" if isinstance(value, (int, float)) else f"a {type(value).__name__}"


def quoted(text: str) -> str:
    """A text in quotes, cut to fit a message; for names and times, not for what people said."""
    return f'"{text}"' if len(text) <= 60 else f'"{text[:57]}…"'


def bad_field(field: str, must_be: str, value: Any, *, way_out: str = WAY_OUT) -> RejectedError:
    """The error for a field that holds something else than it must."""
    return RejectedError(f"{field} must be {must_be}, not {found(value)}; {way_out}", kind="bad_field")


def object_of(value: Any) -> dict[str, Any]:
    """The record itself, which must be an object."""
    if isinstance(value, dict):
        return value
    raise RejectedError(f"the record is {found(value)}, not an object; {WAY_OUT}", kind="not_an_object")


def id_of(value: Any, field: str) -> str | None:
    """An id: a text as it stands, an integer as its digits, None where there is none."""
    if value.__class__ is str:
        return value if value and not value.isspace() else None
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= _LONGEST_INT:
        return str(value)
    raise bad_field(field, "a string or an integer", value)


def text_of(value: Any, field: str) -> str | None:
    """A text; numbers as they are written; None for null and ""."""
    if value.__class__ is str:
        return value or None
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number_as_text(value, field)
    raise bad_field(field, "a text", value)


def time_of(value: Any, field: str, unit: Unit | None = None) -> str | None:
    """A moment as ISO UTC."""
    try:
        return iso_utc(value, unit=unit)
    except ValueError as error:
        raise RejectedError(f"{field}: {error}; {WAY_OUT}", kind="bad_time") from error


def tags_of(value: Any, field: str) -> tuple[str, ...]:
    """Tags: a list of texts, or one text."""
    if value.__class__ is list and _TEXT.issuperset(map(type, value)):
        return tuple(filter(None, value))
    if is_empty(value):
        return ()
    if value.__class__ is str:
        return (value,)
    if not isinstance(value, (list, tuple)):
        raise bad_field(field, "a list of texts", value)
    tags = [tag if tag.__class__ is str else text_of(tag, f"{field}[{index}]") for index, tag in enumerate(value)]
    return tuple([tag for tag in tags if tag])


def number_of(value: Any, field: str) -> float | None:
    """A finite number, also as digits in a text."""
    if value is None or value == "":
        return None
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise bad_field(field, "a number", value)


def tokens_of(value: Any, field: str) -> dict[str, int]:
    """Counts by kind; the values may be digits in a text. Nulls are left out."""
    if value.__class__ is not dict:
        if is_empty(value):
            return {}
        if not isinstance(value, Mapping):
            raise bad_field(field, "an object of whole numbers", value)
    return {
        kind: count if count.__class__ is int else _count(count, f"{field}.{kind}")
        for kind, count in value.items()
        if count is not None
    }


def without_nulls(value: Any) -> Any:
    """Parquet gives every object in a column the keys of all others, as nulls."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def beside(own: Mapping[str, Any], key: str, more: Any) -> dict[str, Any]:
    """Metadata with `more` under `key`; what was there under that name becomes `metadata.<key>`."""
    if not more:
        return dict(own)
    if key not in own:
        return {**own, key: more}
    moved = f"metadata.{key}"
    while moved in own:
        moved = f"metadata.{moved}"
    return {(moved if name == key else name): value for name, value in own.items()} | {key: more}


def _count(value: Any, field: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and len(value) < 40:
        try:
            return int(value)
        except ValueError:
            pass
    raise bad_field(field, "a whole number", value)


def _number_as_text(value: int | float, field: str) -> str:
    if isinstance(value, int) and value.bit_length() > _LONGEST_INT:
        raise bad_field(field, "a text", value)
    return str(value)


def sum_tokens(spans: Iterable[Span]) -> dict[str, int]:
    """The tokens of several spans, by kind."""
    sums: dict[str, int] = {}
    for span in spans:
        for kind, count in span.tokens.items():
            sums[kind] = sums.get(kind, 0) + count
    return sums


def unsigned(url: Any) -> Any:
    """A URL without its query, in which a signature is a key to the data, and another one in each export."""
    return url.split("?", 1)[0] if isinstance(url, str) else url


def json_text(value: Any) -> str:
    """A value written as JSON; integers of any size, and lone surrogates as escapes."""
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeEncodeError, OverflowError, RecursionError):
        pass
    try:
        return json.dumps(value, separators=(",", ":"))
    except (RecursionError, ValueError) as error:
        raise RejectedError(f"a value cannot be written as JSON ({error}); {WAY_OUT}", kind="bad_field") from error
