"""Query strings: arrays and sort in both spellings, paging, and the SQL conditions made of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from pipeline.emulator.options import Options
from pipeline.emulator.wire import RefusalError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BRACKETS = re.compile(r"\[\d*\]$")
COMMON = ("ids", "fromCreatedAt", "toCreatedAt", "sort", "limit", "offset")
SORTABLE = {"createdAt": "created_at", "id": "id"}
"""What all lists can be sorted by, and the columns behind it."""


class Query:
    """`ids=a&ids=b`, `ids[]=a&ids[]=b` and `ids[0]=a&ids[1]=b` are the same to it."""

    def __init__(self, text: str, known: Collection[str], options: Options) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            self._values.setdefault(_BRACKETS.sub("", name), []).append(value)
        unknown = [name for name in self._values if name not in known and name not in COMMON]
        if unknown and options.unknown_query == "refuse":
            raise RefusalError(400, f"Unknown query parameter: {unknown[0]}")

    def many(self, name: str) -> list[str] | None:
        """All values of a filter, or None where it is absent."""
        return self._values.get(name)

    def number(self, name: str, default: int) -> int:
        values = self._values.get(name)
        if values is None:
            return default
        if not values[-1].isascii() or not values[-1].isdigit():
            raise RefusalError(400, f"{name} must be a non-negative integer.")
        return min(int(values[-1]), 2**62)

    def time_ms(self, name: str) -> int | None:
        values = self._values.get(name)
        if values is None:
            return None
        try:
            return milliseconds(values[-1])
        except ValueError as error:
            raise RefusalError(400, f"{name} must be an ISO 8601 date.") from error

    def sort(self, sortable: Mapping[str, str]) -> tuple[str, str] | None:
        """`sort[]=createdAt&sort[]=desc` and `sort=createdAt,desc`; the direction defaults to `asc`."""
        values = self._values.get("sort")
        if values is None:
            return None
        column, direction, *rest = [*(part for value in values for part in value.split(",")), "asc"]
        if column not in sortable or direction.lower() not in ("asc", "desc") or rest not in ([], ["asc"]):
            raise RefusalError(400, f"Invalid sort: {','.join(values)}")
        return sortable[column], direction.upper()


@dataclass(slots=True)
class Selection:
    """The rows that a list asks for."""

    conditions: list[str] = field(default_factory=lambda: ["deleted_at IS NULL"])
    values: list[Any] = field(default_factory=list)
    order: str = "seq"
    limit: int = 0
    offset: int = 0

    def where(self, condition: str, *values: Any) -> None:
        self.conditions.append(condition)
        self.values += values

    def is_one_of(self, column: str, wanted: list[str] | None) -> None:
        """A filter of several values; absent, it lets everything through."""
        if wanted is not None:
            self.where(f"{column} IN ({','.join('?' * len(wanted))})", *wanted)

    @property
    def filter(self) -> str:
        return " AND ".join(self.conditions)

    @property
    def page(self) -> str:
        return f"{self.filter} ORDER BY {self.order} LIMIT {self.limit} OFFSET {self.offset}"


def selection(query: Query, options: Options, sortable: Mapping[str, str] = SORTABLE) -> Selection:
    """What all lists have in common: ids, creation time, sort and paging."""
    chosen = Selection()
    chosen.is_one_of("id", query.many("ids"))
    if (start := query.time_ms("fromCreatedAt")) is not None:
        chosen.where("created_at >= ?", start)
    if (end := query.time_ms("toCreatedAt")) is not None:
        chosen.where("created_at <= ?", end)
    chosen.order = _order(query, options, sortable)
    chosen.offset = query.number("offset", 0)
    chosen.limit = query.number("limit", options.default_limit)
    if chosen.limit > options.max_list_limit:
        if options.over_list_limit == "refuse":
            raise RefusalError(400, f"limit must not be greater than {options.max_list_limit}.")
        chosen.limit = options.max_list_limit
    return chosen


def require_all(kind: str, wanted: list[str] | None, found: list[str]) -> None:
    """The rule of `ids`: after all filters, as many rows as ids, or a 404. No other filter has it."""
    if wanted is None or len(wanted) == len(found):
        return
    missing = [one for one in wanted if one not in found] or wanted
    if len(missing) == 1:
        raise RefusalError(404, f"{kind} {missing[0]} not found")
    raise RefusalError(404, f"{kind}s not found: {', '.join(missing)}")


def milliseconds(text: str) -> int:
    """Since 1970; without a zone, UTC. ValueError: not ISO 8601."""
    when = datetime.fromisoformat(text)
    since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - EPOCH
    return since // timedelta(milliseconds=1)


def _order(query: Query, options: Options, sortable: Mapping[str, str]) -> str:
    if (sort := query.sort(sortable)) is not None:
        column, direction = sort
        among_equals = {"insertion": f"seq {direction}", "unspecified": f"id {direction}", "changing": "random()"}
        return f"{column} {direction}, {among_equals[options.equal_times_order]}"
    return {
        "newest_first": "created_at DESC, seq DESC",
        "oldest_first": "created_at, seq",
        "unspecified": "id",
    }[options.default_order]
