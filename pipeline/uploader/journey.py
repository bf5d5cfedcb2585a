"""What happens to one session in this process, and what its attempts have cost so far."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pipeline.clock import Clock, iso
from pipeline.errors import TraceImportError, TransientError
from pipeline.ledger.admission import SETTLED_STATES
from pipeline.ledger.settling import Send, Settlement
from pipeline.models import Outcome


class StoppingError(Exception):
    """The run stops, and this session's next step would be a new request: it stays pending."""


@dataclass(slots=True, eq=False)
class Journey:
    """From the ledger to the server, step by step; `end` is told how it ended."""

    send: Send
    version_id: str
    predecessor: asyncio.Future[Settlement | None] | None
    end: asyncio.Future[Settlement | None]
    rank: int
    """Its number in the queue: who came first goes first, with every step, so that few are begun and not ended."""
    session_id: str | None = None
    """Once the session is known to be there and ours."""
    attempts: int = 0
    used_attempts: int = 0
    """This, and the two below: of the step that is being made."""
    refusals: int = 0
    spent_seconds: float = 0.0
    was_ambiguous: bool = False
    """Whether there is a session."""
    is_change: bool = False
    """The session is older than this run."""
    is_sending: bool = False
    has_place: bool = True
    first_sent_at: str | None = None
    latency_ms: float | None = None
    last_error: TransientError | None = None
    refused_spans: str | None = None
    refused_all_spans: str | None = None
    """Why, where the API took none."""
    has_stored_spans: bool = False
    """It took some."""
    is_begun: bool = False
    """The ledger knows that turns or spans are sent."""
    has_written: bool = False
    """A turn, a span or the end was sent."""
    is_doubtful: bool = False
    """The last one of these may have been stored, or not."""
    may_open_until: float = 0.0
    """Until then (monotonic) a request that opens the session may still come through, though it was made again."""
    stored_turns: int = 0
    """So many turns the API has said it stored, from the first one on."""

    def begin_step(self) -> None:
        """What the steps before have cost does not count against the next one."""
        self.used_attempts = self.refusals = 0
        self.spent_seconds = 0.0

    def ended(
        self,
        clock: Clock,
        outcome: Outcome,
        *,
        error: TraceImportError | None = None,
        kind: str | None = None,
        session_id: str | None = None,
        status: int | None = None,
        is_applied: bool = False,
    ) -> Settlement:
        """How it ended, for the ledger."""
        return Settlement(
            send=self.send,
            outcome=outcome,
            is_in_doubt=(
                self.was_ambiguous
                or self.session_id is not None
                or self.send.state in ("sent", "unknown")
                # A replacement that did not end shares its row with an older state that may be in flight.
                or (self.send.action == "replace" and outcome is Outcome.PENDING)
            ),
            is_applied=is_applied,
            session_id=session_id,
            version_id=self.version_id if self.send.action in ("create", "recreate") else None,
            http_status=getattr(error, "status", None) or status,
            attempts=self.attempts,
            error_kind=kind or getattr(error, "kind", None),
            error=str(error) if error is not None else None,
            first_sent_at=self.first_sent_at,
            settled_at=None if outcome is Outcome.PENDING else iso(clock.wall()),
            latency_ms=self.latency_ms,
            refused_spans=self.refused_spans,
            refused_all_spans=self.refused_all_spans,
            has_stored_spans=self.has_stored_spans,
            is_begun=self.is_begun,
            is_clear=self._is_clear(is_applied),
            stored_turns=self.stored_turns,
        )

    def _is_clear(self, is_applied: bool) -> bool:
        """Can nothing that was sent come to light any more? What an earlier process sent, or an older state, may."""
        if is_applied:
            return True
        if not self.has_written:  # noted, perhaps, and then the run was stopped
            return self.is_begun and self.send.action != "replace" and self.send.before.sent_by is None
        # Of one that was settled the ledger keeps what it held then, and not how far its change has come.
        return not (self.is_doubtful or self.send.state in SETTLED_STATES)
