"""Every fault of the process and of its machine: killed at each step, stopped, starved, disk and descriptors gone.

Which fault is tested where: the table in the docstring of this package. Real processes, real signals. By default
a few seeds and small inputs; `FAULT_SEEDS=200` plays more, `KILLED_RECORDS=20000` is the large version of the
import that is killed every two seconds.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Importer, end, make_trace, many, wait_until, write_jsonl
from tests.invariants import (
    Rate,
    check_invariants,
    check_nobody_can_read_the_key,
    check_nothing_is_doubled,
    posts,
    read_manifest,
    read_summary,
)

POST = "POST /sessions"
KILLED_AT = Path(__file__).with_name("killed_at.py")
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("FAULT_SEEDS", "2")))
KILLED_RECORDS = int(os.environ.get("KILLED_RECORDS", "600"))

STEPS: dict[str, tuple[str, str, int]] = {
    "before the run is in the ledger": ("call", "RunLedger.begin", 1),
    "while records are admitted": ("call", "SessionLedger._entry_row", 20),
    "admitted, before the intent": ("call", "Sending.intend", 1),
    "after the intent, before the first byte": ("return", "Sending.intend", 1),
    "while requests leave": ("call", "PyreqwestTransport.send", 15),
    "after an answer": ("call", "Journey.ended", 10),
    "before outcomes are written": ("call", "Sending.settle", 1),
    "in the middle of a commit": ("return", "Sending._settle_alike", 1),
    "after a commit": ("return", "Sending.settle", 1),
    "before a file is done": ("call", "RunLedger.mark_done", 1),
    "after a file is done": ("return", "RunLedger.mark_done", 1),
    "before the export": ("call", "write_manifest", 1),
    "in the middle of the export": ("call", "whole_file", 2),
    "after the manifest, before the rejects": ("call", "write_rejects", 1),
    "before the summary": ("call", "write_summary", 1),
    "after the summary, before the ledger knows": ("call", "RunLedger.finish", 1),
}


def killed_at(importer: Importer, source: Path, step: tuple[str, str, int]) -> int:
    event, function, nth = step
    command = importer.command("run", source)
    command[1:3] = [str(KILLED_AT), event, function, str(nth)]
    return importer.execute(command).code


def test_killed_at_every_step_one_after_another(importer: Importer, emulator: RunningEmulator) -> None:
    """One state directory; each process finds a new file, so that it has every step before it."""
    sources = importer.home / "in"
    for number, (name, step) in enumerate(STEPS.items()):
        write_jsonl(sources / f"{number:02}.jsonl", [make_trace(100 * number + row) for row in range(40)])
        assert killed_at(importer, sources, step) == -signal.SIGKILL, name
        check_nothing_is_doubled(emulator.sessions())
        check_nobody_can_read_the_key(importer.state)
    done = importer.run(sources)
    assert done.code == 0, done.out + done.err
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 40 * len(STEPS)}
    assert len(emulator.sessions()) == 40 * len(STEPS)


def test_a_kill_at_any_place_of_the_export_leaves_the_last_manifest_whole(
    importer: Importer, emulator: RunningEmulator
) -> None:
    """With a folder of the user's, where the results of the night before stand."""
    importer.options = ["--output-dir", str(importer.home / "out")]
    out = importer.home / "out"
    source = many(importer, 20)
    assert importer.run(source).code == 0
    before = check_invariants(emulator, out)
    for count, step in enumerate(["before the export", "in the middle of the export"], 21):
        many(importer, count)
        assert killed_at(importer, source, STEPS[step]) == -signal.SIGKILL
        assert read_summary(out) == before
        assert len(read_manifest(out)) == 20
    assert importer.run(source).code == 0
    assert check_invariants(emulator, out)["outcomes"] in ({"created": 2, "skipped": 20}, {"created": 1, "skipped": 21})


def a_script(chance: random.Random) -> list[dict[str, Any]]:
    """Resets, delays and errors, for about one request in ten."""
    faults: list[Any] = [
        "reset_before",
        "reset_after_commit",
        {"delay_ms": 300},
        {"commit_after_ms": 300},
        {"reset_after_commit": True, "visible_after_ms": 700},
        {"status": 500, "after_commit": True},
        {"status": 503},
        "truncate",
    ]
    return [
        {"match": POST, "when": {"probability": chance.uniform(0, 0.05)}, "do": fault}
        for fault in chance.sample(faults, 4)
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_random_under_faults(importer: Importer, emulator: RunningEmulator, seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    source = many(importer, 300)
    for _ in range(chance.choice([2, 4])):
        emulator.set_faults(a_script(chance))
        emulator.set_limit(chance.choice([None, 200]))
        process = importer.start(source, options=["--max-at-once", str(chance.choice([2, 16, 64]))])
        target = len(posts(emulator)) + chance.randrange(100)
        with contextlib.suppress(AssertionError):  # it may be done before
            wait_until(lambda: len(posts(emulator)) >= target or process.poll() is not None, 20)  # noqa: B023
        end(process, chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        check_nothing_is_doubled(emulator.sessions())
    emulator.set_faults([])
    emulator.set_limit(None)
    done = importer.run(source)
    assert done.code == 0, done.out + done.err
    check_invariants(emulator, importer.last)
    assert len(emulator.sessions()) == 300


@pytest.mark.parametrize("extent", ["session", "full"])
def test_killed_every_two_seconds_until_it_is_done(tmp_path: Path, extent: str) -> None:
    """The emulator resets, delays and throttles all the while: nothing is lost, nothing doubled, all is listed."""
    seed = random.randrange(10_000)
    print("seed", seed)
    rate = {"session": 100, "full": 400}[extent]
    with running_emulator(max_per_second=rate, faults=a_script(random.Random(seed)), seed=seed) as emulator:
        importer = Importer(tmp_path, emulator.url, extent=extent)
        source = many(importer, KILLED_RECORDS)
        settings = tmp_path / "trace-import.yaml"
        settings.write_text("upload: {max_at_once: 32, lookup_seconds: 5, timeout_seconds: 5}")
        began = time.monotonic()
        assert importer.run(source, verb="plan", options=[str(settings)]).code == 0
        seconds = max(2.0, 1.5 * (time.monotonic() - began))  # or on a busy machine no run comes to its first request
        kills = 0
        code = None
        while code is None:
            process = importer.start(source, options=[str(settings)])
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                kills += 1
                assert kills < 20 + KILLED_RECORDS / 20, "it does not get on"
                process.kill()
            end(process)
        print(kills, "kills")
        assert code == 0
        assert kills > 0
        # A kill may come between the end of a run and its exit; then the next one has nothing to do.
        folder = next(folder for folder in reversed(importer.runs) if read_summary(folder)["sessions"])
        summary = check_invariants(emulator, folder)
        assert summary["sessions"] == KILLED_RECORDS
        assert set(summary["outcomes"]) <= {"created", "skipped"}
        assert len(emulator.sessions()) == KILLED_RECORDS


# --- signals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_long_pause(importer: Importer, emulator: RunningEmulator, number: signal.Signals) -> None:
    do = {"status": 429, "headers": {"Retry-After": "250"}}
    emulator.set_faults([{"match": POST, "when": {"after": 20}, "do": do}])
    source = many(importer, 60)
    process = importer.start(source, options=["--max-at-once", "4"])
    wait_until(lambda: len(posts(emulator)) > 20)
    time.sleep(0.5)
    started = time.monotonic()
    assert end(process, number).code == 128 + number
    assert time.monotonic() - started < 20
    assert set(check_invariants(emulator, importer.last)["outcomes"]) == {"created", "pending"}


def test_a_signal_ends_the_wait_for_a_server_that_is_gone(tmp_path: Path) -> None:
    with running_emulator(data=tmp_path / "emulator.sqlite") as emulator:
        importer = Importer(tmp_path, emulator.url)
        source = many(importer, 300)
        process = importer.start(source, options=["--max-per-second", "100"])
        wait_until(lambda: len(posts(emulator)) > 30)
        emulator.kill()
        time.sleep(2)
        started = time.monotonic()
        assert end(process, signal.SIGTERM).code == 143
        assert time.monotonic() - started < 20
        emulator.start()
        check_invariants(emulator, importer.last)
        assert importer.run(source).code == 0
        assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 300}


def test_a_process_that_stands_still_for_seconds_goes_on_and_makes_up_for_nothing(
    importer: Importer, emulator: RunningEmulator
) -> None:
    """SIGSTOP stalls the loop and all threads: afterwards there is no burst, and nothing is doubled."""
    source = many(importer, 250)
    process = importer.start(source, options=["--max-per-second", "50"])
    wait_until(lambda: len(posts(emulator)) > 50)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    process.send_signal(signal.SIGCONT)
    assert end(process).code == 0
    assert check_invariants(emulator, importer.last, rate=Rate(50, burst=15))["outcomes"] == {"created": 250}


def test_nobody_reads_the_key_in_the_process_list(importer: Importer, emulator: RunningEmulator) -> None:
    process = importer.start(many(importer, 100), options=["--max-per-second", "50"])
    wait_until(lambda: len(posts(emulator)) > 10)
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            assert importer.env()["GALTEA_API_KEY"].encode() not in command_line.read_bytes(), command_line
    assert end(process).code == 0
    check_invariants(emulator, importer.last)


# --- the machine ------------------------------------------------------------------------------------------


def limit(process: subprocess.Popen[str], what: int, most: int) -> None:
    """The soft limit alone: the hard one stays as it is."""
    resource.prlimit(process.pid, what, (most, resource.prlimit(process.pid, what)[1]))


def limit_files_of(process: subprocess.Popen[str], size: int) -> None:
    """From now on no file of the process grows beyond `size`: what a full disk does, for one process."""
    limit(process, resource.RLIMIT_FSIZE, size)


def test_when_the_ledger_cannot_grow_nothing_unrecorded_is_sent(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 3000)
    process = importer.start(source, options=["--max-per-second", "300"])
    wait_until(lambda: len(posts(emulator)) > 100)
    limit_files_of(process, (importer.state / "ledger.sqlite-wal").stat().st_size)
    done = end(process)
    assert done.code == 75, done.out + done.err
    assert "disk" in done.out + done.err
    assert len(posts(emulator)) < 3000
    check_nothing_is_doubled(emulator.sessions())
    done = importer.run(source)
    assert done.code == 0, done.out + done.err
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 3000}
    assert len(emulator.sessions()) == 3000


@contextlib.contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A file system of its own, where this machine lets us mount one."""
    folder.mkdir()
    options = f"size={kib}k"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def test_a_disk_that_fills_up_under_the_ledger_stops_the_run_and_room_lets_it_go_on(
    importer: Importer, emulator: RunningEmulator
) -> None:
    with small_disk(importer.home / "state", 700) as disk:
        source = many(importer, 1500)
        done = importer.run(source)
        assert done.code == 75, done.out + done.err
        check_nothing_is_doubled(emulator.sessions())
        sent = len(posts(emulator))
        assert sent < 1500
        assert importer.run(source).code == 75
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        done = importer.run(source)
        assert done.code == 0, done.out + done.err
        disk.chmod(0o700)
        assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 1500}


def test_a_read_only_state_directory_sends_nothing(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 20)
    with small_disk(importer.home / "state", 5_000) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = importer.run(source)
        assert done.code == 75, done.out + done.err
        assert "Traceback" not in done.err
        assert posts(emulator) == []


def test_a_manifest_that_cannot_be_written_is_written_by_the_next_run(
    importer: Importer, emulator: RunningEmulator
) -> None:
    out = importer.home / "out"
    out.mkdir()
    (out / ".manifest.jsonl.part" / "in the way").mkdir(parents=True)
    options = ["--output-dir", str(out)]
    source = many(importer, 20)
    done = importer.run(source, options=options)
    assert done.code == 75, done.out + done.err
    assert "the ledger has them all" in done.err
    assert not (out / "manifest.jsonl").exists()
    (out / ".manifest.jsonl.part" / "in the way").rmdir()
    (out / ".manifest.jsonl.part").rmdir()
    assert importer.run(source, options=options).code == 0
    assert check_invariants(emulator, out)["outcomes"] == {"created": 20}
    assert len(posts(emulator)) == 20


def test_a_disk_that_is_full_under_the_manifest_leaves_the_last_one_whole(
    importer: Importer, emulator: RunningEmulator
) -> None:
    with small_disk(importer.home / "out", 200) as out:
        options = ["--output-dir", str(out)]
        source = many(importer, 20)
        assert importer.run(source, options=options).code == 0
        before = read_summary(out)
        many(importer, 1000)
        done = importer.run(source, options=options)
        assert done.code == 75, done.out + done.err
        assert read_summary(out) == before
        assert len(read_manifest(out)) == 20
        subprocess.run(["mount", "-o", "remount,size=100m", str(out)], check=True)
        assert importer.run(source, options=options).code == 0
        assert check_invariants(emulator, out)["sessions"] == 1000
        assert len(posts(emulator)) == 1000


def test_when_descriptors_run_out_nothing_is_lost(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 400)
    process = importer.start(source, options=["--max-per-second", "150", "--max-at-once", "32"])
    wait_until(lambda: len(posts(emulator)) > 60)
    used = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    emulator.set_faults([{"match": POST, "when": {"every": 3}, "do": "reset_after_commit"}])  # so that it must connect
    limit(process, resource.RLIMIT_NOFILE, max(used - 8, 8))
    time.sleep(2)
    emulator.set_faults([])
    with contextlib.suppress(ProcessLookupError):  # it may have ended, in order
        limit(process, resource.RLIMIT_NOFILE, 1024)
    done = end(process)
    assert done.code in (0, 4, 75), done.out + done.err
    assert "Traceback" not in done.err
    check_nothing_is_doubled(emulator.sessions())
    assert importer.run(source).code == 0
    check_invariants(emulator, importer.last)
    assert len(emulator.sessions()) == 400


def test_from_the_start_with_few_descriptors_it_says_so_or_works(importer: Importer, emulator: RunningEmulator) -> None:
    source = many(importer, 60)
    limited = f'ulimit -n 24; exec {sys.executable} -m pipeline "$@"'
    done = importer.execute(["bash", "-c", limited, "it", *importer.command("run", source)[3:]])
    assert done.code in (0, 2, 4, 75), done.out + done.err
    assert "Traceback" not in done.err
    assert importer.run(source).code == 0
    check_invariants(emulator, importer.last)
    assert len(emulator.sessions()) == 60
