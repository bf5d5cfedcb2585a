"""A night has an end: `--until` and `--for` stop in time, and the next run goes on under the same id."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline import load_config, run_import
from pipeline.clock import SystemClock
from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer, make_trace, write_jsonl
from tests.invariants import KEY, check_invariants, posts, read_summary


class ShiftedClock(SystemClock):
    """A machine whose date is wrong by so much, and may jump."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def wall(self) -> datetime:
        return super().wall() + self.shift


def many(importer: Importer, count: int = 2_000) -> Path:
    return write_jsonl(importer.home / "a.jsonl", [make_trace(number) for number in range(count)])


def config(importer: Importer, source: Path, **overrides: Any) -> Any:
    least = {
        "source.paths": [str(source)],
        "target.version_id": "ver_123",
        "target.base_url": importer.base_url,
        "state_dir": importer.state,
        "import": importer.extent,
        "upload.max_per_second": 100,
    }
    return load_config(overrides={**least, **overrides}, environ={"GALTEA_API_KEY": KEY})


def test_a_run_for_so_long_ends_in_time_and_the_next_goes_on(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 600)
    started = time.monotonic()
    done = importer.run(source, options=["--max-per-second", "100", "--for", "4s"])
    seconds = time.monotonic() - started
    assert done.code == 75, done.err
    assert 3 < seconds < 7
    first = check_invariants(emulator, importer.last)
    assert first["error"] == "The time was up (for 4s); run again to go on"
    pending = first["outcomes"]["pending"]
    assert 200 < pending < 500
    assert f"The time was up (for 4s); run again to go on\n  Left open: {pending} sessions that were read" in done.out
    again = importer.run(source, options=["--for", "1h"])
    assert again.code == 0, again.out
    second = check_invariants(emulator, importer.last)
    assert (second["run_id"], second["outcomes"]) == (first["run_id"], {"created": 600})
    assert len(posts(emulator)) == 600


def test_reading_stops_too(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 100_000)
    done = importer.run(source, options=["--max-per-second", "50", "--for", "3s"])
    assert done.code == 75, done.err
    summary = check_invariants(emulator, importer.last)
    assert 0 < summary["records_read"] < 100_000
    assert "1 of 1 files not read to the end" in done.out


def test_what_does_not_come_back_is_not_waited_for_beyond_the_deadline(
    importer: Importer, emulator: RunningEmulator
) -> None:
    emulator.set_faults([{"match": "POST /sessions", "when": {"after": 20}, "do": {"hang": True}}])
    source = many(importer, 100)
    started = time.monotonic()
    done = importer.run(source, options=["--max-at-once", "8", "--for", "4s"])
    assert done.code == 75, done.err
    assert time.monotonic() - started < 8
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 20, "pending": 80}
    emulator.set_faults([])
    assert importer.run(source).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 100}


def test_until_follows_the_wall_and_for_does_not(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer)
    clock = ShiftedClock()
    to_six = (datetime.now().astimezone() + timedelta(days=1)).replace(hour=5, minute=59, second=56, microsecond=0)
    clock.shift = to_six - datetime.now().astimezone()
    started = time.monotonic()
    result = run_import(config(importer, source, **{"stop.at": "06:00"}), clock=clock)
    assert result.exit_code == 75
    assert result.summary["error"] == "The time was up (until 06:00); run again to go on"
    assert 2 < time.monotonic() - started < 7
    check_invariants(emulator, result.folder)

    def jump(snapshot: object) -> None:
        clock.shift = timedelta(days=400)

    started = time.monotonic()
    result = run_import(config(importer, source, **{"stop.after": "3s"}), clock=clock, watch=jump)
    assert result.exit_code == 75
    assert 2 < time.monotonic() - started < 6
    assert result.summary["outcomes"]["created"] > 300


def test_nothing_answers_until_the_deadline(importer: Importer) -> None:
    source = many(importer, 10)
    importer.base_url = "http://127.0.0.1:9"
    started = time.monotonic()
    done = importer.run(source, options=["--for", "2s"])
    assert done.code == 75
    assert time.monotonic() - started < 6
    assert read_summary(importer.last)["error"].startswith("The time was up")


def test_a_run_that_is_done_before_is_done(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(many(importer, 10), options=["--until", "06:00"]).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 10}


@pytest.mark.parametrize("limit", [None, 5])
def test_where_the_last_ones_come_back_after_the_time_to_send_nothing_is_left(
    importer: Importer, emulator: RunningEmulator, limit: int | None
) -> None:
    emulator.set_faults([{"match": "POST /sessions", "do": {"delay_ms": 3200}}])
    result = run_import(config(importer, many(importer, 10), limit=limit, **{"stop.after": "4s"}))
    assert (result.exit_code, result.summary["error"]) == (0, None)
    assert result.summary["outcomes"] == {"created": limit or 10}
    again = run_import(config(importer, importer.home / "a.jsonl", **{"stop.after": "1h"}))
    assert len(emulator.sessions()) == 10
    assert again.summary["run_id"] != result.summary["run_id"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--for", "soon"], "stop.after: 'soon' is no length of time; write it as 2h"),
        (["--until", "6"], "stop.at: '6' is no moment; write a time of day (06:00)"),
        (["--until", "2020-01-01T06:00"], "2020-01-01T06:00 is past"),
        (["--until", "06:00", "--for", "2h"], "give --until or --for, not both"),
    ],
)
def test_a_deadline_that_is_none_is_a_usage_error(
    importer: Importer, emulator: RunningEmulator, options: list[str], message: str
) -> None:
    done = importer.run(many(importer, 1), options=options)
    assert done.code == 2
    assert message in done.err
    assert posts(emulator) == []
    assert not (importer.state / "ledger.sqlite").exists()


def test_a_plan_has_no_deadline(importer: Importer) -> None:
    source = many(importer, 3)
    nightly = importer.home / "nightly.yaml"
    nightly.write_text(f"source: {{paths: [{source}]}}\nstop: {{at: 2020-01-01T06:00}}\n")
    assert importer.run(verb="plan", options=[str(nightly)]).code == 0
    refused = importer.run(source, verb="plan", options=["--for", "2h"])
    assert refused.code == 2
    assert "No such option" in refused.err
