"""Interrupted in any way: signals, kill -9, two at once. The next run goes on, and nothing is doubled."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest

from pipeline import load_config, run_import
from pipeline.emulator import RunningEmulator
from pipeline.report.snapshot import Stop
from tests.end_to_end.conftest import Importer, end, make_trace, many, wait_until, write_jsonl
from tests.invariants import KEY, check_invariants, posts, read_summary


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_and_the_next_run_goes_on(
    importer: Importer, emulator: RunningEmulator, number: signal.Signals, code: int
) -> None:
    source = many(importer, 300)
    process = importer.start(source, options=["--max-per-second", "100"])
    wait_until(lambda: len(posts(emulator)) > 40)
    done = end(process, number)
    assert done.code == code, done.err
    first = check_invariants(emulator, importer.last)
    assert first["outcomes"]["pending"] > 0
    assert importer.run(source).code == 0
    second = check_invariants(emulator, importer.last)
    assert second["run_id"] == first["run_id"]
    assert second["outcomes"] == {"created": 300}
    assert len(importer.runs) == 1


def test_a_killed_run_is_finished_by_the_next(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 300)
    process = importer.start(source, options=["--max-per-second", "150"])
    wait_until(lambda: len(posts(emulator)) > 60)
    assert end(process, signal.SIGKILL).code == -signal.SIGKILL
    assert not (importer.last / "manifest.jsonl").exists()
    assert importer.run(source).code == 0
    summary = check_invariants(emulator, importer.last)
    assert summary["continued"] is True
    assert summary["outcomes"] == {"created": 300}


def test_killed_again_and_again_until_it_is_done(importer: Importer, emulator: RunningEmulator) -> None:
    seed = random.randrange(10_000)
    print("seed", seed)
    chance = random.Random(seed)
    emulator.set_faults([{"match": "POST /sessions", "when": {"every": 11}, "do": {"reset_after_commit": True}}])
    source = many(importer, 1_500)
    for _ in range(6):
        process = importer.start(source, options=["--max-per-second", "200", "--max-at-once", "16"])
        time.sleep(chance.uniform(0.4, 1.6))
        end(process, signal.SIGKILL)
    done = importer.run(source)
    assert done.code == 0, done.out + done.err
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 1_500}
    assert len(emulator.sessions()) == 1_500


def test_a_killed_run_whose_file_changed_gets_its_manifest_all_the_same(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = many(importer, 200)
    process = importer.start(source, options=["--max-per-second", "100"])
    wait_until(lambda: len(posts(emulator)) > 40)
    end(process, signal.SIGKILL)
    killed = importer.last
    many(importer, 210)
    assert importer.run(source).code == 0
    assert check_invariants(emulator, importer.last)["run_id"] != killed.name
    assert read_summary(killed)["exit_code"] == 137
    assert len(emulator.sessions()) == 210


def test_the_second_of_two_runs_says_who_holds_the_ledger(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 200)
    process = importer.start(source, options=["--max-per-second", "50"])
    wait_until(lambda: len(posts(emulator)) > 5)
    second = importer.run(source)
    assert second.code == 75
    assert f"process {process.pid}" in second.err
    assert importer.run(source, verb="plan").code == 0
    end(process, signal.SIGINT)


def test_two_ledgers_on_one_input_double_nothing(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 150)
    other = Importer(importer.home / "other", emulator.url)
    processes = [one.start(source, options=["--max-at-once", "8"]) for one in (importer, other)]
    assert [end(process).code for process in processes] == [0, 0]
    for one in (importer, other):
        check_invariants(emulator, one.last, is_only_writer=False)
    assert len(emulator.sessions()) == 150


def test_sigint_twice_ends_at_once_with_a_manifest(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": "POST /sessions", "when": {"after": 20}, "do": {"hang": True}}])
    source = many(importer, 100)
    process = importer.start(source, options=["--max-at-once", "8"])
    wait_until(lambda: len(posts(emulator)) >= 28)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    started = time.monotonic()
    done = end(process, signal.SIGINT)
    assert done.code == 130
    assert time.monotonic() - started < 5
    check_invariants(emulator, importer.last)
    emulator.set_faults([])
    assert importer.run(source).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 100}


def test_a_signal_while_conversations_are_read_blocks_nothing(importer: Importer, emulator: RunningEmulator) -> None:
    rows = [
        make_trace(number, session_id=f"talk-{number % 20}", timestamp=f"2026-08-22 08:00:00.{999999 - number:06d}")
        for number in range(60_000)
    ]
    source = write_jsonl(importer.home / "a.jsonl", rows)
    process = importer.start(source, options=["--session-per", "conversation"])
    wait_until(lambda: (importer.state / "runs").exists() and bool(list(importer.state.glob("runs/*/*.scratch"))))
    time.sleep(1)
    assert end(process, signal.SIGTERM).code == 143
    check_invariants(emulator, importer.last)
    done = importer.run(source, options=["--session-per", "conversation"])
    assert done.code == 0, done.out + done.err
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 20}


def test_a_stop_from_python_without_a_signal_is_not_success(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 500)
    overrides = {
        "source.paths": [str(source)],
        "target.version_id": "ver_123",
        "target.base_url": emulator.url,
        "state_dir": importer.state,
        "upload.max_per_second": 100,
    }
    stop = Stop()
    threading.Timer(1.5, stop.request).start()
    result = run_import(load_config(overrides=overrides, environ={"GALTEA_API_KEY": KEY}), stop=stop)
    assert result.exit_code == 75
    check_invariants(emulator, result.folder)
