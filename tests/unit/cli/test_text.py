"""Text of strangers, harmless for a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.text import safe, unique_tail


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Größe 日本 📦", "Größe 日本 📦"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("bell\a", "bell\\x07"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("right \u202eto left", "right \\u202eto left"),
        ("title\x9b", "title\\x9b"),
        ("half \ud83d", "half \\ud83d"),
        ("\u2028", "\\u2028"),
    ],
)
def test_control_characters_are_shown_as_codes(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_lines_may_be_kept() -> None:
    assert safe("a\n\x1bb", keep_lines=True) == "a\n\\x1bb"


@given(st.text(st.characters()))
def test_whatever_the_text_it_can_be_printed(text: str) -> None:
    shown = safe(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert safe(shown) == shown


@pytest.mark.parametrize(
    ("path", "others", "tail"),
    [
        ("/in/a.jsonl", [], "a.jsonl"),
        ("/in/a.jsonl", ["/in/b.jsonl", "/in/aa.jsonl"], "a.jsonl"),
        ("/in/x/a.jsonl", ["/in/y/a.jsonl"], "x/a.jsonl"),
        ("/in/x/a.jsonl", ["/out/x/a.jsonl", "/in/y/a.jsonl"], "in/x/a.jsonl"),
        ("/x/a.jsonl", ["/y/x/a.jsonl"], "/x/a.jsonl"),
    ],
)
def test_a_path_is_named_by_the_shortest_end_that_no_other_has(path: str, others: list[str], tail: str) -> None:
    assert unique_tail(path, [path, *others]) == tail
