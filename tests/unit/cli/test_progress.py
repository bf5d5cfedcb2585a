"""The line that tells how far a run is."""

from __future__ import annotations

from pipeline.cli.progress import describe
from pipeline.report.snapshot import Snapshot
from pipeline.uploader.counts import Counts


def test_a_run_that_waits_for_look_ups_says_so() -> None:
    counts = Counts()
    assert "wait" not in describe(Snapshot({}, counts=counts))
    counts.looked_for = 3
    told = "3 wait for the API to show them, which may have them already (upload.lookup_seconds)"
    assert told in describe(Snapshot({}, counts=counts))
