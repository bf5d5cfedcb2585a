"""Refusals for good, many in a row for one reason: then it is the target's fault, and not the sessions'."""

from __future__ import annotations

import re

from pipeline.errors import FatalError, TraceImportError
from pipeline.ledger.settling import Settlement
from pipeline.models import Outcome

ALIKE_LIMIT = 50
"""So many in a row stop the run (exhausted credits are a plain 400)."""


class Refusals:
    """A reject is believed once something else is accepted, or another reason is given, or the run ends.

    A refusal counts when it comes, also where the session is looked up first: so `see` and `hold` are two calls.
    """

    def __init__(self) -> None:
        self._reason = ""
        self._in_a_row = 0
        self._held: list[Settlement] = []
        self._believed: list[Settlement] = []
        self._targets_fault: str | None = None
        """The reason for which the run was stopped: who is refused for it is never rejected."""

    def see(self, error: TraceImportError) -> FatalError | None:
        """The API refused a session; returns why the run must stop, when this was one too many."""
        reason = _masked(str(error))
        if reason != self._reason:
            self.break_row()
            self._reason = reason
        self._in_a_row += 1
        if self._in_a_row != ALIKE_LIMIT:
            return None
        self._targets_fault = reason
        return FatalError(
            f"{ALIKE_LIMIT} sessions in a row were refused for the same reason: {str(error).rstrip('.')}. "
            "Nothing was marked as rejected; mend the cause and run again",
            kind="all_rejected_alike",
            status=getattr(error, "status", None),
        )

    def hold(self, settlement: Settlement) -> None:
        """A session ended as refused; whether that is to be believed will show."""
        self._held.append(settlement)

    def break_row(self) -> None:
        """Something was accepted, or the run ends."""
        self._believed += [
            item._replace(outcome=Outcome.PENDING, settled_at=None)
            if _masked(item.error or "") == self._targets_fault
            else item
            for item in self._held
        ]
        self._held = []
        self._reason = ""
        self._in_a_row = 0

    def take(self) -> list[Settlement]:
        """What can be written now; each once."""
        believed, self._believed = self._believed, []
        return believed


def _masked(text: str) -> str:
    """An error message without what differs from record to record: quoted values, ids, numbers."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "…", text)
    return re.sub(r"\S*\d\S*", "#", text)
