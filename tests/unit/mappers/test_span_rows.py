from __future__ import annotations

from typing import Any

import pytest

from pipeline.mappers.span_rows import CONVERSATION_KEYS, Row, pages, root_of, told, trace_of_rows, type_of
from pipeline.models import Span, Trace


def row(id: str, parent: str | None = None, *, own: dict[str, Any] | None = None, **rest: Any) -> Row:
    return Row(Span(id=id, parent_id=parent, started_at=f"2026-08-22T08:00:0{len(id)}.000000Z"), own or {}, rest)


def one(*rows: Row) -> Trace:
    return trace_of_rows(rows, Trace(id="t"), format="x", modelled=("project",), repeated=("host",))


def test_what_the_root_says_the_trace_says_and_spans_keep_only_what_differs() -> None:
    root = row("a", own={"plan": "gold"}, project="p", host="h", score=1)
    trace = one(root, row("bb", "a", project="p", host="h", score=1), row("ccc", "a", project="q", host="i"))
    assert trace.metadata == {"plan": "gold", "x": {"host": "h", "score": 1}}
    kept = [span.metadata for span in trace.turns[0].spans]
    assert kept == [{}, {"x": {"score": 1}}, {"x": {"project": "q", "host": "i"}}]


@pytest.mark.parametrize("parents", [("gone", "gone"), (None, None)])
def test_without_one_root_the_trace_says_what_the_spans_repeat(parents: tuple[str | None, str | None]) -> None:
    rows = [row(id, parent, own={"k": 1}, host="h", score=1) for id, parent in zip(("a", "bb"), parents, strict=True)]
    trace = one(*rows)
    assert root_of(rows) is None
    assert trace.metadata == {"x": {"host": "h"}}
    assert [span.metadata for span in trace.turns[0].spans] == [{"k": 1, "x": {"score": 1}}] * 2


def test_the_conversation_is_told_by_the_root_first_and_by_texts_and_integers_only() -> None:
    child, root = row("a", "b", own={"session_id": "child"}), row("b", own={"session_id": {}, "threadId": 7})
    assert told([child, root], CONVERSATION_KEYS) == "7"
    assert told([child, row("b", own={"session_id": " "})], CONVERSATION_KEYS) == "child"
    assert told([], CONVERSATION_KEYS) is None


@pytest.mark.parametrize(
    ("stated", "type"), [("LLM", "GENERATION"), ("retriever", "RETRIEVER"), (None, "SPAN"), ("odd", None), ("", None)]
)
def test_words_for_types_are_the_formats_own_or_ours(stated: str | None, type: str | None) -> None:
    assert type_of(stated, {"llm": "GENERATION"}) == type


@pytest.mark.parametrize(
    "record", [5, None, [], {}, {"id": "1", "data": [{}]}, {"data": {}}, {"trace_id": "", "data": []}]
)
def test_what_is_no_page_stays_one_record(record: Any) -> None:
    assert list(pages("data")(record)) == [("", record)]


def test_a_page_is_its_rows_whatever_they_are() -> None:
    assert list(pages("events", "data")({"data": [{}, 5], "cursor": None})) == [("span 1", {}), ("span 2", 5)]
    assert list(pages("data")({"data": []})) == []
