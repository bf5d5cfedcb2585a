"""How turns and spans are put into requests. Pure functions: a plan foretells the requests with them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pipeline.ledger.settling import Before, Send, before_of
from pipeline.models import Content, SpanImport, TurnImport
from pipeline.prints import spans_sha256

MAX_BATCH_TURNS = 50
"""100 messages, recommended at most (api-contract 4.2); cut between pairs."""
MAX_BATCH_SPANS = 100
"""As Galtea's SDK does; the API's own limit is unknown (api-contract 11.9)."""
MAX_BATCH_BYTES = 4_194_304
"""Of turns or spans in one request, unless one alone is longer; the API's limit is unknown (api-contract 11.2)."""
CHECKED_TOGETHER = 20
"""Sessions whose turns are counted with one question,"""
MAX_CHECKED_TURNS = 25
"""unless they have more of them: one with more is asked about alone."""
TURNS_PAGE = 500
SPANS_PAGE = 1_000
"""Rows that are read with one request."""
REMEMBERED = 50_000
"""Sessions of which a plan knows what it would have sent, should a newer state of them come in the same input."""
ID_BYTES, SESSION_BYTES = 120, 200
"""What the ids add to a span; what a session says beside its context and metadata."""


class SpanPlace(NamedTuple):
    """A span: which turn's, and which one there."""

    turn: int
    span: int


def next_turns(turns: Sequence[TurnImport], first: int) -> int:
    """How many turns from `first` on go into one request: several only as messages of a batch."""
    count = size = 0
    for place in range(first, min(first + MAX_BATCH_TURNS, len(turns))):
        turn = turns[place]
        size += len(turn.messages or b"")
        if turn.messages is None or (count and size > MAX_BATCH_BYTES):
            break
        count += 1
    return max(count, 1)


def span_batches(turns: Sequence[TurnImport], places: Iterable[SpanPlace]) -> Iterator[list[SpanPlace]]:
    """These spans, request by request; several turns may share one."""
    batch: list[SpanPlace] = []
    size = 0
    for place in places:
        length = len(span_at(turns, place).body) + ID_BYTES
        if batch and (len(batch) == MAX_BATCH_SPANS or size + length > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += length
    if batch:
        yield batch


def span_at(turns: Sequence[TurnImport], place: SpanPlace) -> SpanImport:
    """The span at this place."""
    return turns[place.turn].spans[place.span]


def all_spans(turns: Sequence[TurnImport], first_turn: int = 0) -> Iterator[SpanPlace]:
    """The places of all spans, from a turn on."""
    for number in range(first_turn, len(turns)):
        for place in range(len(turns[number].spans)):
            yield SpanPlace(number, place)


def requests_for(send: Send) -> int:
    """How many requests one session takes where nothing goes wrong, without the check of its turns (Foretold)."""
    content, before = send.session.content, send.before
    if content is None:
        return 4 if send.action == "recreate" else 1
    finish = content.finish is not None
    whole = 1 + requests_of(content) + finish
    if send.action == "create":
        return whole
    if send.action == "recreate":
        return whole + 3  # read, renamed, deleted
    is_grown = before.turns < len(content.turns)
    count = 1 + before.turns // TURNS_PAGE + 1  # the session and its turns are read
    is_closed = before.finish is not None
    count += (is_grown and is_closed) or before.payload_sha256 != send.session.payload_sha256
    count += sum(not before.is_as_sent(place, content.prints) for place in range(min(before.turns, len(content.turns))))
    count += requests_of(content, before.turns)
    if before.turns and before.spans_sha256 != spans_sha256(content.turns, before.turns):
        count += content.spans // SPANS_PAGE + 1
    return count + (finish and (is_grown or before.finish != content.finish))


class Foretold:
    """Adds up the requests of a run that has yet to be made."""

    def __init__(self) -> None:
        self._of_sessions = self._checks = self._checks_in_groups = 0
        self.bytes = 0
        """That are sent, about."""
        self._sent: OrderedDict[int, Before] = OrderedDict()
        """By row, what the last sessions will hold that a newer state in the same input may replace."""

    def note(self, send: Send) -> None:
        """One more session that is sent."""
        if send.action == "replace":
            is_there = send.row in self._sent or send.state == "created"
            send = send._replace(
                action="update" if is_there else "create", before=self._sent.get(send.row, send.before)
            )
        self._of_sessions += requests_for(send)
        self.bytes += bytes_of(send)
        session, content = send.session, send.session.content
        if session.revision is not None:
            self._sent[send.row] = before_of(session)
            if len(self._sent) > REMEMBERED:
                self._sent.popitem(last=False)
        if content is None or len(content.turns) <= (send.before.turns if send.action != "recreate" else 0):
            return
        if len(content.turns) > MAX_CHECKED_TURNS:
            self._checks += 1
        else:
            self._checks_in_groups += 1

    @property
    def requests(self) -> int:
        """So many, without the preflight."""
        return self._of_sessions + self._checks + math.ceil(self._checks_in_groups / CHECKED_TOGETHER)


def bytes_of(send: Send) -> int:
    """How much is sent for it, about; of earlier turns' spans, which may be few, nothing."""
    session, before = send.session, send.before
    turns = session.content.turns if session.content is not None else ()
    is_new = send.action in ("create", "recreate")
    is_told = is_new or before.payload_sha256 != session.payload_sha256
    size = len(session.context) + len(session.metadata) + SESSION_BYTES if is_told else 0
    for place, turn in enumerate(turns):
        if is_new or place >= before.turns:
            size += len(turn.body) + sum([len(span.body) + ID_BYTES for span in turn.spans])
        elif session.content is not None and not before.is_as_sent(place, session.content.prints):
            size += len(turn.body)
    return size


def requests_of(content: Content, first_turn: int = 0) -> int:
    """How many requests bring these turns from `first_turn` on, with their spans; without questions and end."""
    count = 0
    place = first_turn
    while place < len(content.turns):
        place += next_turns(content.turns, place)
        count += 1
    return count + sum(1 for _ in span_batches(content.turns, all_spans(content.turns, first_turn)))
