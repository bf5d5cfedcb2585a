"""Does the server hold what the ledger says? Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from enum import StrEnum
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from pipeline.ledger.settled import Settled
from pipeline.payload import stored_sha256s
from pipeline.prints import PRINT_BYTES, said_of, tell
from pipeline.uploader.client import StoredSession
from pipeline.uploader.content_api import CLOSED, StoredTurn
from pipeline.uploader.standing import aligned

PLACES_SHOWN = 5
LONGEST_ALIGNED = 200
"""Turns between the first and the last that differ; of more only the range is told (aligning takes time squared)."""


class Difference(StrEnum):
    """How a session on the server differs from what the ledger says of it."""

    MISSING = "missing"  # not there: deleted, or hidden
    DOUBLED = "doubled"  # the same custom id twice for this version
    FOREIGN = "foreign"  # the ledger says that it created it, and the mark is another one's, or gone
    DIFFERENT = "different"  # it holds something else
    ENDS_OTHERWISE = "ends_otherwise"  # open again, closed by Galtea itself, or ended by somebody else
    TURNS_DIFFER = "turns_differ"  # missing, doubled, others' or changed ones
    SPANS_DIFFER = "spans_differ"  # more or fewer than were imported
    UNANSWERED = "unanswered"  # the API would not say


class Finding(NamedTuple):
    """One of them."""

    kind: Difference
    session: Settled
    detail: str


class Held(NamedTuple):
    """What a session holds on the server."""

    turns: list[StoredTurn]
    spans: range | None
    """How many an import made: just so many, or more, where the API does not show which. None: not asked for."""
    spans_fault: str | None = None
    """What is wrong with them, other than their number."""


def compare(session: Settled, found: Sequence[StoredSession], ledger_id: str, *, contents: bool) -> Finding | None:
    """What differs, the worst first; None where all is as the ledger says. `contents`: look into it, too."""

    def finding(kind: Difference, detail: str) -> Finding:
        return Finding(kind, session, detail)

    if not found:
        if session.session_id is None:
            return None  # so the ledger says: refused as existing, and never shown
        return finding(Difference.MISSING, "the API does not show it: it was deleted, or is hidden")
    if len(found) > 1:
        ids = ", ".join(item.id for item in found)
        return finding(Difference.DOUBLED, f"{len(found)} sessions have this custom id: {ids}")
    stored = found[0]
    mark = mark_of(stored)
    if session.state == "created" and mark.get("ledger") != ledger_id:
        whose = "carries no mark" if not mark else "carries the mark of another ledger"
        return finding(Difference.FOREIGN, f"this ledger created it, and it {whose}")
    if session.session_id is not None and stored.id != session.session_id:
        return finding(Difference.DIFFERENT, f"it is another session, {stored.id}")
    if stored.customId != session.custom_id:
        return finding(Difference.DIFFERENT, f"its custom id is now {stored.customId!r}")
    if session.state == "created" and (stored.isProduction is not False or stored.testCaseId is not None):
        return finding(Difference.DIFFERENT, "it is no longer an imported session (isProduction, testCaseId)")
    is_completed = session.state == "existing" and session.extent is not None  # what it says of itself is theirs
    if contents and has_known_content(session) and not is_completed and not _holds(session, stored, mark):
        return finding(Difference.DIFFERENT, "its content is not what the ledger says")
    if session.state == "existing" and session.error_kind == "turns_differ":
        return finding(Difference.TURNS_DIFFER, "the run that was to complete it found other turns, and sent nothing")
    end = _other_end(session, stored) if session.state == "created" and has_known_turns(session) else None
    return finding(Difference.ENDS_OTHERWISE, end) if end is not None else None


def compare_held(session: Settled, held: Held, *, contents: bool) -> Finding | None:
    """The same of its turns and spans; without `contents` turns are only counted.

    What others added to a session of theirs, which an import completed, is their business.
    """
    prints = session.turn_prints or b""
    by_rank = sorted(held.turns, key=lambda turn: (turn.rank, turn.id))
    turns = aligned(by_rank, attrgetter("rank"), attrgetter("print"), said_of(prints))
    stored = [turn.print + turn.figures for turn in turns]
    wanted = [prints[place : place + PRINT_BYTES] for place in range(0, len(prints), PRINT_BYTES)]
    if contents or len(stored) != len(wanted):
        told = list(islice(_other_turns(wanted, stored, turns, is_ours=session.state == "created"), PLACES_SHOWN + 1))
        if told:
            more = "; and more" if len(told) > PLACES_SHOWN else ""
            return Finding(Difference.TURNS_DIFFER, session, "; ".join(told[:PLACES_SHOWN]) + more)
    if contents and held.spans is not None and session.spans not in held.spans:
        counts = f"{held.spans.start} imported spans are there, and there were {session.spans}"
        return Finding(Difference.SPANS_DIFFER, session, counts)
    return Finding(Difference.SPANS_DIFFER, session, held.spans_fault) if contents and held.spans_fault else None


def has_known_turns(session: Settled) -> bool:
    """Does the ledger say which turns it holds, and how it ended?"""
    return session.extent is not None and session.session_id is not None and not session.is_changing


def has_known_content(session: Settled) -> bool:
    """Does the ledger say what it holds? Not of what it merely found there, and could not attribute."""
    return bool(session.payload_sha256) and session.error_kind != "other_payload" and not session.is_changing


def mark_of(stored: StoredSession) -> dict[str, Any]:
    """The mark that a session carries (payload.py), or an empty one."""
    mark = (stored.metadata or {}).get("trace_import")
    return mark if isinstance(mark, dict) else {}


def _holds(session: Settled, stored: StoredSession, mark: dict[str, Any]) -> bool:
    if session.state == "existing" and mark.get("sha256") == session.payload_sha256:
        return True  # so it was attributed (attribution.py)
    # Galtea closes sessions that are PENDING by itself after a while (api-contract 2.5): that is no other content.
    # How one with turns has ended is compared for itself.
    statuses = {stored.status or "", "PENDING", *(CLOSED if session.extent is not None else ())}
    return any(
        session.payload_sha256 in stored_sha256s(status, stored.context, stored.metadata or {}) for status in statuses
    )


def _other_end(session: Settled, stored: StoredSession) -> str | None:
    told = {"stoppingReason": stored.stoppingReason, "error": stored.error}
    shown = ", ".join(f"{key} {value!r}" for key, value in told.items() if value is not None)
    if session.finish is None:  # Galtea closes it by itself after a while, which says nothing
        return f"the import left it open, and somebody has ended it: {shown}" if shown else None
    if stored.status == "PENDING":
        return "the import had ended it, and it is open: somebody has opened it again"
    wanted = orjson.loads(session.finish)
    if not shown:
        return "Galtea has closed it by itself: it does not say how it ended"
    status = "FAILED" if "error" in wanted else "COMPLETED"
    if stored.status != status or any(told[key] != value for key, value in wanted.items()):
        return f"it is {stored.status} with {shown}, and the import had ended it as {status}"
    return None


def _other_turns(
    wanted: Sequence[bytes], stored: Sequence[bytes], turns: Sequence[StoredTurn], *, is_ours: bool
) -> Iterator[str]:
    """What differs, turn by turn. Each is given by its prints: what was said, and the figures beside it."""
    half = PRINT_BYTES // 2
    said, found = [turn[:half] for turn in wanted], [turn[:half] for turn in stored]
    first = next((place for place, pair in enumerate(zip(said, found, strict=False)) if pair[0] != pair[1]), None)
    first = min(len(said), len(found)) if first is None else first
    end, found_end = len(said), len(found)
    while end > first and found_end > first and said[end - 1] == found[found_end - 1]:
        end, found_end = end - 1, found_end - 1
    pairs = [(place, place) for place in range(first)]
    known = set(said)
    if max(end, found_end) - first > LONGEST_ALIGNED:
        yield f"{_turns(first, end)} is another, or missing: {found_end - first} are in their place"
    else:
        matcher = SequenceMatcher(None, said[first:end], found[first:found_end], autojunk=False)
        for tag, i, i_end, j, j_end in matcher.get_opcodes():
            if tag == "equal":
                pairs += zip(range(first + i, first + i_end), range(first + j, first + j_end), strict=True)
                continue
            changed = min(i_end - i, j_end - j)
            if changed:
                yield f"{_turns(first + i, first + i + changed)} says something else"
            if i + changed < i_end:
                yield f"{_turns(first + i + changed, first + i_end)} is missing"
            extra = found[first + j + changed : first + j_end]
            doubled = [said.index(one) for one in extra if one in known]
            for place in doubled:
                yield f"{_turns(place, place + 1)} is there once more"
            others = len(extra) - len(doubled)
            if others and is_ours:
                come = "comes one that is" if others == 1 else f"come {others} that are"
                yield f"after turn {first + i_end} {come} not ours"
    pairs += zip(range(end, len(said)), range(found_end, len(found)), strict=True)
    for place, there in pairs:
        if wanted[place] != stored[there] and not tell(turns[there].told, wanted[place][half:]):
            yield f"turn {place + 1} has another status or other figures"


def _turns(first: int, end: int) -> str:
    return f"turn {first + 1}" if end - first == 1 else f"each of turns {first + 1} to {end}"
