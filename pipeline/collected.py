"""A batch while it fills: what the ledger is handed in one go, and what was charged so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.ledger.parts import Places
from pipeline.ledger.sessions import Batch, Progress
from pipeline.models import Part, Reject, SessionImport

BATCH_SESSIONS = 400
BATCH_BYTES = 4_000_000
BATCH_SCATTERED = 20_000


@dataclass(slots=True)
class Count:
    """Records of one source, of all batches together."""

    read: int = 0
    """Also those that wait for others of their trace or conversation."""
    charged: int = 0
    """Those that a session, a reject or a reason stands for."""
    repaired: int = 0


@dataclass(slots=True)
class Collected:
    """What is taken in is charged by whoever knows of how many records it was made."""

    finished: dict[str, str] = field(default_factory=dict)
    """Sources that were read to their end, with the fingerprint that they had then."""
    waiting: int = 0
    """Records of this batch that were kept for later."""
    _sessions: list[SessionImport] = field(default_factory=list)
    _rejects: list[Reject] = field(default_factory=list)
    _ignored: list[tuple[Part, str]] = field(default_factory=list)
    _left_out: list[Sequence[Part]] = field(default_factory=list)
    _parts: list[tuple[bytes, Mapping[str, Places]]] = field(default_factory=list)
    _part_files: list[tuple[str, str, str, bool]] = field(default_factory=list)
    _touched: set[str] = field(default_factory=set)
    _units: int = 0
    _size: int = 0
    _counts: dict[str, Count] = field(default_factory=dict)

    def count_of(self, source: str) -> Count:
        """The count of a source, which is told again with this batch."""
        self._touched.add(source)
        return self._counts.setdefault(source, Count())

    def charge(self, parts: Sequence[Part], *, repaired: bool = False) -> None:
        """These are through; `repaired`: one of them was."""
        for source, records in Counter([part.source for part in parts]).items():
            self.count_of(source).charged += records
        if repaired:
            self.charge_repair(parts)

    def charge_repair(self, parts: Sequence[Part]) -> None:
        """One of these was repaired; of several, nobody knows any more which one."""
        if parts:
            self.count_of(parts[0].source).repaired += 1

    def add(self, session: SessionImport) -> None:
        self._sessions.append(session)
        self._units += 1
        self._size += session.size

    def reject(self, reject: Reject) -> None:
        self._rejects.append(reject)
        self._units += 1
        self._size += len(reject.part.raw) + 500

    def ignore(self, parts: Sequence[Part], reason: str) -> None:
        self._ignored += [(part, reason) for part in parts]
        self._units += len(parts)

    def leave_out(self, parts: Sequence[Part]) -> None:
        """The limit leaves the session of these records to another run."""
        if parts:
            self._left_out.append(parts)
            self._units += 1

    def note_parts(self, key: bytes, places: Mapping[str, Places]) -> None:
        """For the index: where the pieces of a trace lie, or the traces of a conversation."""
        self._parts.append((key, places))
        self._units += 1

    def note_part_file(self, source: str, fingerprint: str, format: str, *, is_scattered: bool) -> None:
        """For the index: that this source holds some."""
        self._part_files.append((source, fingerprint, format, is_scattered))

    @property
    def is_full(self) -> bool:
        return self._units >= BATCH_SESSIONS or self._size >= BATCH_BYTES or self.waiting >= BATCH_SCATTERED

    def take(self, *, is_limited: bool = False) -> Batch:
        """What there is as a batch; the next one begins."""
        counts = self._counts
        batch = Batch(
            self._sessions,
            self._rejects,
            self._ignored,
            {source: Progress(counts[source].charged, counts[source].repaired) for source in self._touched},
            self.finished,
            self._parts,
            self._part_files,
            {source: count.read for source, count in counts.items()},
            self._left_out,
            is_limited,
        )
        self._sessions, self._rejects, self._ignored, self._left_out, self.finished = [], [], [], [], {}
        self._parts, self._part_files, self._touched = [], [], set()
        self._size = self._units = self.waiting = 0
        return batch
