"""Refusals for good, many in a row for one reason: then it is the target's fault, and not the sessions'."""

from __future__ import annotations

import re
from collections.abc import Collection

from pipeline.errors import FatalError, TraceImportError
from pipeline.ledger.settling import Settlement
from pipeline.models import Outcome

ALIKE_LIMIT = 50
"""So many in a row stop the run (exhausted credits are a plain 400)."""
MAX_COMPARED = 4_096
"""Characters of a reason."""


class Alike:
    """Counts what was refused for one and the same reason, in a row."""

    def __init__(self) -> None:
        self.reason = ""
        """Without what differs from record to record."""
        self._in_a_row = 0

    def see(self, error: str) -> bool:
        """One more; was it one too many?"""
        reason = _masked(error)
        if reason != self.reason:
            self.reason, self._in_a_row = reason, 0
        self._in_a_row += 1
        return self._in_a_row == ALIKE_LIMIT

    def break_row(self) -> None:
        """Something was accepted."""
        self.reason, self._in_a_row = "", 0


def refused_spans_alike(reason: str) -> FatalError:
    """Why a run must stop that has all spans of its sessions refused."""
    return FatalError(
        f"all spans of {ALIKE_LIMIT} sessions in a row were refused for the same reason: {reason.rstrip('.')}. The "
        "sessions and their turns are there; mend the cause and run again with upload.retry_rejected: true, or without "
        "spans: import: turns",
        kind="all_spans_rejected_alike",
    )


class Refusals:
    """A reject is believed once something else is accepted, or another reason is given, or the run ends.

    A refusal counts when it comes, also where the session is looked up first: so `see` and `hold` are two calls.
    """

    def __init__(self) -> None:
        self._alike = Alike()
        self._held: list[Settlement] = []
        self._believed: list[Settlement] = []
        self._targets_fault: str | None = None
        """The reason for which the run was stopped: who is refused for it is never rejected."""

    def see(self, error: TraceImportError) -> FatalError | None:
        """The API refused a session; returns why the run must stop, when this was one too many."""
        if _masked(str(error)) != self._alike.reason:
            self.break_row()
        if not self._alike.see(str(error)):
            return None
        self._targets_fault = self._alike.reason
        return FatalError(
            f"{ALIKE_LIMIT} sessions in a row were refused for the same reason: {str(error).rstrip('.')}. "
            "Nothing was marked as rejected; mend the cause and run again",
            kind="all_rejected_alike",
            status=getattr(error, "status", None),
        )

    def hold(self, settlement: Settlement) -> None:
        """A session ended as refused; whether that is to be believed will show."""
        self._held.append(settlement)

    def release(self, rows: Collection[int]) -> None:
        """A newer state of these sessions is sent: how the older one ended is written before it."""
        self._believed += [item for item in self._held if item.send.row in rows]
        self._held = [item for item in self._held if item.send.row not in rows]

    def break_row(self) -> None:
        """Something was accepted, or the run ends."""
        self._believed += [
            item._replace(outcome=Outcome.PENDING, settled_at=None)
            if _masked(item.error or "") == self._targets_fault
            else item
            for item in self._held
        ]
        self._held = []
        self._alike.break_row()

    def take(self) -> list[Settlement]:
        """What can be written now; each once."""
        believed, self._believed = self._believed, []
        return believed


def _masked(text: str) -> str:
    """An error message without what differs from record to record: quoted values, ids, numbers."""
    return _WITH_DIGITS.sub("#", _QUOTED.sub("…", text[:MAX_COMPARED]))


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_WITH_DIGITS = re.compile(r"(?<!\S)[^\s\d]*+\d\S*")
"""A word is searched for a digit once, and not from each of its characters."""
