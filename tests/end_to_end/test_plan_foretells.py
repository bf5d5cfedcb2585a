"""`plan` right before `run` says what the run will do: outcomes, requests and exit code, night after night."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline import Config, load_config, plan_import, run_import
from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer, end, make_trace, wait_until, write_jsonl
from tests.invariants import KEY, check_invariants, posts

EXTENT = "full"
REFUSED = "langfuse:trace-7"
"""The API refuses this one for good; `plan` learns of it from the ledger, after the first time."""


class Nights:
    """Files that grow and change by chance, and the job that imports them."""

    def __init__(self, importer: Importer, emulator: RunningEmulator, seed: int, session_per: str) -> None:
        self.importer = importer
        self.emulator = emulator
        self.chance = random.Random(seed)
        self.source = importer.home / "in"
        self.session_per = session_per
        self.on_change = self.chance.choice(["auto", "auto", "update", "report"])
        self.files: dict[str, list[Any]] = {}
        emulator.set_faults([{"match": "POST /sessions", "when": {"custom_id": REFUSED}, "do": {"status": 422}}])

    def change_the_input(self) -> None:
        chance = self.chance
        for _ in range(chance.randint(1, 3)):
            rows = self.files.setdefault(chance.choice("abc"), [])
            rows += [self._row() for _ in range(chance.randint(1, 5))]
            if chance.random() < 0.3:
                rows[chance.randrange(len(rows))] = self._row()
            if chance.random() < 0.2:
                rows.append('{"id": "torn", "timest')
            if chance.random() < 0.3:  # without an id of its own
                rows.append(make_trace(0, id=None))
        for name, rows in self.files.items():
            write_jsonl(self.source / f"{name}.jsonl", rows)

    def _row(self) -> dict[str, Any]:
        number = self.chance.randrange(9)
        return make_trace(
            number,
            session_id=f"talk-{number % 3}" if number < 6 else None,
            output=self.chance.choice([None, "an answer", "another answer"]),
            updated_at=self.chance.choice([None, *(f"2026-08-2{day} 08:00:00.000000" for day in range(5))]),
        )

    def config(self) -> Config:
        overrides = {
            "source.paths": [str(self.source)],
            "source.session_per": self.session_per,
            "target.version_id": "ver_123",
            "target.base_url": self.emulator.url,
            "upload.on_change": self.on_change,
            "upload.lookup_seconds": 3,
            "upload.timeout_seconds": 5,
            "upload.retry_rejected": self.retries_rejected,
            "state_dir": self.importer.state,
        }
        return load_config(overrides=overrides, environ={"GALTEA_API_KEY": KEY})

    retries_rejected = False

    def plan_and_run(self, *, is_in_doubt: bool = False) -> None:
        self.retries_rejected = self.chance.random() < 0.15
        plan = plan_import(self.config()).summary
        before = len(self.emulator.log())
        result = run_import(self.config())
        done = check_invariants(self.emulator, result.folder)
        rows = list(result.manifest().to_dict("records"))
        refused = sum(row["outcome"] == "rejected" and row["attempts"] > 0 for row in rows)

        foretold = Counter(plan["outcomes"])
        came = Counter(done["outcomes"])
        updated = sum(row["outcome"] == "changed" and row["error_kind"] == "updated" for row in rows)
        sent = came.pop("created", 0) + updated + refused
        came = came - Counter(changed=updated, rejected=refused)
        assert foretold.pop("planned", 0) + foretold.pop("created", 0) == sent, (plan["outcomes"], done["outcomes"])
        assert foretold == came, (plan["outcomes"], done["outcomes"])
        for key in ("records_read", "records_rejected", "records_ignored", "rejected_before", "sessions", "continued"):
            assert plan[key] == done[key], key
        assert [source["state"] == "unchanged" for source in plan["sources"]] == [
            source["state"] == "unchanged" for source in done["sources"]
        ]
        requests = len(self.emulator.log()) - before
        # Who is refused, as no plan can know, is spared its turns and its end.
        assert requests == plan["requests"] or is_in_doubt or (refused and requests < plan["requests"])
        if not refused:
            assert done["exit_code"] == plan["exit_code"], (plan["outcomes"], done["outcomes"])

    def kill_a_run(self) -> None:
        """kill -9 in the middle; the next run goes on."""
        importer = self.importer
        options = ["--session-per", self.session_per, "--max-per-second", "20", "--max-at-once", "2"]
        config = importer.home / "c.yaml"
        config.write_text(
            f"source: {{paths: [{self.source}]}}\ntarget: {{version_id: ver_123}}\n"
            f"upload: {{on_change: {self.on_change}}}\n"
        )
        before = len(posts(self.emulator))
        process = importer.start(options=[str(config), *options])
        wait_until(lambda: len(posts(self.emulator)) > before + 2 or process.poll() is not None)
        end(process, signal.SIGKILL if process.poll() is None else None)


@pytest.mark.parametrize("session_per", ["trace", "conversation"])
@pytest.mark.parametrize("seed", range(8))
def test_the_run_does_what_the_plan_said(
    importer: Importer, emulator: RunningEmulator, seed: int, session_per: str
) -> None:
    nights = Nights(importer, emulator, seed, session_per)
    for _ in range(5):
        nights.change_the_input()
        nights.plan_and_run()
    nights.plan_and_run()


@pytest.mark.parametrize("session_per", ["trace", "conversation"])
@pytest.mark.parametrize("seed", range(2))
def test_a_plan_sees_the_run_that_was_killed_and_goes_on(
    importer: Importer, emulator: RunningEmulator, seed: int, session_per: str
) -> None:
    nights = Nights(importer, emulator, seed, session_per)
    nights.change_the_input()
    nights.plan_and_run()
    write_jsonl(nights.source / "d.jsonl", [make_trace(number) for number in range(100, 115)])
    nights.kill_a_run()
    folders = importer.runs
    nights.plan_and_run(is_in_doubt=True)
    assert importer.runs == folders


def _config(importer: Importer, emulator: RunningEmulator, source: Path) -> Config:
    overrides = {
        "source.paths": [str(source)],
        "target.version_id": "ver_123",
        "target.base_url": emulator.url,
        "state_dir": importer.state,
    }
    return load_config(overrides=overrides, environ={"GALTEA_API_KEY": KEY})


def _plan_and_run(importer: Importer, emulator: RunningEmulator, source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    config = _config(importer, emulator, source)
    return plan_import(config).summary, run_import(config).summary


def test_a_record_that_moved_to_another_file_is_no_duplicate_of_last_nights(
    importer: Importer, emulator: RunningEmulator
) -> None:
    write_jsonl(importer.home / "in" / "a.jsonl", [make_trace(1)])
    importer.run(importer.home / "in")
    write_jsonl(importer.home / "in" / "b.jsonl", [make_trace(1)])
    plan, done = _plan_and_run(importer, emulator, importer.home / "in")
    assert plan["outcomes"] == done["outcomes"] == {"skipped": 1}


def test_a_change_in_another_file_is_no_conflict_with_last_nights(
    importer: Importer, emulator: RunningEmulator
) -> None:
    write_jsonl(importer.home / "in" / "a.jsonl", [make_trace(1, updated_at=None)])
    importer.run(importer.home / "in")
    write_jsonl(importer.home / "in" / "b.jsonl", [make_trace(1, updated_at=None, output="OTHER")])
    plan, done = _plan_and_run(importer, emulator, importer.home / "in")
    assert plan["outcomes"] == done["outcomes"] == {"changed": 1}
    assert plan["exit_code"] == done["exit_code"] == 0


def test_a_newer_state_that_is_only_reported_is_no_update_in_the_plan(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = importer.home / "a.jsonl"
    write_jsonl(source, [make_trace(1)])
    importer.run(source)
    write_jsonl(source, [make_trace(1, output="OTHER", updated_at="2026-09-01 00:00:00.000000")])
    plan, done = _plan_and_run(importer, emulator, source)
    assert plan["outcomes"] == done["outcomes"] == {"changed": 1}
    assert plan["sends"] == {}


def test_with_an_emulator_of_its_own_a_plan_begins_with_an_empty_ledger_as_the_run_does(importer: Importer) -> None:
    write_jsonl(importer.home / "in" / "a.jsonl", [make_trace(1)])
    options = ["--emulator", "--json", "--state-dir", str(importer.home / "in" / "state")]
    for _ in range(2):
        plan = json.loads(importer.run(importer.home / "in", options=options, verb="plan").out)
        done = json.loads(importer.run(importer.home / "in", options=options).out)
        assert (plan["outcomes"], done["outcomes"]) == ({"planned": 1}, {"created": 1})
        assert len(plan["sources"]) == len(done["sources"]) == 1


def test_a_plan_shows_the_first_turns_and_spans_as_they_would_leave(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = write_jsonl(importer.home / "a.jsonl", [make_trace(1)])
    config = _config(importer, emulator, source)
    (sample,) = plan_import(config).samples
    run_import(config)
    (session,) = emulator.sessions(with_turns=True)
    assert sample["body"]["customId"] == session["customId"]
    assert sample["finish"] == {"stoppingReason": session["stoppingReason"]}
    assert sample["turns"][0]["actualOutput"] == session["turns"][0]["actualOutput"]
    shown = importer.run(source, verb="plan", options=["--import", "full", "--state-dir", str(importer.home / "other")])
    assert "with turn 1:" in shown.out
    assert "Where is parcel 1?" in shown.out
