"""What sessions hold on the server: their turns, and how many spans an import made. Asked for in groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial

from pipeline.ledger.settled import Settled
from pipeline.target import Target
from pipeline.uploader.batches import CHECKED_TOGETHER, SPANS_PAGE, TURNS_PAGE
from pipeline.uploader.comparison import Held
from pipeline.uploader.content_api import ContentApi, StoredSpan, StoredTurn
from pipeline.uploader.pages import Page, Row, all_pages, all_rows


def groups_of(sessions: Iterable[Settled]) -> Iterator[list[Settled]]:
    """So many that one answer has room for all; one that holds more goes alone, and is read page by page."""
    group: list[Settled] = []
    turns = spans = 0
    for session in sessions:
        more_turns, more_spans = session.turns, session.spans or 0
        is_full = turns + more_turns >= TURNS_PAGE or spans + more_spans >= SPANS_PAGE
        if group and (len(group) == CHECKED_TOGETHER or is_full):
            yield group
            group, turns, spans = [], 0, 0
        group.append(session)
        turns, spans = turns + more_turns, spans + more_spans
    if group:
        yield group


async def read_held(
    target: Target, api: ContentApi, sessions: Sequence[Settled], counts_spans: Callable[[Settled], bool]
) -> dict[str, Held]:
    """By session id; raises what Target.ask raises."""
    ids = [session.session_id or "" for session in sessions]
    turns: dict[str, dict[str, StoredTurn]] = defaultdict(dict)
    for turn in await all_rows(_asking(target, partial(api.turns, ids)), api.turns_page):
        turns[turn.session_id][turn.id] = turn
    spans = {session.session_id or "": _Spans() for session in sessions if counts_spans(session)}
    if spans:
        owners = {turn_id: spans[session_id] for session_id in spans for turn_id in turns[session_id]}
        async for found in all_pages(_asking(target, partial(api.spans, list(spans))), api.spans_page):
            on_page: set[str] = set()
            for span in found:
                if span.turn_id in owners:
                    owners[span.turn_id].add(span, is_twice=span.id in on_page)
                on_page.add(span.id)
    return {
        id: Held(list(turns[id].values()), *((spans[id].count, spans[id].fault()) if id in spans else (None, None)))
        for id in ids
    }


class _Spans:
    """Those of one session, counted."""

    def __init__(self) -> None:
        self._marked: set[str] = set()
        self._bare: set[str] = set()
        self._parents: set[str] = set()
        self._twice: str | None = None

    def add(self, span: StoredSpan, *, is_twice: bool) -> None:
        """One more. One that stands on two pages is one span; `is_twice`: it stands twice on one."""
        if span.mark is not None:
            self._marked.add(span.id)
            self._parents.update([span.parent_id] if span.parent_id is not None else ())
        elif span.is_bare:
            self._bare.add(span.id)
        if is_twice:
            self._twice = span.id

    def fault(self) -> str | None:
        """What is wrong with them, other than their number."""
        if self._twice is not None:
            return f"a span is there more than once: {self._twice}"
        not_there = min(self._parents - self._marked - self._bare, default=None)
        return f"spans hang under one that is not there: {not_there}" if not_there is not None else None

    @property
    def count(self) -> range:
        """How many an import made. Where marks are shown, those without one are not ours."""
        most = len(self._marked) or len(self._bare)
        return range(len(self._marked), most + 1)


def _asking(target: Target, question: Callable[..., Awaitable[Page[Row]]]) -> Callable[[int], Awaitable[Page[Row]]]:
    async def page(offset: int) -> Page[Row]:
        return await target.ask(partial(question, offset=offset))

    return page
