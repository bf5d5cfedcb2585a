"""What an export format must offer to be imported: the seam that makes each format one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from msgspec import Struct

from pipeline.models import Trace


class Detection(NamedTuple):
    """How sure a mapper is that a sample is its format: 0.0 (not at all) to 1.0, and why, for people."""

    confidence: float
    reason: str


class Piece(Struct, frozen=True):
    """What a record is that holds only a part of a trace: a span, a score, the trace's own row."""

    trace_id: str
    """Records that share it belong together, however they are scattered over lines, files and days."""
    id: str | None = None
    """Of several with one id in a trace the newest counts; None: it has none, and each counts."""
    revision: str = ""
    """Sortable (updatedAt, or the end, as ISO UTC): tells which is newer; of equal ones the later in the input is."""
    started_at: str | None = None
    """ISO UTC; `assemble` gets the pieces in this order."""
    ended_at: str | None = None
    """ISO UTC."""


def _never(_record: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Mapper:
    """One export format.

    `detect` sees the decoded values of the first records of one file (objects mostly, but any JSON value).
    `family` is the default prefix of custom ids. All functions raise RejectedError for a record that cannot be
    mapped, naming the field and the way out.

    `map_trace` turns one record into a trace; None: this is none (a metric, totals of a session), and is ignored.

    Where a line or document holds several records (a page of an API, an OTLP request), `split` yields each with its
    place ("span 3") as a value that could stand alone in a file of this format; no pieces: nothing in it is a trace.

    Where a trace lies scattered over several records, `piece_of` says what a record is part of; None: it is whole,
    and goes to `map_trace`. One that `is_whole` is a trace by itself as long as the sources hold no other pieces:
    `map_trace` takes it then. `assemble` gets all records of one trace, in order of start, each id once, and can go
    through them once only; None: they are no trace. `merge` makes one record of an older and a newer state of it,
    for exports that write what changed; without it the newer one replaces the older.
    """

    name: str
    family: str
    detect: Callable[[Sequence[Any]], Detection]
    map_trace: Callable[[Any], Trace | None]
    split: Callable[[Any], Iterable[tuple[str, Any]]] | None = None
    piece_of: Callable[[Any], Piece | None] | None = None
    is_whole: Callable[[Any], bool] = _never
    assemble: Callable[[Iterable[Any]], Trace | None] | None = None
    merge: Callable[[Any, Any], Any] | None = None
