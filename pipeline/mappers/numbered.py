"""Lists and objects that stand in pieces, one dotted and numbered key each, put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Branch(dict[str | int, Any]):
    """An object or a list in the making; a plain dict is a value that somebody wrote."""


def put(branch: dict[Any, Any], path: Sequence[str | int], value: Any) -> bool:
    """False where something stands in the way, which only happens where one thing is said in two ways."""
    for step in path[:-1]:
        inner = branch.get(step)
        if inner is None:
            inner = branch[step] = Branch()
        elif inner.__class__ is not Branch:
            return False
        branch = inner
    if path[-1] in branch:
        return False
    branch[path[-1]] = value
    return True


def finished(value: Any) -> Any:
    """What all that was put there is together: a list, where all steps are numbers."""
    if value.__class__ is not Branch:
        return value
    if value and all(key.__class__ is int for key in value):
        return [finished(value[index]) for index in sorted(value)]
    whole: dict[str, Any] = {}
    for key, inner in value.items():
        keep(whole, str(key), finished(inner))
    return whole


def keep(said: dict[Any, Any], name: str, value: Any) -> None:
    """Where something of that name is there already, both are kept: `name` and `name.*`."""
    while name in said:
        name += ".*"
    said[name] = value


def is_index(step: str) -> bool:
    """Is this how the place in a list is written?"""
    return step.isascii() and step.isdigit() and len(step) < 9 and str(int(step)) == step
