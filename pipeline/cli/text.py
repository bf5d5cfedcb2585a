"""Text that came from input or API, made harmless for a terminal."""

from __future__ import annotations


def safe(text: str, *, keep_lines: bool = False) -> str:
    """Control characters (escape sequences, bells, direction marks) are shown as their codes."""
    return "".join(
        char if char.isprintable() or (keep_lines and char == "\n") else char.encode("unicode_escape").decode()
        for char in text
    )
