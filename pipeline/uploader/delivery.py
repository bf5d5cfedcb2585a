"""The steps of one session: created or found, changed, adopted, filled; until it is settled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from pipeline.clock import Clock
from pipeline.config import UploadConfig
from pipeline.errors import (
    AmbiguousError,
    ExistsError,
    FatalError,
    RejectedError,
    TraceImportError,
    TransientError,
)
from pipeline.ledger.admission import (
    CONTENT_REJECTED,
    SETTLED_STATES,
    SPANS_REJECTED,
    SPANS_UNKNOWN,
    UPDATE_REJECTED,
)
from pipeline.ledger.settling import Before, Settlement, before_of
from pipeline.models import Content, Outcome, Status
from pipeline.payload import create_body, update_body
from pipeline.prints import PRINT_BYTES
from pipeline.uploader.aside import aside_id
from pipeline.uploader.attempts import Attempts
from pipeline.uploader.attribution import Whose, whose
from pipeline.uploader.client import Client, Created, StoredSession, is_gone
from pipeline.uploader.comparison import mark_of
from pipeline.uploader.contents import ContentRejectedError, Contents, TurnsDifferError, is_finished_with
from pipeline.uploader.gone_versions import GoneVersions
from pipeline.uploader.journey import Journey, StoppingError
from pipeline.uploader.lookups import Lookups
from pipeline.uploader.standing import Standing

End = Callable[..., Settlement]
"""Makes the settlement of a session that got all it should."""
MOSTLY = 0.5
"""When more than this share of the answers is "exists already", sessions are looked up before they are posted."""


class Delivery:
    """For all sessions of a run. `see_refusal` hears of every refusal for good as it comes."""

    def __init__(
        self,
        client: Client,
        attempts: Attempts,
        lookups: Lookups,
        contents: Contents,
        gone: GoneVersions,
        *,
        in_ledger_thread: Callable[..., Awaitable[Any]],
        intend: Callable[..., None],
        see_refusal: Callable[[TraceImportError], None],
        is_stopping: Callable[[], bool],
        ledger_id: str,
        version_id: str,
        run_id: str,
        config: UploadConfig,
        clock: Clock,
    ) -> None:
        self._client = client
        self._attempts = attempts
        self._lookups = lookups
        self._contents = contents
        self._gone = gone
        self._in_ledger_thread = in_ledger_thread
        self._intend = intend
        self._see_refusal = see_refusal
        self._is_stopping = is_stopping
        self._ledger_id = ledger_id
        self._version_id = version_id
        self._run_id = run_id
        self._config = config
        self._clock = clock
        self._exists_share = 0.0
        self.idle = 0
        """How many wait for somebody else: an earlier state of their session, or another machine."""

    async def deliver(self, journey: Journey) -> Settlement:
        """All steps; raises StoppingError, FatalError and StoppedError."""
        send = journey.send
        if send.action in ("update", "complete", "recreate"):
            if journey.predecessor is not None:  # or an older state, tried again, would come after this one
                await self._wait_for(journey, journey.predecessor)
            if send.action == "recreate":
                return await self._recreate(journey, send.session_id or "")
            return await self._update(journey, send.session_id or "")
        if send.action == "replace":
            session_id = send.session_id if send.state == "created" else None
            if journey.predecessor is not None:
                earlier = await self._wait_for(journey, journey.predecessor)
                journey.send = send = send._replace(before=_after(earlier, send.before))
                if earlier is not None and earlier.outcome in (Outcome.CREATED, Outcome.CHANGED):
                    session_id = earlier.session_id
                    journey.is_change = earlier.outcome is Outcome.CHANGED
                else:
                    journey.was_ambiguous |= earlier is None or earlier.is_in_doubt
            if session_id is not None:
                return await self._update(journey, session_id)
        elif self._exists_share > MOSTLY:
            try:
                found = await self._find(journey, 0)
            except (TransientError, RejectedError):
                found = None  # the POST will tell as well
            if found is not None:
                return await self._adopt(journey, found)
            self._exists_share *= 0.98
        return await self._create(journey)

    async def _wait_for(self, journey: Journey, predecessor: asyncio.Future[Settlement | None]) -> Settlement | None:
        self._attempts.leave_place(journey)
        self.idle += 1
        try:
            return await asyncio.shield(predecessor)
        finally:
            self.idle -= 1

    async def _create(self, journey: Journey) -> Settlement:
        custom_id, version_id = journey.send.custom_id, journey.version_id
        body = create_body(journey.send.session, custom_id, version_id=version_id, ledger_id=self._ledger_id)

        async def post() -> Created:
            return await self._client.create_session(body, custom_id=custom_id, version_id=version_id)

        while True:
            try:
                stored = await self._attempts.attempt(journey, post)
            except ExistsError as error:
                return await self._adopt_existing(journey, error)
            except (RejectedError, FatalError) as error:
                try:
                    is_version_gone = await self._is_version_gone(journey, error)
                except TransientError as trouble:
                    return await self._give_up(journey, Outcome.FAILED, trouble)
                if is_version_gone:
                    await self._go_to_the_version_of_this_run(journey)
                    return await self._create(journey)
                if isinstance(error, FatalError):
                    raise
                self._see_refusal(error)
                return await self._give_up(journey, Outcome.REJECTED, error)
            except TransientError as error:
                if self._attempts.is_used_up(journey):
                    return await self._give_up(journey, Outcome.FAILED, error)
                await self._attempts.wait(journey, error)
                continue
            self._exists_share *= 0.98
            body = b""  # it may be long, and what follows takes its time
            return await self._fill(
                journey, stored.id, lambda **end: journey.ended(self._clock, Outcome.CREATED, status=201, **end)
            )

    async def _is_version_gone(self, journey: Journey, error: RejectedError | FatalError) -> bool:
        """Was the version that an earlier run sent this to (a product's newest, then) deleted since?"""
        if journey.version_id == self._version_id or error.kind in ("unauthorized", "identity_broken"):
            return False
        self._attempts.leave_place(journey)
        return await self._gone.has(journey.version_id)

    async def _go_to_the_version_of_this_run(self, journey: Journey) -> None:
        """What that version held is gone with it: nothing of this session is anywhere. The intent is written anew."""
        journey.send = journey.send._replace(version_id=None, state="pending")
        journey.version_id = self._version_id
        journey.was_ambiguous = False
        await self._in_ledger_thread(self._intend, [journey.send])

    async def _update(self, journey: Journey, session_id: str) -> Settlement:
        if journey.send.session.content is None:
            failed = await self._change(journey, session_id, journey.send.session.status)
            return failed or self._end_of_update(journey)(session_id=session_id, is_applied=True)
        try:
            found = await self._attempts.ask(journey, lambda: self._client.get_session(session_id))
            found = found.known_by_its_mark()
        except (TransientError, RejectedError) as error:
            return self._update_failed(journey, session_id, error)
        is_change = journey.send.action != "complete"
        return await self._add_to(journey, found, self._end_of_update(journey, found), rewrites=is_change)

    async def _add_to(self, journey: Journey, found: StoredSession, end: End, *, rewrites: bool = False) -> Settlement:
        """To a session that is there: what it lacks of its turns and spans, and what it says about itself."""
        session, content = journey.send.session, journey.send.session.content
        assert content is not None
        is_ours = mark_of(found).get("ledger") == self._ledger_id
        rewrites &= is_ours
        may_add = is_ours or (journey.send.state == "existing" and self._config.on_existing == "complete")
        if not may_add:
            return journey.ended(
                self._clock,
                Outcome.CHANGED if journey.send.state == "created" else Outcome.EXISTING,
                kind="other_payload",
                session_id=found.id,
            )
        journey.session_id = found.id
        may_delete = rewrites and self._may_delete(journey)
        try:
            standing = await self._contents.look(journey, found.id, may_rewrite=rewrites, may_delete=may_delete)
        except TurnsDifferError as error:
            return self._turns_differ(journey, found.id, error)
        except (TransientError, RejectedError) as error:
            return self._update_failed(journey, found.id, error)
        is_grown = len(standing.ids) < len(content.turns)
        is_closed = found.status != Status.PENDING
        if is_ours and ((is_grown and is_closed) or mark_of(found).get("sha256") != session.payload_sha256):
            # It opens with the same request; one that has ended and got no turn keeps its end.
            status = Status.PENDING if is_grown or content.finish is None else None
            failed = await self._change(journey, found.id, status)
            if failed is not None:
                return failed
            found = found.model_copy(update={"status": Status.PENDING if status else found.status})
        return await self._fill(journey, found.id, end, found=found, standing=standing, rewrites=rewrites)

    def _end_of_update(self, journey: Journey, found: StoredSession | None = None) -> End:
        action = journey.send.action
        if action == "replace" and not journey.is_change:
            return lambda **end: journey.ended(self._clock, Outcome.CREATED, status=200, **end)
        if journey.send.state == "existing":
            kind_of = partial(self._kind_of_existing, journey, found)
            return lambda **end: journey.ended(self._clock, Outcome.EXISTING, kind=kind_of(), **end)
        kind = "completed" if action == "complete" else "updated"
        return lambda **end: journey.ended(self._clock, Outcome.CHANGED, kind=kind, status=200, **end)

    def _kind_of_existing(self, journey: Journey, found: StoredSession | None) -> str | None:
        """Of a session of others that holds all now: it got what it lacked, or it lacked nothing."""
        if journey.has_written or journey.send.before.sent_by is not None:  # a process that was killed may have
            return "completed"
        is_same = found is not None and whose(found, journey.send.session, self._ledger_id) is Whose.SAME_CONTENT
        return None if is_same else "other_payload"

    async def _change(self, journey: Journey, session_id: str, status: Status | None) -> Settlement | None:
        """PATCH the session; what it ended with, or None where it goes on."""
        body = update_body(journey.send.session, ledger_id=self._ledger_id, status=status)
        while True:
            try:
                await self._attempts.attempt(journey, lambda: self._client.update_session(session_id, body))
            except RejectedError as error:
                return self._update_failed(journey, session_id, error)
            except TransientError as error:
                if isinstance(error, AmbiguousError) and status is Status.PENDING:
                    journey.may_open_until = self._clock.now() + self._config.lookup_seconds
                if self._attempts.is_used_up(journey):
                    return self._update_failed(journey, session_id, error)
                await self._attempts.wait(journey, error)
                continue
            return None

    def _update_failed(self, journey: Journey, session_id: str, error: RejectedError | TransientError) -> Settlement:
        if isinstance(error, RejectedError):  # the session stands as it was; what was refused is the change
            self._see_refusal(error)
            return journey.ended(self._clock, Outcome.CHANGED, error=error, kind=UPDATE_REJECTED, session_id=session_id)
        outcome = Outcome.UNKNOWN if journey.was_ambiguous else Outcome.FAILED
        return journey.ended(self._clock, outcome, error=error, session_id=session_id)

    async def _recreate(self, journey: Journey, old_id: str) -> Settlement:
        """Another one in its place. The old one gives its custom id away first, and goes when the new one is there."""
        # A run that goes on may replace one id twice, and the first one may still hold its name.
        aside = aside_id(journey.send.custom_id, f"replaced-{self._run_id}", session_id=old_id)
        try:
            old = await self._attempts.ask(journey, lambda: self._client.get_session(old_id))
            if mark_of(old).get("ledger") != self._ledger_id:
                return journey.ended(self._clock, Outcome.CHANGED, kind="other_payload", session_id=old_id)
            await self._attempts.ask(journey, lambda: self._client.rename_session(old_id, aside))
        except RejectedError as error:
            if not is_gone(error):
                return self._update_failed(journey, old_id, error)
        except (ExistsError, TransientError) as error:
            return journey.ended(self._clock, Outcome.FAILED, error=error, session_id=old_id)
        settlement = await self._create(journey)
        if settlement.outcome is Outcome.REJECTED:
            try:
                await self._attempts.ask(journey, lambda: self._client.rename_session(old_id, journey.send.custom_id))
            except (ExistsError, RejectedError, TransientError) as error:
                return settlement._replace(
                    outcome=Outcome.FAILED,
                    error_kind="not_renamed",
                    error=f"{settlement.error}; and the old one is still named {aside}: {error}",
                    session_id=old_id,
                    version_id=None,
                )
            return settlement._replace(
                outcome=Outcome.CHANGED, error_kind=UPDATE_REJECTED, session_id=old_id, version_id=None
            )
        if not settlement.is_applied:
            return settlement
        try:
            await self._attempts.ask(journey, lambda: self._client.delete_session(old_id))
        except (RejectedError, TransientError) as error:
            if not (isinstance(error, RejectedError) and is_gone(error)):
                return settlement._replace(
                    outcome=Outcome.CHANGED,
                    error_kind="recreated",
                    error=f"the old one, {old_id}, is still there: {error}",
                )
        return settlement._replace(outcome=Outcome.CHANGED, error_kind="recreated")

    async def _fill(
        self,
        journey: Journey,
        session_id: str,
        end: End,
        *,
        found: StoredSession | None = None,
        standing: Standing | None = None,
        rewrites: bool = False,
    ) -> Settlement:
        """Turns, spans and the end, where they are imported; then it is settled."""
        content = journey.send.session.content
        if content is None:
            return end(session_id=session_id, is_applied=True)
        journey.session_id = session_id
        journey.begin_step()
        try:
            await self._contents.bring(
                journey,
                session_id,
                standing=standing,
                is_open=found is None or found.status == Status.PENDING,
                is_finished=content.finish is not None and is_finished_with(found, content.finish),
                may_rewrite=rewrites,
                may_delete=rewrites and self._may_delete(journey),
            )
        except TurnsDifferError as error:
            return self._turns_differ(journey, session_id, error)
        except ContentRejectedError as error:
            self._see_refusal(error)
            return journey.ended(self._clock, Outcome.FAILED, error=error, kind=CONTENT_REJECTED, session_id=session_id)
        except RejectedError as error:  # the API would not even let it be looked at
            return journey.ended(self._clock, Outcome.UNKNOWN, error=error, session_id=session_id)
        except TransientError as error:
            outcome = Outcome.UNKNOWN if isinstance(error, AmbiguousError) else Outcome.FAILED
            return journey.ended(self._clock, outcome, error=error, session_id=session_id)
        settlement = end(session_id=session_id, is_applied=True)
        if journey.refused_spans is not None:
            return settlement._replace(error_kind=settlement.error_kind or SPANS_REJECTED, error=journey.refused_spans)
        return settlement

    def _may_delete(self, journey: Journey) -> bool:
        content, before = journey.send.session.content, journey.send.before
        if self._config.on_change == "update" or journey.send.action in ("replace", "recreate"):
            return True
        # As it was before a change that did not come to its end: what that one added goes.
        return content is not None and before.is_changing and content.prints == before.prints

    def _turns_differ(self, journey: Journey, session_id: str, error: TurnsDifferError) -> Settlement:
        # One that was whole, and to which nothing was sent, is as whole as before.
        is_whole = journey.send.state in SETTLED_STATES and not journey.has_written
        outcome = Outcome.CHANGED if is_whole else Outcome.FAILED
        if journey.send.state == "existing":
            error = TurnsDifferError(f"{error}; upload.on_change does not reach a session that is not this ledger's")
        return journey.ended(self._clock, outcome, error=error, kind="turns_differ", session_id=session_id)

    async def _adopt_existing(self, journey: Journey, exists: ExistsError) -> Settlement:
        self._exists_share = self._exists_share * 0.98 + 0.02
        try:
            found = await self._find(journey, self._config.lookup_seconds)
        except (TransientError, RejectedError) as error:
            return journey.ended(self._clock, Outcome.UNKNOWN, error=error, kind="lookup_failed")
        if found is None:
            # One that may be ours still lacks its turns.
            is_begun = journey.send.session.content is not None and _may_be_there(journey)
            outcome = Outcome.UNKNOWN if is_begun else Outcome.EXISTING
            return journey.ended(self._clock, outcome, error=exists, kind="hidden_or_deleted", status=400)
        return await self._adopt(journey, found)

    async def _adopt(self, journey: Journey, found: StoredSession) -> Settlement:
        session = journey.send.session
        match whose(found, session, self._ledger_id, journey.send.grows_from):
            case Whose.OURS if session.content is None:
                return journey.ended(self._clock, Outcome.CREATED, session_id=found.id, is_applied=True)
            case Whose.OURS:
                # Its mark says nothing about its turns: an earlier process may have sent older ones.
                is_begun = journey.send.state in ("sent", "unknown") or journey.send.before.is_changing
                return await self._add_to(
                    journey,
                    found,
                    lambda **end: journey.ended(self._clock, Outcome.CREATED, **end),
                    rewrites=is_begun,
                )
            case Whose.OURS_BEFORE:
                return await self._update(journey, found.id)
            case Whose.OURS_BUT_OTHER if (
                journey.send.action in ("replace", "recreate") or self._config.on_change == "update"
            ):
                return await self._update(journey, found.id)
            case Whose.OURS_BUT_OTHER:
                is_whole = session.content is None or found.stoppingReason is not None or found.error is not None
                outcome = Outcome.CHANGED if is_whole else Outcome.FAILED  # the end is what comes last
                return journey.ended(self._clock, outcome, kind="reported", session_id=found.id)
            case Whose.SAME_CONTENT | Whose.FOREIGN if session.content and self._config.on_existing == "complete":
                journey.send = journey.send._replace(state="existing")
                found = await self._once_it_has_ended(journey, found)  # another machine may be filling it
                return await self._add_to(journey, found, self._end_of_update(journey, found))
            case Whose.SAME_CONTENT if _is_to_end(await self._once_it_has_ended(journey, found), session.content):
                error = AmbiguousError(
                    "another ledger made it, and it has not ended: if no other machine is filling it, it lacks turns "
                    "or spans, and upload.on_existing: complete brings them",
                    kind="unfinished",
                )
                return journey.ended(self._clock, Outcome.UNKNOWN, error=error)
            case Whose.SAME_CONTENT:
                return journey.ended(self._clock, Outcome.EXISTING, session_id=found.id)
            case Whose.FOREIGN:
                return journey.ended(self._clock, Outcome.EXISTING, kind="other_payload", session_id=found.id)

    async def _once_it_has_ended(self, journey: Journey, found: StoredSession) -> StoredSession:
        """As it is once all is there that the trace says, or the time is over: whoever fills it gets some."""
        until = self._clock.now() + self._config.lookup_seconds
        times = 0
        self.idle += 1
        try:
            while _is_to_end(found, journey.send.session.content) and (left := until - self._clock.now()) > 0:
                self._attempts.leave_place(journey)
                await self._attempts.pause(times, left)
                times += 1
                with contextlib.suppress(TransientError, RejectedError):
                    found = await self._attempts.ask(journey, partial(self._client.get_session, found.id))
        finally:
            self.idle -= 1
        return found

    async def _give_up(self, journey: Journey, outcome: Outcome, error: TraceImportError) -> Settlement:
        """Rejected or failed, unless an attempt may have been stored: then only a look-up can tell."""
        if not _may_be_there(journey):
            return journey.ended(self._clock, outcome, error=error)
        try:
            found = await self._find(journey, self._config.lookup_seconds)
        except (TransientError, RejectedError):
            return journey.ended(self._clock, Outcome.UNKNOWN, error=error)
        if found is not None:
            return await self._adopt(journey, found)
        # What an earlier process sent has had the time to show; what this one sent may still come.
        return journey.ended(self._clock, Outcome.UNKNOWN if journey.was_ambiguous else outcome, error=error)

    async def _find(self, journey: Journey, patience_seconds: float) -> StoredSession | None:
        self._attempts.leave_place(journey)
        if self._is_stopping():
            raise StoppingError
        return await self._lookups.find(journey.send.custom_id, journey.version_id, patience_seconds=patience_seconds)


def _may_be_there(journey: Journey) -> bool:
    """Did this process, or one before, send the session and hear of no answer?"""
    return journey.was_ambiguous or journey.send.state in ("sent", "unknown")


def _is_to_end(found: StoredSession, content: Content | None) -> bool:
    """Is it open, and the trace has ended? The end is what comes last."""
    return content is not None and content.finish is not None and found.status == Status.PENDING


def _after(earlier: Settlement | None, before: Before) -> Before:
    """What the server holds of a session once an earlier state of it, of the same input, is settled."""
    if earlier is None or not earlier.is_applied or earlier.refused_spans is not None:
        content = earlier.send.session.content if earlier is not None else None
        if earlier is not None and content is not None and earlier.stored_turns:
            before = before._replace(prints=content.prints[: PRINT_BYTES * earlier.stored_turns])
        return before._replace(spans_sha256=SPANS_UNKNOWN)
    return before_of(earlier.send.session)
