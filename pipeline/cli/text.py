"""Text that came from input or API, made harmless for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath


def safe(text: str, *, keep_lines: bool = False) -> str:
    """Control characters (escape sequences, bells, direction marks) are shown as their codes."""
    return "".join(
        char if char.isprintable() or (keep_lines and char == "\n") else char.encode("unicode_escape").decode()
        for char in text
    )


def unique_tail(path: str, paths: Iterable[str]) -> str:
    """The shortest end of a path that no other of `paths` has: its name, or with as many folders as it takes."""
    parts = PurePath(path).parts
    others = [other for one in paths if (other := PurePath(one).parts)[-1:] == parts[-1:] and other != parts]
    length = 1
    while any(other[-length:] == parts[-length:] for other in others) and length < len(parts):
        length += 1
    return str(PurePath(*parts[-length:]))
