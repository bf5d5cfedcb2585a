"""Which spans a look has shown, and under which ones they hang."""

from __future__ import annotations

import pytest

from pipeline.models import SpanImport, TurnImport
from pipeline.uploader.batches import SpanPlace
from pipeline.uploader.content_api import StoredSpan
from pipeline.uploader.wanted_spans import SeenSpans, WantedSpans

ROOT, CHILD = SpanPlace(0, 0), SpanPlace(0, 1)
SPANS = (SpanImport(b"{}", b"root seed", None), SpanImport(b"{}", b"child seed", 0))


def wanted() -> WantedSpans:
    return WantedSpans(["turn"], [TurnImport(b"{}", None, b"said....", b"figures.", SPANS)])


def shown(place: SpanPlace, id: str, parent: str | None = None, *, mark: bool = True) -> StoredSpan:
    return StoredSpan(id, "turn", SPANS[place.span].seed.hex() if mark else None, not mark, parent)


@pytest.mark.parametrize("child_first", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_a_child_that_names_another_parent_is_misplaced_wherever_the_list_has_it(child_first: bool, own: bool) -> None:
    spans = wanted()
    as_sent = spans.id(ROOT)
    root = shown(ROOT, "theirs" if own else as_sent)
    for parent, is_right in (("theirs", own), (as_sent, not own), ("gone", False)):
        seen = SeenSpans(spans)
        seen.add([shown(CHILD, "child", parent), root] if child_first else [root, shown(CHILD, "child", parent)])
        assert (seen.misplaced() == []) == is_right, parent
        spans = wanted()


def test_a_span_of_which_nothing_tells_whose_it_is_is_unknown_only_where_no_mark_is_shown() -> None:
    bare = StoredSpan("x", "turn", None, True, None)
    seen = SeenSpans(wanted())
    seen.add([bare])
    assert seen.unknown() == ["x"]
    seen.add([shown(ROOT, "y")])
    assert seen.unknown() == []
