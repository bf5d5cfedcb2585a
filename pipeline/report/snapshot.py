"""How far a run is, for whoever watches it; and the wish to stop it, from whoever has that."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.ledger.sessions import Batch
from pipeline.uploader.counts import Counts


class PaceView(Protocol):
    """What a watcher may know of the pace."""

    @property
    def in_flight(self) -> int: ...

    @property
    def per_second(self) -> float: ...

    @property
    def is_waiting(self) -> bool: ...


@dataclass(slots=True)
class Stop:
    """Set from a signal handler or another thread; the run looks at it."""

    times: int = 0
    signal_number: int | None = None

    def request(self, signal_number: int | None = None) -> None:
        """Ask once to stop when what is on the wire has come back, twice to stop at once."""
        self.times += 1
        self.signal_number = signal_number


@dataclass(slots=True)
class Snapshot:
    """The state of a run, read at any time from another thread; approximate, and good enough to look at."""

    sizes: dict[str, int]
    """Bytes of each source."""
    bytes_of_finished: int = 0
    records_read: dict[str, int] = field(default_factory=dict)
    rejects: int = 0
    to_send: int = 0
    """Sessions read so far that are to be sent."""
    counts: Counts = field(default_factory=Counts)
    pace: PaceView | None = None
    started_at: float = field(default_factory=time.monotonic)

    def note(self, batch: Batch, to_send: int) -> None:
        """A batch was read; so many of its sessions are to be sent."""
        self.to_send += to_send
        self.rejects += len(batch.rejects)
        self.records_read |= batch.read
        self.bytes_of_finished += sum(self.sizes.get(source, 0) for source in batch.finished)

    @property
    def share_read(self) -> float:
        """How much of the input has been read, by the sizes of the files: 0.0 to 1.0."""
        total = sum(self.sizes.values())
        return self.bytes_of_finished / total if total else 1.0
