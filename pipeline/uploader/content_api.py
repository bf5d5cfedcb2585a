"""The routes of turns and spans, and of a session's end (api-contract 2.4, 4 and 5): one attempt a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, quote_plus

import msgspec
import orjson

from pipeline.errors import AmbiguousError, FatalError, RejectedError, TransientError
from pipeline.prints import FIGURES, figures_print, turn_print
from pipeline.uploader.batches import SPANS_PAGE, TURNS_PAGE
from pipeline.uploader.client import Client
from pipeline.uploader.pages import LowerLimitError, Page, PageSize
from pipeline.uploader.transport import Answer

CLOSED = ("COMPLETED", "FAILED")
"""The states of a session that has ended (api-contract 2.5)."""
_Id = Annotated[str, msgspec.Meta(min_length=1)]


class StoredTurn(NamedTuple):
    """A turn on the server, as far as we need it."""

    id: str
    session_id: str
    rank: tuple[int, str]
    """Sorts the turns of a session: index, time of creation. Two may have the same one."""
    print: bytes
    told: Mapping[str, Any]
    """All else that it tells, as the API shows it."""

    @property
    def figures(self) -> bytes:
        """Their print."""
        return figures_print(self.told)


class StoredSpan(NamedTuple):
    """A span on the server."""

    id: str
    turn_id: str
    mark: str | None
    """By which an import knows it again (SpanImport.seed); None: no import made it, or the list hides it."""
    is_bare: bool
    """Is no metadata shown, in which the mark is? Lists may leave it out (api-contract 5.1)."""
    parent_id: str | None


class RefusedSpan(NamedTuple):
    """A span that the API did not take, and why."""

    place: int
    """Among those that were sent together."""
    reason: str


class AnsweredSpans(NamedTuple):
    """What the API made of spans that were sent together."""

    created: list[StoredSpan]
    refused: list[RefusedSpan]


class _Turn(msgspec.Struct, frozen=True):
    id: _Id
    sessionId: _Id  # noqa: N815  (the wire's names)
    index: int | None = None
    createdAt: str | None = None  # noqa: N815
    input: Any = None
    actualOutput: Any = None  # noqa: N815
    status: Any = None
    error: Any = None
    latency: Any = None
    inputTokens: Any = None  # noqa: N815
    outputTokens: Any = None  # noqa: N815
    cacheReadInputTokens: Any = None  # noqa: N815
    tokens: Any = None
    cost: Any = None


class _CreatedTurn(msgspec.Struct, frozen=True):
    id: _Id
    sessionId: _Id  # noqa: N815
    index: int | None = None
    deletedAt: Any = None  # noqa: N815


class _Closed(msgspec.Struct, frozen=True):
    status: str
    stoppingReason: Any = msgspec.UNSET  # noqa: N815
    error: Any = msgspec.UNSET

    def ends_like(self, wanted: Mapping[str, Any]) -> bool:
        """Does it tell an error where there is one, and a reason where there is one? (It may word them otherwise.)"""
        told = {"stoppingReason": self.stoppingReason, "error": self.error}
        return all(told[name] is msgspec.UNSET or told[name] for name in wanted) and (
            "error" in wanted or self.error is msgspec.UNSET or not self.error
        )


class _Span(msgspec.Struct, frozen=True):
    id: _Id
    inferenceResultId: _Id  # noqa: N815
    metadata: Any = None
    parentTraceId: str | None = None  # noqa: N815
    deletedAt: Any = None  # noqa: N815


class _Refused(msgspec.Struct, frozen=True):
    index: int
    reason: str = ""


class _PartialSuccess(msgspec.Struct, frozen=True):
    rejectedSpans: int = 0  # noqa: N815
    errors: list[_Refused] = []


class _SpanAnswer(msgspec.Struct, frozen=True):
    spans: list[_Span]
    partialSuccess: _PartialSuccess | None = None  # noqa: N815


class ContentApi:
    """See the client; nothing here is safe to send twice without looking first."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.turns_page = PageSize(TURNS_PAGE)
        self.spans_page = PageSize(SPANS_PAGE)

    async def create_turn(self, session_id: str, body: bytes) -> list[str]:
        """POST /inferenceResults: the id of the new turn; none where the API says nothing about one."""
        path, text = "/inferenceResults", b'{"sessionId":%b,%b' % (orjson.dumps(session_id), body[1:])
        created = self._read(await self._client.send("POST", path, text), _CreatedTurn | None)
        return self._own([created] if created is not None else [], session_id)

    async def create_turns(self, session_id: str, messages: Iterable[bytes]) -> list[str]:
        """POST /inferenceResults/batch: the ids of the new turns, in their order."""
        text = b'{"sessionId":%b,"conversationTurns":[%b]}' % (orjson.dumps(session_id), b",".join(messages))
        answer = await self._client.send("POST", "/inferenceResults/batch", text)
        created = self._read(answer, list[_CreatedTurn] | None) or []
        return self._own(sorted(created, key=lambda turn: turn.index or 0), session_id)

    async def update_turn(self, turn_id: str, body: bytes) -> None:
        """PATCH /inferenceResults/{id}."""
        self._expect_success(await self._client.send("PATCH", f"/inferenceResults/{quote(turn_id, safe='')}", body))

    async def delete_turn(self, turn_id: str) -> None:
        """DELETE /inferenceResults/{id}."""
        self._expect_success(await self._client.send("DELETE", f"/inferenceResults/{quote(turn_id, safe='')}", None))

    async def turns(self, session_ids: Sequence[str], *, offset: int = 0) -> Page[StoredTurn]:
        """GET /inferenceResults of these sessions: a page from `offset` on, oldest first (pages.py)."""
        found, limit = await self._page("/inferenceResults", _ids(session_ids), offset, self.turns_page, list[_Turn])
        turns = [
            StoredTurn(
                turn.id,
                turn.sessionId,
                (turn.index or 0, turn.createdAt or ""),
                turn_print(turn.input, turn.actualOutput),
                {name: getattr(turn, name) for name in FIGURES},
            )
            for turn in found
        ]
        return Page(turns, limit)

    async def has_turn(self, turn_id: str, session_id: str) -> bool:
        """GET /inferenceResults/{id}: is it there, and in this session?"""
        answer = await self._client.send("GET", f"/inferenceResults/{quote(turn_id, safe='')}", None)
        try:
            turn: _CreatedTurn = self._read(answer, _CreatedTurn)
        except RejectedError:
            return False
        return (turn.id, turn.sessionId, turn.deletedAt) == (turn_id, session_id, None)

    async def create_spans(self, bodies: Sequence[bytes]) -> AnsweredSpans:
        """POST /traces/batch; no span is left out of the answer."""
        text = b'{"traces":[%b]}' % b",".join(bodies)
        answer = await self._client.send("POST", "/traces/batch?includeRejected=true", text)
        created = self._read(answer, _SpanAnswer | list[_Span])
        if isinstance(created, list):  # an older API, that does not say which ones it dropped
            spans, refused = created, []
        else:
            errors = created.partialSuccess.errors if created.partialSuccess is not None else []
            spans = created.spans
            refused = [RefusedSpan(error.index, self._client.clean(error.reason)) for error in errors]
        if len(spans) + len(refused) != len(bodies):
            raise AmbiguousError(
                f"the API answered {answer.status} to {len(bodies)} spans with {len(spans)} and {len(refused)} refused",
                kind="broken_answer",
                status=answer.status,
            )
        return AnsweredSpans([_stored(span) for span in spans], refused)

    async def spans(self, session_ids: Sequence[str], *, offset: int = 0) -> Page[StoredSpan]:
        """GET /traces of these sessions: a page from `offset` on (pages.py)."""
        return await self._spans(_ids(session_ids), offset)

    async def spans_of_turns(self, turn_ids: Sequence[str], *, offset: int = 0) -> Page[StoredSpan]:
        """GET /traces of these turns: a page from `offset` on (pages.py)."""
        return await self._spans(_ids(turn_ids, "inferenceResultIds"), offset)

    async def _spans(self, of: str, offset: int) -> Page[StoredSpan]:
        found, limit = await self._page("/traces", of, offset, self.spans_page, list[_Span])
        return Page([_stored(span) for span in found], limit)

    async def span(self, span_id: str) -> StoredSpan | None:
        """GET /traces/{id}; None where it is not there."""
        answer = await self._client.send("GET", f"/traces/{quote(span_id, safe='')}", None)
        try:
            span: _Span = self._read(answer, _Span)
        except RejectedError:
            return None
        return _stored(span) if (span.id, span.deletedAt) == (span_id, None) else None

    async def delete_span(self, span_id: str) -> None:
        """DELETE /traces/{id}."""
        self._expect_success(await self._client.send("DELETE", f"/traces/{quote(span_id, safe='')}", None))

    async def finish(self, session_id: str, body: bytes) -> None:
        """PATCH /sessions/{id}/finish; the answer must say that it is closed, and as it was asked to.

        RejectedError also where the API left it with the end that it had (a second finish: api-contract 2.4).
        """
        path = f"/sessions/{quote(session_id, safe='')}/finish"
        answer = await self._client.send("PATCH", path, body)
        closed: _Closed = self._read(answer, _Closed)
        if closed.status in CLOSED and not closed.ends_like(orjson.loads(body)):
            raise RejectedError(
                f"the API answered {answer.status} and left it as it had ended before",
                kind="ended_otherwise",
                status=answer.status,
            )
        if closed.status not in CLOSED:
            raise AmbiguousError(
                f"the API answered {answer.status} and left the session open", kind="not_finished", status=answer.status
            )

    async def _page(self, path: str, of: str, offset: int, size: PageSize, shape: Any) -> tuple[list[Any], int]:
        """One page, and its limit. LowerLimitError where that is perhaps too high for the API, or for its answer."""
        limit = size.limit
        query = f"{path}?{of}&sort=createdAt,asc&limit={limit}&offset={offset}"
        try:
            answer = await self._client.send("GET", query, None)
            rows: list[Any] = self._read(answer, shape)
        except (RejectedError, TransientError) as error:
            if size.lower(error, asked=limit):
                raise LowerLimitError(str(error), kind=error.kind, status=error.status) from error
            if isinstance(error, RejectedError):
                size.keep(refused=limit)
            raise
        size.fitted(len(rows), length=len(answer.body), asked=limit)
        return rows, limit

    def _own(self, created: Sequence[_CreatedTurn], session_id: str) -> list[str]:
        for turn in created:
            if turn.sessionId != session_id:
                raise FatalError(
                    f"a turn was sent to {session_id}, and the API says that it went to "
                    f"{self._client.clean(turn.sessionId)}; nothing can be accounted for against such an answer. "
                    "Is this Galtea's API?",
                    kind="identity_broken",
                )
        return [turn.id for turn in created]

    def _read(self, answer: Answer, shape: Any) -> Any:
        self._expect_success(answer)
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise AmbiguousError(
                f"the API answered {answer.status} with something that is not its format",
                kind="broken_answer",
                status=answer.status,
            ) from error

    def _expect_success(self, answer: Answer) -> None:
        if not 200 <= answer.status < 300:
            raise self._client.error_of(answer, creates=False)


def _ids(ids: Sequence[str], name: str = "sessionIds") -> str:
    return "&".join(f"{name}={quote_plus(id)}" for id in ids)


def _stored(span: _Span) -> StoredSpan:
    mark, is_bare = _mark_of(span.metadata), span.metadata is None
    return StoredSpan(span.id, span.inferenceResultId, mark, is_bare, span.parentTraceId)


def _mark_of(metadata: Any) -> str | None:
    if isinstance(metadata, str):  # a database's way to show JSON
        try:
            metadata = orjson.loads(metadata)
        except orjson.JSONDecodeError:
            return None
    mark = metadata.get("trace_import") if isinstance(metadata, dict) else None
    return mark if isinstance(mark, str) else None
