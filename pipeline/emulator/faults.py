"""The fault script: which requests go wrong, and how.

A list of `{name?, match: "POST /sessions", when: {…}, do: {…}}`; the first rule that matches with all of its
conditions decides. `match` takes `*` for any method, or for any characters in the path. Conditions count the
requests that a rule matches, from 1, whether or not an earlier rule decided them; with `custom_id`, those of
that custom id only: of a session, or of the session that a turn names so. Counters and clock start with the
process, a reset, or a new script.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import yaml


class FaultScriptError(ValueError):
    """The script is wrong; the message names the entry."""


@dataclass(frozen=True, slots=True)
class When:
    """All that are given must hold; without any, always."""

    first: int | None = None
    every: int | None = None
    after: int | None = None
    between: tuple[int, int] | None = None
    """First and last request, both included."""
    probability: float | None = None
    custom_id: str | None = None
    """`*` stands for any characters."""
    from_second: float | None = None
    for_seconds: float | None = None

    def holds(self, number: int, seconds: float, chance: random.Random) -> bool:
        # The draw comes first and always, so that a rule's luck depends on the seed and its number only.
        is_lucky = self.probability is None or chance.random() < self.probability
        start = self.from_second or 0.0
        return (
            is_lucky
            and (self.first is None or number <= self.first)
            and (self.every is None or number % self.every == 0)
            and (self.after is None or number > self.after)
            and (self.between is None or self.between[0] <= number <= self.between[1])
            and seconds >= start
            and (self.for_seconds is None or seconds < start + self.for_seconds)
        )


@dataclass(frozen=True, slots=True)
class Do:
    status: int | None = None
    """Answered instead; nothing is stored, unless `after_commit`."""
    headers: dict[str, str] | None = None
    body: Any = None
    """An object is sent as JSON, a text as it is."""
    after_commit: bool = False
    reset_before: bool = False
    """RST, nothing stored."""
    reset_after_commit: bool = False
    """RST, stored."""
    hang: bool = False
    """Never answers; nothing stored, unless `after_commit`."""
    truncate: bool = False
    """The connection closes after half of the body."""
    garbage: bool = False
    """The body is invalid JSON."""
    wrong_length: bool = False
    """Content-Length says half of the body; the rest stands where the next answer should begin."""
    drip: float | bool = False
    """One byte of the body per so many milliseconds (true: 1000)."""
    close_after: bool = False
    """The connection closes after the answer, unannounced (a stale keep-alive)."""
    delay_ms: float = 0.0
    """Wait after the commit, before the answer."""
    commit_after_ms: float = 0.0
    """Wait before the commit; it comes even if the client has gone by then."""
    visible_after_ms: float = 0.0
    """GETs show what is created only so much later; duplicates are refused at once."""
    keep_first: int | None = None
    """Of a batch of turns or spans, only so many are stored: the other turns are missing without a word, the other
    spans are rejected. With `status` and `after_commit`, a batch that broke off half-way."""

    @property
    def commits(self) -> bool:
        if self.reset_before:
            return False
        return self.after_commit or self.reset_after_commit or (self.status is None and not self.hang)

    @property
    def is_answered(self) -> bool:
        return not (self.reset_before or self.reset_after_commit or self.hang)


@dataclass(slots=True)
class Rule:
    name: str
    method: str
    path: re.Pattern[str]
    custom_id: re.Pattern[str] | None
    when: When
    do: Do
    chance: random.Random
    seen: int = 0

    def strikes(self, method: str, path: str, custom_id: str | None, seconds: float) -> bool:
        """Counts the request if it matches; true if it is one that goes wrong."""
        if self.method not in ("*", method) or not self.path.fullmatch(path):
            return False
        if self.custom_id and (custom_id is None or not self.custom_id.fullmatch(custom_id)):
            return False
        self.seen += 1
        return self.when.holds(self.seen, seconds, self.chance)


class Faults:
    """A script in force."""

    def __init__(self, script: Any, seed: int) -> None:
        self._script = script
        self._seed = seed
        self._rules = _rules(script, seed)
        self._started = time.monotonic()

    def __len__(self) -> int:
        return len(self._rules)

    def restart(self) -> None:
        """Counters, clock and chance as at the start."""
        self._rules = _rules(self._script, self._seed)
        self._started = time.monotonic()

    def strike(self, method: str, path: str, custom_id: str | None) -> Rule | None:
        struck = None
        for rule in self._rules:
            if rule.strikes(method, path, custom_id, time.monotonic() - self._started) and struck is None:
                struck = rule
        return struck


def read_script(text: str) -> Any:
    """YAML, hence JSON too."""
    try:
        return yaml.safe_load(text) or []
    except yaml.YAMLError as error:
        raise FaultScriptError(f"not YAML: {error}") from error


def _rules(script: Any, seed: int) -> list[Rule]:
    if not isinstance(script, list | tuple):
        raise FaultScriptError("a fault script is a list of {match, when, do}")
    return [_rule(entry, index, seed) for index, entry in enumerate(script)]


def _rule(entry: Any, index: int, seed: int) -> Rule:
    where = f"entry {index + 1}"
    if not isinstance(entry, dict):
        raise FaultScriptError(f"{where}: expected {{match, when, do}}, found {entry!r}")
    where = f"{where} ({entry.get('name') or entry.get('match')})"
    if unknown := sorted(set(entry) - {"name", "match", "when", "do"}):
        raise FaultScriptError(f"{where}: unknown key {unknown[0]!r}; known are name, match, when, do")
    match = entry.get("match")
    if not isinstance(match, str) or not re.fullmatch(r"(\*|[A-Z]+) [/*]\S*", match):
        raise FaultScriptError(f"{where}: match is like 'POST /sessions' or '* /sessions/*', not {match!r}")
    method, path = match.split(" ")
    when = _when(entry.get("when") or {}, f"{where}: when")
    do = entry.get("do")
    given = {do: True} if isinstance(do, str) else do
    if not given:
        raise FaultScriptError(f"{where}: do is missing")
    return Rule(
        name=str(entry.get("name") or _name(given)),
        method=method,
        path=_pattern(path),
        custom_id=_pattern(when.custom_id) if when.custom_id is not None else None,
        when=when,
        do=_do(given, f"{where}: do"),
        chance=random.Random(f"{seed}:{index}"),
    )


def _when(given: Any, where: str) -> When:
    _check_keys(given, When, where)
    for name, value in given.items():
        if name == "between":
            is_right = isinstance(value, list) and len(value) == 2 and all(_is_number(item) for item in value)
        elif name == "custom_id":
            is_right = isinstance(value, str)
        else:
            is_right = _is_number(value) and (name != "every" or value >= 1)
        if not is_right:
            raise FaultScriptError(f"{where}: {name} cannot be {value!r}")
    values = dict(given)
    if "between" in values:
        values["between"] = tuple(values["between"])
    return When(**values)


def _do(given: Any, where: str) -> Do:
    _check_keys(given, Do, where)
    flags = {field.name for field in fields(Do) if field.type == "bool"}
    for name, value in given.items():
        if name in flags:
            is_right = isinstance(value, bool)
        elif name == "status":
            is_right = isinstance(value, int) and 200 <= value <= 599
        elif name == "keep_first":
            is_right = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        elif name == "headers":
            is_right = isinstance(value, dict)
        elif name == "body":
            is_right = isinstance(value, str | dict | list)
        else:
            is_right = _is_number(value) or (name == "drip" and isinstance(value, bool))
        if not is_right:
            raise FaultScriptError(f"{where}: {name} cannot be {value!r}")
    do = Do(**given)
    if do.reset_before + do.reset_after_commit + do.hang > 1 or (do.reset_before and do.after_commit):
        raise FaultScriptError(f"{where}: {', '.join(given)} contradict each other")
    if (do.headers is not None or do.body is not None) and do.status is None:
        raise FaultScriptError(f"{where}: headers and body need a status")
    return do


def _check_keys(given: Any, kind: type[When] | type[Do], where: str) -> None:
    known = [field.name for field in fields(kind)]
    if not isinstance(given, dict):
        raise FaultScriptError(f"{where}: expected a mapping, found {given!r}")
    for name in given:
        if name not in known:
            raise FaultScriptError(f"{where}: unknown key {name!r}; known are {', '.join(known)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _name(do: Mapping[str, Any]) -> str:
    shown = (f"status {value}" if name == "status" else name for name, value in do.items() if value is not False)
    return ", ".join(name for name in shown if name not in ("headers", "body"))


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)
