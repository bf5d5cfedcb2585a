"""How far the import is: a live line on a terminal, plain lines now and then elsewhere. All on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click

from pipeline.report.snapshot import Snapshot

PLAIN_EVERY_SECONDS = 10.0
SHARE_THAT_TELLS, SETTLED_THAT_TELL = 0.02, 20
"""Of the input and of the sessions: before, nobody can say how long it will take."""


@contextlib.contextmanager
def watching(*, quiet: bool) -> Iterator[Callable[[Snapshot], None]]:
    """What to call with a snapshot every now and then."""
    if quiet or not sys.stderr.isatty():
        last = time.monotonic()

        def say(snapshot: Snapshot) -> None:
            nonlocal last
            if time.monotonic() - last >= PLAIN_EVERY_SECONDS:
                last = time.monotonic()
                click.echo(describe(snapshot), err=True)

        yield say
        return
    from rich.console import Console  # noqa: PLC0415  (only for a terminal)
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with Live(Text("starting"), console=Console(stderr=True), refresh_per_second=5, transient=True) as live:
        yield lambda snapshot: live.update(Text(describe(snapshot)))


def describe(snapshot: Snapshot) -> str:
    """One line: what is settled, how fast, what is under way, how long it may take."""
    counts = snapshot.counts
    settled = sum(counts.outcomes.values())
    seconds = max(time.monotonic() - snapshot.started_at, 0.001)
    parts = [
        f"{sum(snapshot.records_read.values()):,} records read",
        f"{settled:,} sessions settled ({settled / seconds:,.1f}/s)",
    ]
    if snapshot.pace is not None:
        parts.append(f"{snapshot.pace.in_flight} in flight")
    if counts.retries:
        parts.append(f"{counts.retries:,} retries")
    if counts.throttled:
        parts.append(f"{counts.throttled:,} times told to wait")
    if snapshot.rejects:
        parts.append(f"{snapshot.rejects:,} rejects")
    if snapshot.pace is not None and snapshot.pace.is_waiting:
        parts.append("waiting for the API")
    if counts.in_doubt:
        parts.append(f"{counts.in_doubt:,} wait for what was sent before, and may still show (upload.lookup_seconds)")
    if counts.looked_for:
        parts.append(
            f"{counts.looked_for:,} wait for the API to show them, which may have them already (upload.lookup_seconds)"
        )
    left = snapshot.to_send / snapshot.share_read - settled if snapshot.share_read > SHARE_THAT_TELLS else 0
    if left > 0 and settled >= SETTLED_THAT_TELL:
        parts.append(f"about {_duration(left * seconds / settled)} left")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
