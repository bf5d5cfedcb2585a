"""Arrow columns as lists of JSON values, chosen by type, nested ones flattened first.

pyarrow's `to_pylist` makes a scalar object for each value of a nested column; this makes one list for each
leaf and zips them: 5 µs instead of 30 for a row with five messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.json_text import clean


class DirtyError(Exception):
    """Some value of these rows must be replaced: they are to be converted one by one, to count it there."""


def values_of(array: Any, repairs: dict[str, int] | None) -> list[Any]:
    """The values of an array. What is replaced is counted in `repairs`; without it, DirtyError is raised.

    Raises UnicodeDecodeError where a text is not UTF-8.
    """
    kind = array.type
    types = pa.types
    if _is_plain(kind):
        return list(array.to_pylist())
    if types.is_floating(kind):
        return _floats(array, repairs)
    if types.is_struct(kind):
        return _structs(array, repairs)
    if types.is_list(kind) or types.is_large_list(kind):
        offsets = array.offsets.to_pylist()
        start = offsets[0]
        items = values_of(array.values.slice(start, offsets[-1] - start), repairs)
        lists = [items[begin - start : end - start] for begin, end in pairwise(offsets)]
        return _with_nulls(array, lists)
    if types.is_map(kind):
        return _maps(array, repairs)
    if types.is_dictionary(kind):
        return values_of(array.dictionary_decode(), repairs)
    if types.is_timestamp(kind):
        return _timestamps(array)
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name != "arrow.uuid":
        return values_of(array.storage, repairs)
    if castable := _castable(kind):
        return values_of(array.cast(castable, safe=False), repairs)
    return _cleaned(array, repairs)


def _is_plain(kind: Any) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
    )


def _castable(kind: Any) -> Any:
    """The like type that can be converted, where this one cannot."""
    types = pa.types
    if types.is_fixed_size_list(kind) or types.is_list_view(kind) or types.is_large_list_view(kind):
        return pa.large_list(kind.value_field)
    if types.is_time(kind) and kind.unit == "ns":  # Python has no nanoseconds
        return pa.time64("us")
    if types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    return None


def _floats(array: Any, repairs: dict[str, int] | None) -> list[Any]:
    if array.type == pa.float16():
        array = array.cast(pa.float32())
    if pc.all(pc.is_finite(array), min_count=0).as_py():
        return list(array.to_pylist())
    return _cleaned(array, repairs)


def _cleaned(array: Any, repairs: dict[str, int] | None) -> list[Any]:
    try:
        items = array.to_pylist()
    except (OverflowError, ValueError) as error:  # a date after the year 9999
        if isinstance(error, UnicodeDecodeError):
            raise
        items = array.cast(pa.string()).to_pylist()
    cleaned, replaced = clean(items)
    if replaced:
        count(repairs, replaced)
    return list(cleaned)


def count(repairs: dict[str, int] | None, replaced: Mapping[str, int]) -> None:
    """Add what was replaced; raises DirtyError where nobody counts."""
    if repairs is None:
        raise DirtyError
    for kind, number in replaced.items():
        repairs[kind] = repairs.get(kind, 0) + number


def _structs(array: Any, repairs: dict[str, int] | None) -> list[Any]:
    names = [field.name for field in array.type]
    if not names:
        return _with_nulls(array, [{} for _ in range(len(array))])
    children = [values_of(child, repairs) for child in array.flatten()]
    return _with_nulls(array, [dict(zip(names, row, strict=True)) for row in zip(*children, strict=True)])


def _maps(array: Any, repairs: dict[str, int] | None) -> list[Any]:
    offsets = array.offsets.to_pylist()
    start, size = offsets[0], offsets[-1] - offsets[0]
    keys = values_of(array.keys.slice(start, size), repairs)
    if not pa.types.is_string(array.type.key_type):
        cleaned, replaced = clean([{key: None} for key in keys])
        if replaced:
            count(repairs, replaced)
        keys = [next(iter(entry)) for entry in cleaned]
    items = values_of(array.items.slice(start, size), repairs)
    pairs = list(zip(keys, items, strict=True))
    maps = [dict(pairs[begin - start : end - start]) for begin, end in pairwise(offsets)]
    return _with_nulls(array, maps)


def _with_nulls(array: Any, items: list[Any]) -> list[Any]:
    if not array.null_count:
        return items
    return [item if there else None for item, there in zip(items, array.is_valid().to_pylist(), strict=True)]


_UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def _timestamps(array: Any) -> list[Any]:
    """ISO 8601 in UTC. Arrow keeps instants in UTC whatever the zone is called; without a zone we take UTC."""
    units = _UNITS_PER_SECOND[array.type.unit]
    return [None if tick is None else _iso(tick, units) for tick in array.cast(pa.int64()).to_pylist()]


def _iso(tick: int, units_per_second: int) -> str | int:
    try:
        moment = _EPOCH + timedelta(microseconds=tick * 1_000_000 // units_per_second)
    except OverflowError:  # beyond the years 1 to 9999: the number is all there is
        return tick
    return moment.isoformat(timespec="microseconds") + "Z"
