"""An import that is killed, stopped and disturbed at random for as long as one asks: `make soak MINUTES=20`.

Input grows, the emulator resets, delays, throttles and is itself killed and restarted. It ends with a calm run, the
one function that checks the promises, and the final balance. Exit code 1 and everything left in place where a
promise was broken; `--seed` plays the same choices again (processes are not, to the millisecond).

With `--scattered` the input are spans, shuffled, and of every trace one comes in the file after.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Importer, end, make_trace, write_jsonl
from tests.invariants import PAYLOAD, check_invariants, check_nobody_can_read_the_key, check_nothing_is_doubled

MOST_RECORDS = 50_000
ROUND_SECONDS = 12.0
CHECK_EVERY = 10
CALM_RUNS = 3
IN_ORDER = (0, 4, 75, 130, 143)
BY_THE_SIGNAL = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)
"""Killed; or asked to stop before the first line of ours, or after the last."""
FAULTS: tuple[Any, ...] = (
    "reset_before",
    "reset_after_commit",
    {"delay_ms": 500},
    {"delay_ms": 4000},
    {"commit_after_ms": 4000},
    {"reset_after_commit": True, "visible_after_ms": 3000},
    {"status": 500},
    {"status": 500, "after_commit": True},
    {"status": 502},
    {"status": 503},
    {"status": 503, "headers": {"Retry-After": "1"}},
    {"status": 429},
    {"status": 429, "headers": {"Retry-After": "2"}},
    {"status": 403, "headers": {"content-type": "text/html"}, "body": "<html>Request blocked</html>"},
    {"status": 201, "body": ""},
    "truncate",
    "garbage",
    "wrong_length",
    "close_after",
)


SPANS = 3


def span(trace: int, number: int) -> dict[str, Any]:
    """A row of Langfuse's observations_v2; each tells one token, so that the sum tells how many came through."""
    return {
        "id": f"o-{trace}-{number}",
        "trace_id": f"trace-{trace}",
        "type": "SPAN",
        "name": f"step {number}",
        "parent_observation_id": f"o-{trace}-0" if number else "",
        "start_time": f"2026-08-22 08:00:{number:02}.000000",
        "end_time": "2026-08-22 08:01:00.000000",
        "input": f"Where is parcel {trace}?",
        "output": f"Parcel {trace} {PAYLOAD}.",
        "usage_details": {f"span_{number}": 1},
    }


class Soak:
    """One input, one state directory, one emulator, and a round after another."""

    def __init__(self, home: Path, chance: random.Random, emulator: RunningEmulator, *, is_scattered: bool) -> None:
        self.is_scattered = is_scattered
        self.late: list[dict[str, Any]] = []
        self.files = 0
        self.chance = chance
        self.emulator = emulator
        self.importer = Importer(home, emulator.url)
        self.sources = home / "in"
        self.records = 0
        self.rounds = 0
        self.happened: Counter[str] = Counter()
        self.last_code = 0
        self.config = home / "soak.yaml"
        self.config.write_text(
            f"source: {{paths: ['{self.sources}']}}\ntarget: {{version_id: ver_123}}\n"
            "upload: {timeout_seconds: 2, lookup_seconds: 30, max_pause_seconds: 5}\nkeep_runs: 5\n"
        )

    def play(self, seconds: float) -> None:
        """Rounds until the time is over, then the calm and the balance. AssertionError: a promise was broken."""
        ends_at = time.monotonic() + seconds
        self.grow()
        while time.monotonic() < ends_at:
            self.rounds += 1
            if self.records < MOST_RECORDS and self.chance.random() < 0.4:
                self.grow()
            self.disturb()
            self.round()
            self.check_if_it_ended()
            if self.rounds % CHECK_EVERY == 0:
                check_nothing_is_doubled(self.emulator.sessions())
                print(f"round {self.rounds}: {self.records} records, {dict(self.happened)}", flush=True)
        self.calm_down()

    def grow(self) -> None:
        """A new file, of some hundred traces nobody has seen."""
        count = self.chance.randrange(50, 1500)
        traces = range(self.records, self.records + count)
        if self.is_scattered:
            rows = self.late + [span(trace, number) for trace in traces for number in range(SPANS - 1)]
            self.late = [span(trace, SPANS - 1) for trace in traces]
            self.chance.shuffle(rows)
        else:
            rows = [make_trace(trace) for trace in traces]
        self.write(rows)
        self.records += count

    def write(self, rows: list[dict[str, Any]]) -> None:
        """As one more file of the sources."""
        write_jsonl(self.sources / f"{self.files:06}.jsonl", rows)
        self.files += 1

    def disturb(self) -> None:
        """Another fault script, limit and latency."""
        rules: list[dict[str, Any]] = [
            {"match": self.chance.choice(["POST /sessions", "* /sessions"]), "do": do, "when": self.draw_when()}
            for do in self.chance.sample(FAULTS, self.chance.randrange(6))
        ]
        self.emulator.set_faults(rules)
        self.emulator.set_limit(self.chance.choice([None, None, 30, 100, 400]))
        self.emulator.set_latency(self.chance.choice([0, 0, 5, 50]))

    def draw_when(self) -> dict[str, float]:
        if self.chance.random() < 0.2:  # for a while, everything
            return {"from_second": self.chance.uniform(0, 5), "for_seconds": self.chance.uniform(0, 3)}
        return {"probability": self.chance.uniform(0, 0.08)}

    def round(self) -> None:
        """One process, and what befalls it."""
        options = [str(self.config), "--max-at-once", str(self.chance.choice([2, 16, 64]))]
        command = [sys.executable, "-m", "pipeline", "run", "--state-dir", str(self.importer.state), *options]
        process = subprocess.Popen(
            command, env=self.importer.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.chance.uniform(0.1, ROUND_SECONDS))
        fate = self.chance.choice(["SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "twice", "stall", "restart", "ends"])
        if process.poll() is None:
            self.befall(process, fate)
        else:
            fate = "ended by itself"
        done = end(process)
        assert done.code in IN_ORDER + BY_THE_SIGNAL, (done.code, done.out, done.err)
        assert "Traceback" not in done.err or "KeyboardInterrupt" in done.err, done.err
        self.happened[f"{fate}: {done.code}"] += 1
        self.last_code = done.code

    def befall(self, process: subprocess.Popen[str], fate: str) -> None:
        if fate == "twice":
            process.send_signal(signal.SIGINT)
            time.sleep(self.chance.uniform(0, 1))
            process.send_signal(signal.SIGINT)
        elif fate == "stall":
            process.send_signal(signal.SIGSTOP)
            time.sleep(self.chance.uniform(1, 4))
            process.send_signal(signal.SIGCONT)
        elif fate == "restart":
            self.emulator.kill()
            time.sleep(self.chance.uniform(0, 3))
            self.emulator.start()
        elif fate != "ends":
            process.send_signal(signal.Signals[fate])
        if fate in ("stall", "restart", "ends"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ROUND_SECONDS)
            process.send_signal(signal.SIGTERM)

    def check_if_it_ended(self) -> None:
        """A run that could write its results keeps all promises, however it was disturbed."""
        done = [folder for folder in self.importer.runs if (folder / "summary.json").exists()]
        if done and self.last_code in IN_ORDER:
            check_invariants(self.emulator, done[-1])

    def calm_down(self) -> None:
        """Nothing goes wrong any more: a few runs, and everything is there, once and whole."""
        if self.late:
            self.write(self.late)
        self.emulator.set_faults([])
        self.emulator.set_limit(None)
        self.emulator.set_latency(0)
        for _ in range(CALM_RUNS):  # what was in doubt at the end of one run is settled by the next
            command = [sys.executable, "-m", "pipeline", "run", "--state-dir", str(self.importer.state)]
            done = end(
                subprocess.Popen(
                    [*command, str(self.config)],
                    env=self.importer.env(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            if done.code == 0:
                break
        assert done.code == 0, (done.code, done.out, done.err)
        summary = check_invariants(self.emulator, self.importer.last)
        check_nobody_can_read_the_key(self.importer.state)
        stored = Counter(session["customId"] for session in self.emulator.sessions())
        print(f"{self.rounds} rounds: {dict(self.happened)}")
        print(f"last run: {summary['outcomes']}, balanced: {summary['balanced']}")
        print(f"final balance: {self.records} records, {len(stored)} sessions, {sum(stored.values())} copies")
        assert stored == Counter(f"langfuse:trace-{number}" for number in range(self.records))
        if self.is_scattered:
            parts = Counter(len(session["metadata"]["tokens"]) for session in self.emulator.sessions())
            print(f"sessions by the spans that came through: {dict(parts)}")
            assert parts == {SPANS: self.records}


def main() -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--scattered", action="store_true")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="trace-import-soak-"))
    print(f"seed {given.seed}, {given.minutes:g} minutes, in {home}", flush=True)
    with running_emulator(data=home / "emulator.sqlite", seed=given.seed) as emulator:
        try:
            soak = Soak(home, random.Random(given.seed), emulator, is_scattered=given.scattered)
            soak.play(given.minutes * 60)
        except AssertionError as broken:
            print(f"BROKEN with seed {given.seed}: {broken}\nEverything is left in {home}", flush=True)
            return 1
    shutil.rmtree(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
