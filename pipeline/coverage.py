"""Where each value of the records goes: into which part of what is sent, or by which rule it is left out.

A value is looked for, not followed: among the values of its session, JSON inside texts included, whatever way it writes
a time, a number or an id; a text also inside a longer one. So a short value may be found by chance, but a value that is
found nowhere and that no rule leaves out (coverage_rules.py) is lost.
"""

from __future__ import annotations

import base64
import contextlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline import json_text
from pipeline.coverage_rules import CUT, EMPTY, REASONS, RULES
from pipeline.mappers.cutting import cut
from pipeline.mappers.fields import is_empty
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.times import Unit, iso_utc
from pipeline.models import SessionImport

PLACES = ("turn", "span", "context", "metadata", "session")
"""Where a value may go, the first that has it; `session` is its custom id, its status and its end."""
_SHORTEST_PART = 6
"""Characters; a shorter text is found inside others by chance."""
_MOST_PATHS = 10_000
_OTHER_PATHS = "(other paths)"
_WRAPPERS = frozenset(["stringValue", "intValue", "doubleValue", "boolValue"])
_PAIRS = ("attributes", "tags", "fields", "values")
_ID = re.compile(r"(0x)?[0-9a-f]{16}(-?[0-9a-f]{4,16})*", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d{1,15}(\.\d*)?(e[+-]?\d{1,2})?", re.IGNORECASE | re.ASCII)
_EXACT = 2**53
_BOOLEANS = frozenset(["true", "false"])
_CUT_JSON = re.compile(r"[\[{].*bytes kept\]", re.DOTALL)
_UNITS: tuple[Unit, ...] = ("auto", "s", "ms", "us", "ns")
_NANO = 1_000_000_000
_NO_ID = re.compile(r"[0-]{16,}")
_PAIR = re.compile(r"[\w.-]+:(.*)", re.DOTALL)


@dataclass(slots=True)
class FileCoverage:
    """What became of the values of one file, counted."""

    values: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    """By place."""
    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    """By name of the rule, and path."""
    lost: Counter[str] = field(default_factory=Counter)
    """By path: in no payload and under no rule."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "values": self.values,
            "sent": {place: self.sent[place] for place in PLACES},
            "left_out": [
                {"rule": rule, "reason": REASONS[rule], "values": paths.total(), "paths": dict(paths.most_common())}
                for rule, paths in sorted(self.left_out.items(), key=lambda item: -item[1].total())
            ],
            "lost": dict(self.lost.most_common()),
        }


class Coverage:
    """Counts by file, session by session.

    `characters`: how many of what is sent it may look through for parts of texts.
    """

    def __init__(self, *, max_value_bytes: int, characters: float = math.inf) -> None:
        self.files: dict[str, FileCoverage] = {}
        self.paths: Counter[str] = Counter()
        """How often each path has a value that is not empty, in all files."""
        self._max_value_bytes = max_value_bytes
        self._characters = characters

    @property
    def is_exhausted(self) -> bool:
        """Is there nothing left to look with?"""
        return self._characters < 0

    def add(self, session: SessionImport) -> None:
        """Look for all values of the records that this session was made of."""
        sent = _Sent(session)
        for part in session.parts:
            if not part.raw or self.is_exhausted:
                continue
            file = self.files.setdefault(part.source, FileCoverage())
            for path, key, value in leaves(json_text.decode(part.raw).value):
                file.values += 1
                self._place(file, sent, session.format, path, key, value)
                self._characters -= sent.looked_through
                sent.looked_through = 0
                if self.is_exhausted:
                    break

    def not_sent(self) -> list[tuple[str, str | None, int]]:
        """Path, rule (None: lost) and how many values, in all files; the lost first, what is empty not at all."""
        found: Counter[tuple[str, str | None]] = Counter()
        for file in self.files.values():
            found.update({(path, None): count for path, count in file.lost.items()})
            for rule, paths in file.left_out.items():
                if rule != EMPTY:
                    found.update({(path, rule): count for path, count in paths.items()})
        return sorted(
            ((*key, count) for key, count in found.items()), key=lambda item: (item[1] or "", -item[2], item[0])
        )

    def _place(self, file: FileCoverage, sent: _Sent, format: str, path: str, key: str, value: Any) -> None:
        if _says_nothing(value):
            _count(file.left_out.setdefault(EMPTY, Counter()), path)
            return
        _count(self.paths, path)
        place = sent.exactly(key, value)
        rule = None
        if place is None:
            rule = next((rule.name for rule in RULES if rule.takes(format, path, value)), None)
        if place is None and rule is None:
            place = sent.in_a_longer_text(value)
        if place is None and rule is None and sent.is_cut(key, value, self._max_value_bytes):
            rule = CUT
        if place is not None:
            file.sent[place] += 1
        else:
            _count(file.left_out.setdefault(rule, Counter()) if rule is not None else file.lost, path)


def leaves(value: Any, path: str = "", key: str = "") -> Iterator[tuple[str, str, Any]]:
    """All values that are no list or object, or an empty one, each with its path and the last key in it.

    JSON in texts is looked into. A list of `{"key": …, "value": …}`, as OpenTelemetry writes an object, counts as one.
    """
    value = unwrap(value)
    if isinstance(value, dict) and value:
        if len(value) == 1 and not value.keys().isdisjoint(_WRAPPERS):
            yield from leaves(next(iter(value.values())), path, key)
            return
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else name, name)
    elif isinstance(value, list) and value:
        for inner in value:
            if (
                key in _PAIRS
                and isinstance(inner, dict)
                and {"key", "value"} <= inner.keys() <= {"key", "type", "value"}
            ):
                yield from leaves(inner["value"], f"{path}.{inner['key']}", str(inner["key"]))
            else:
                yield from leaves(inner, f"{path}[*]", key)
    else:
        yield path, key, value


class _Sent:
    """The values of what is sent for one session, and where they stand."""

    def __init__(self, session: SessionImport) -> None:
        self.looked_through = 0
        """Characters."""
        self._places: dict[Any, str] = {}
        self._texts: dict[str, list[str]] = {}
        self._whole: dict[str, str] = {}
        self._has_cut_json = False
        turns = session.content.turns if session.content is not None else ()
        finish = session.content.finish if session.content is not None else None
        bodies = {
            "turn": [turn.body for turn in turns],
            "span": [span.body for turn in turns for span in turn.spans],
            "context": [session.context],
            "metadata": [session.metadata],
            "session": [json_text.encode([session.custom_id, session.status]), finish or b"null"],
        }
        for place in PLACES:
            for body in bodies[place]:
                for _, key, value in leaves(json_text.decode(body).value):
                    if not _says_nothing(value):
                        self._note(place, key, value)

    def exactly(self, key: str, value: Any) -> str | None:
        """Where a value stands, whatever way it is written; true and false only under the same key."""
        return next((self._places[form] for form in _forms(key, value) if form in self._places), None)

    def in_a_longer_text(self, value: Any) -> str | None:
        """Where a text is part of another, or is a pair whose end stands alone: "user_id:ann"."""
        if not isinstance(value, str):
            return None
        if (pair := _PAIR.fullmatch(value)) is not None and (place := self.exactly("", pair[1])) is not None:
            return place
        text, _ = json_text.clean(value)
        part = text if len(text) >= _SHORTEST_PART else f": {text}\n"  # "TimeoutError: no"
        for place in PLACES:
            if place not in self._whole:
                self._whole[place] = "".join(f"{text}\n" for text in self._texts.get(place, ()))
            self.looked_through += len(self._whole[place])
            if part in self._whole[place]:
                return place
        return None

    def is_cut(self, key: str, value: Any, max_value_bytes: int) -> bool:
        """Was it too long, or does it stand in JSON that was too long as a text?"""
        shown, count = cut(value, max_value_bytes)
        return bool(count and self.exactly(key, shown)) or self._has_cut_json

    def _note(self, place: str, key: str, value: Any) -> None:
        self._places.setdefault(_comparable(value), place)
        if (truth := _truth(key, value)) is not None:
            self._places.setdefault(truth, place)
        if isinstance(value, str):
            self._texts.setdefault(place, []).append(value)
            self._has_cut_json |= value.endswith("]") and _CUT_JSON.fullmatch(value) is not None


def _forms(key: str, value: Any) -> Iterator[Any]:
    """What is compared for a value, in all ways in which it may be written."""
    if (truth := _truth(key, value)) is not None:
        yield truth
    if isinstance(value, bool):
        return
    yield _comparable(value)
    if isinstance(value, str):
        value, _ = json_text.clean(value)
        yield value
    for unit in _UNITS if isinstance(value, int) else _UNITS[:1]:
        with contextlib.suppress(ValueError):
            yield iso_utc(value, unit=unit)
    if isinstance(value, str):
        yield f"{key}={value}"  # a tag
        if _ID.fullmatch(value):
            yield value.lower().removeprefix("0x")
        elif len(value) in (12, 24):
            with contextlib.suppress(ValueError):  # not ASCII, or not base64
                yield base64.b64decode(value, validate=True).hex()
        return
    if isinstance(value, int):
        yield f"{value:016x}"
        yield f"{value:032x}"
    if "cost" in key:
        yield value / _NANO


def _comparable(value: Any) -> Any:
    """A number and its digits are the same, as far as a double tells them apart."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) <= _EXACT else str(value)
    return value if isinstance(value, float) else None


def _truth(key: str, value: Any) -> tuple[str, str] | None:
    """True and false, also as texts, are only compared under one key: `output` is the same as `actualOutput`."""
    if not isinstance(value, (bool, str)) or (text := str(value)[:6].lower()) not in _BOOLEANS:
        return None
    name = re.sub("[^a-z0-9]", "", key.rpartition(".")[2].lower())
    return name.removeprefix("actual").removesuffix("data").removesuffix("s"), text


def _says_nothing(value: Any) -> bool:
    if not isinstance(value, str):
        return is_empty(value)
    return not value or value.isspace() or value in ("null", "undefined") or _NO_ID.fullmatch(value) is not None


def _count(paths: Counter[str], path: str) -> None:
    paths[path if path in paths or len(paths) < _MOST_PATHS else _OTHER_PATHS] += 1
