"""What a session holds: its turns in order, their spans, its end. Sent once, though none of it has a key.

A turn is sent again only after the stored ones were read and it was not among them, for as long as a write may take to
show (upload.lookup_seconds). The same is true of spans (spans.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import orjson

from pipeline.clock import Clock
from pipeline.config import UploadConfig
from pipeline.errors import AmbiguousError, RejectedError, TraceImportError
from pipeline.models import Content
from pipeline.prints import FIGURES
from pipeline.uploader.attempts import TOO_LARGE, Attempts
from pipeline.uploader.batches import MAX_BATCH_TURNS, next_turns
from pipeline.uploader.checks import Checks
from pipeline.uploader.client import Client, StoredSession, is_gone
from pipeline.uploader.content_api import CLOSED, ContentApi, StoredTurn
from pipeline.uploader.journey import Journey
from pipeline.uploader.pages import Page, all_pages
from pipeline.uploader.showing import shows_until
from pipeline.uploader.spans import Spans
from pipeline.uploader.standing import Standing, StoredTurns, standing_of, to_rewrite

REOPENS = "REOPEN_AND_REEVALUATE"
"""The policy of a product whose closed sessions open by themselves when a turn comes (api-contract 2.5)."""
CLEARED = ("actualOutput", "retrievalContext", *(name for name in FIGURES if name != "status"))
"""What an older state of a turn may have said, and the newer one no longer does."""
MAX_REPAIRS = 3
"""How often turns that the API stored and does not show are sent anew."""


class ContentRejectedError(TraceImportError):
    """The API refused a turn, or the end, for good; `status` and the message are the API's."""

    def __init__(self, what: str, error: RejectedError) -> None:
        super().__init__(f"{what}: {error}")
        self.status = error.status


class TurnsDifferError(TraceImportError):
    """What the session holds on the server is another conversation than the trace."""


class Contents:
    """Brings what a session lacks; several sessions at once, one session's steps in order."""

    def __init__(
        self,
        client: Client,
        api: ContentApi,
        attempts: Attempts,
        checks: Checks,
        *,
        config: UploadConfig,
        clock: Clock,
        closed_policy: str | None,
    ) -> None:
        self._client = client
        self._api = api
        self._attempts = attempts
        self._checks = checks
        self._config = config
        self._clock = clock
        self._closed_policy = closed_policy
        self._most_turns = MAX_BATCH_TURNS
        """In one request; fewer, once the API has found one too long."""
        self._spans = Spans(self._api, attempts, config, clock)

    async def look(
        self, journey: Journey, session_id: str, *, may_rewrite: bool = False, may_delete: bool = False
    ) -> Standing:
        """What is there of the session's turns; those that an earlier process may have sent are waited for.

        The flags as for `bring`. Raises TurnsDifferError.
        """
        content, before = _content_of(journey), journey.send.before
        is_in_doubt = before.is_changing or journey.send.state in ("sent", "unknown")
        # Beyond the turns that the ledger knows, one that says something else is somebody else's.
        knows_all = not is_in_doubt and journey.send.action != "replace"
        rewrites = 0 if not may_rewrite else before.turns if knows_all else len(content.turns)
        stored = min(before.turns, len(content.turns))
        standing = await self._read_until(
            journey,
            session_id,
            stored,
            self._lookup_until(),
            enough=len(content.turns) if is_in_doubt else stored,
            rewrites=rewrites,
        )
        until = shows_until(journey, self._config, self._clock)
        if len(standing.ids) < len(content.turns) and until > self._clock.now():
            standing = await self._read_until(journey, session_id, len(content.turns), until, rewrites=rewrites)
        elif may_rewrite and standing.stale and until > self._clock.now():
            # Or an older state that comes through late would stand where the newer one is written now.
            await self._wait_until(journey, until)
            standing = await self._read_until(journey, session_id, stored, until, rewrites=rewrites)
        if not is_in_doubt:  # what was sent as it is wanted, and is shown otherwise, is not sent night after night
            standing = standing._replace(stale=to_rewrite(standing, before, content.prints))
        journey.stored_turns = len(standing.ids)
        if journey.send.state == "existing":  # somebody may have said it twice: it is not ours to take away
            standing = standing._replace(doubles=[], others=[*standing.doubles, *standing.others])
        _require_no_others(journey, standing, may_delete=may_delete)
        return standing

    async def bring(
        self,
        journey: Journey,
        session_id: str,
        *,
        standing: Standing | None,
        is_open: bool,
        is_finished: bool = False,
        may_rewrite: bool = False,
        may_delete: bool = False,
    ) -> None:
        """Add what is missing, and end the session. `standing` None: it is new, and empty.

        `may_rewrite`: turns that say something else are brought up to date; `may_delete`: and those go that the trace
        does not have.

        Raises TransientError where the attempts are used up, ContentRejectedError, TurnsDifferError.
        """
        content = _content_of(journey)
        ids: list[str] = []
        if standing is not None:
            ids = [*await self._settled(journey, standing, may_delete=may_delete)]
            for place in standing.stale if may_rewrite else ():
                await self._rewrite(journey, ids[place], place)
        known = len(ids)
        if known < len(content.turns):
            if not is_open and self._closed_policy != REOPENS:
                await self._open(journey, session_id)
            ids = await self._append(journey, session_id, ids)
        if content.extent == "full":  # else spans that are there from an earlier run stay
            await self._spans.bring(journey, session_id, ids, standing)
        if content.finish is not None and not (is_finished and known == len(content.turns)):
            await self._finish(journey, session_id, content.finish)
        if content.finish is not None and journey.may_open_until > self._clock.now():
            await self._keep_finished(journey, session_id, content.finish)

    # --- turns --------------------------------------------------------------------------------------------

    async def _append(self, journey: Journey, session_id: str, ids: list[str]) -> list[str]:
        """Send the turns that are missing, and look whether they are there: the ids of all."""
        wanted = _content_of(journey).turns
        for _ in range(MAX_REPAIRS):
            while len(ids) < len(wanted):
                before = len(ids)
                ids = await self._append_some(journey, session_id, ids)
                journey.stored_turns = len(ids)
                if len(ids) > before:
                    journey.begin_step()
            self._attempts.leave_place(journey)
            if await self._checks.are_stored(session_id, ids):
                return ids
            standing = await self._read_until(journey, session_id, len(wanted), self._lookup_until(), known=ids)
            if await self._are_only_hidden(journey, session_id, standing, ids):
                return ids
            ids = await self._settled(journey, standing)
            if len(ids) == len(wanted):
                return ids
            await self._open_if_closed(journey, session_id)
        raise AmbiguousError("the API says that it stored turns, and does not show them", kind="turns_not_shown")

    async def _are_only_hidden(self, journey: Journey, session_id: str, standing: Standing, ids: Sequence[str]) -> bool:
        """Does the list lack turns that the API, asked for each, has? Then it shows them later than anybody waits."""
        hidden = standing.not_shown(ids)
        if standing.others or standing.doubles or not hidden:
            return False
        for turn_id in hidden:
            if not await self._attempts.ask(journey, partial(self._api.has_turn, turn_id, session_id)):
                return False
        return True

    async def _append_some(self, journey: Journey, session_id: str, ids: list[str]) -> list[str]:
        """One request; the ids of all that are there then, which are `ids` and more, where nothing went wrong."""
        wanted = _content_of(journey).turns
        first = len(ids)
        some = wanted[first : first + min(next_turns(wanted, first), self._most_turns)]

        async def post() -> list[str]:
            if len(some) == 1:
                return await self._api.create_turn(session_id, some[0].body)
            return await self._api.create_turns(session_id, [turn.messages or b"" for turn in some])

        try:
            created = await self._attempts.until_known(journey, post)
            if len(created) == len(some):
                ids += created
                return ids
            # It took them and stored none, or not all: a closed session may ignore what comes.
            journey.used_attempts += 1
            if not self._attempts.is_used_up(journey) and await self._open_if_closed(journey, session_id):
                return ids
            raise AmbiguousError("the API says nothing about turns that it took", kind="broken_answer")
        except AmbiguousError as error:
            count = first + len(some)
            # In a session of ours, what came behind our turns is what was just sent, however the API shows it.
            rewrites = count if journey.send.state != "existing" else 0
            standing = await self._read_until(
                journey, session_id, count, self._lookup_until(), known=ids, rewrites=rewrites
            )
            if await self._are_only_hidden(journey, session_id, standing, ids):
                raise  # such a list does not tell whether this one was stored, either
            found = await self._settled(journey, standing)
            for place in standing.stale:
                if place >= first and standing.said(place) != wanted[place].print:
                    await self._rewrite(journey, found[place], place)
            journey.is_doubtful = False
            if len(found) <= first:
                if self._attempts.is_used_up(journey):
                    raise
                await self._attempts.wait(journey, error)
            return found
        except RejectedError as error:
            if error.status == TOO_LARGE and len(some) > 1:
                self._most_turns = len(some) // 2
                return ids
            journey.used_attempts += 1  # opening it may help nothing
            if not self._attempts.is_used_up(journey) and await self._open_if_closed(journey, session_id):
                return ids
            raise ContentRejectedError(f"turn {first + 1} was refused", error) from error

    async def _rewrite(self, journey: Journey, turn_id: str, place: int) -> None:
        body = _content_of(journey).turns[place].body
        said = orjson.loads(body)
        cleared = b"".join([b'"%b":null,' % name.encode() for name in CLEARED if name not in said])
        body = b"{%b%b" % (cleared, body[1:])
        try:
            await self._attempts.ask(journey, lambda: self._api.update_turn(turn_id, body))
        except RejectedError as error:
            raise ContentRejectedError(f"the change of turn {place + 1} was refused", error) from error

    async def _settled(self, journey: Journey, standing: Standing, *, may_delete: bool = False) -> list[str]:
        """The turns that are there, once what is there twice or does not belong is gone."""
        _require_no_others(journey, standing, may_delete=may_delete)
        if standing.late:
            raise AmbiguousError("the API shows later turns, and not one before them", kind="turns_not_shown")
        for turn_id in [*standing.doubles, *standing.others]:
            try:
                await self._attempts.ask(journey, partial(self._api.delete_turn, turn_id))
            except RejectedError as error:
                if not is_gone(error):
                    raise ContentRejectedError("a turn that does not belong there cannot be deleted", error) from error
        return standing.ids

    async def _read_until(
        self,
        journey: Journey,
        session_id: str,
        count: int,
        until: float,
        *,
        enough: int | None = None,
        known: Sequence[str] = (),
        rewrites: int = 0,
    ) -> Standing:
        """How the turns stand once `count` of them show, or the time is over.

        `enough`: where more than `count` may be there (all_pages); `known`, `rewrites`: see standing_of.
        """
        wanted, before = _content_of(journey).turns, journey.send.before.prints

        async def page(offset: int) -> Page[StoredTurn]:
            return await self._attempts.ask(journey, lambda: self._api.turns([session_id], offset=offset))

        times = 0
        while True:
            stored = StoredTurns()
            async for found in all_pages(page, self._api.turns_page, enough=count if enough is None else enough):
                stored.add([turn for turn in found if turn.session_id == session_id])
            standing = standing_of(stored, wanted, known=known, rewrites=rewrites, before=before)
            left = until - self._clock.now()
            is_other = standing.others and not standing.not_shown(known)
            if len(standing.ids) >= count or is_other or left <= 0:
                return standing
            await self._attempts.pause(times, left)
            times += 1

    async def _wait_until(self, journey: Journey, moment: float) -> None:
        self._attempts.leave_place(journey)
        times = 0
        while (left := moment - self._clock.now()) > 0:
            await self._attempts.pause(times, left)
            times += 1

    def _lookup_until(self) -> float:
        """So long a write may take to show."""
        return self._clock.now() + self._config.lookup_seconds

    # --- the end ------------------------------------------------------------------------------------------

    async def _finish(self, journey: Journey, session_id: str, body: bytes) -> None:
        journey.begin_step()
        was_opened = False
        while True:
            try:
                await self._attempts.until_known(journey, lambda: self._api.finish(session_id, body))
            except AmbiguousError as error:
                if is_finished_with(await self._session(journey, session_id), body):
                    return
                journey.is_doubtful = False
                if self._attempts.is_used_up(journey):
                    raise
                await self._attempts.wait(journey, error)
            except RejectedError as error:
                session = await self._session(journey, session_id)
                if is_finished_with(session, body):
                    return  # an attempt before had finished it
                if was_opened or session is None or session.status not in CLOSED:
                    raise ContentRejectedError("its end was refused", error) from error
                await self._open(journey, session_id)  # it had closed by itself, or with another end
                was_opened = True
            else:
                return

    async def _keep_finished(self, journey: Journey, session_id: str, body: bytes) -> None:
        """What was to open the session, and was made again for want of an answer, may come after the end."""
        await self._wait_until(journey, journey.may_open_until)
        if not is_finished_with(await self._session(journey, session_id), body):
            await self._finish(journey, session_id, body)

    async def _session(self, journey: Journey, session_id: str) -> StoredSession | None:
        try:
            return await self._attempts.ask(journey, lambda: self._client.get_session(session_id))
        except RejectedError as error:
            if is_gone(error):
                return None
            raise ContentRejectedError("the session cannot be read", error) from error

    async def _open_if_closed(self, journey: Journey, session_id: str) -> bool:
        """Was it closed, by whoever it was? Then it is open now."""
        session = await self._session(journey, session_id)
        if session is None or session.status in (None, "PENDING"):
            return False
        await self._open(journey, session_id)
        return True

    async def _open(self, journey: Journey, session_id: str) -> None:
        async def open_it() -> None:
            try:
                await self._client.open_session(session_id)
            except AmbiguousError:
                journey.may_open_until = self._lookup_until()
                raise

        try:
            await self._attempts.ask(journey, open_it)
        except RejectedError as error:
            raise ContentRejectedError("it cannot be opened again", error) from error


def is_finished_with(session: StoredSession | None, body: bytes) -> bool:
    """Did it end the way that the body of a finish says?"""
    if session is None or session.status not in CLOSED:
        return False
    told = {"stoppingReason": session.stoppingReason, "error": session.error}
    return all(told[key] == value for key, value in orjson.loads(body).items())


def _require_no_others(journey: Journey, standing: Standing, *, may_delete: bool) -> None:
    if standing.others and not may_delete:
        place = len(standing.ids) + 1
        raise TurnsDifferError(
            f"{len(standing.others)} turns on the server, the first one in place {place}, are not those of this "
            f"trace; nothing {'more ' if journey.has_written else ''}was added"
        )


def _content_of(journey: Journey) -> Content:
    content = journey.send.session.content
    assert content is not None  # who has none is not brought here
    return content
