"""An import that is killed, stopped and disturbed at random for as long as one asks: `make soak MINUTES=20`.

Conversations grow, the emulator resets, delays, throttles, closes sessions and is itself killed and restarted. In the
end come a calm run, the one function that checks the promises, `verify`, and the balance of sessions, turns and spans.
Exit code 1 and everything left in place where a promise was broken; `--seed` plays the same choices again (processes
are not, to the millisecond).

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
from typing import Any, NamedTuple

from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Importer, end, write_jsonl
from tests.end_to_end.test_turns import chat, dialogue, talk
from tests.invariants import (
    PAYLOAD,
    check_invariants,
    check_no_turn_is_doubled,
    check_nobody_can_read_the_key,
    check_nothing_is_doubled,
)

MOST_RECORDS = 20_000
MOST_TURNS = 50
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


BATCHES_BREAK: tuple[Any, ...] = (
    {"keep_first": 1},
    {"keep_first": 2, "status": 500, "after_commit": True},
)
ROUTES = (
    *("POST /sessions", "* /sessions", "PATCH /sessions/*", "GET /sessions/*"),
    *("POST /inferenceResults", "* /inferenceResults*", "POST /traces/batch", "* /traces*"),
)
POLICIES = ("REJECT", "IGNORE", "REOPEN_AND_REEVALUATE")
SPANS = 3
Rows = list[dict[str, Any]]


class Held(NamedTuple):
    """What a session must hold in the end."""

    answers: list[str]
    spans: int


class Talks:
    """Conversations that go on from file to file, each turn with two steps; and dialogues that come whole."""

    session_per = "conversation"

    def __init__(self) -> None:
        self.records = 0
        self._turns: dict[int, int] = {}
        self._chats: dict[int, int] = {}

    def more(self, chance: random.Random) -> list[Rows]:
        """For new files: conversations, new turns of old ones, dialogues."""
        old = chance.sample(sorted(self._turns), min(len(self._turns), chance.randrange(60)))
        new = range(len(self._turns), len(self._turns) + chance.randrange(20, 200))
        rows = []
        for number in [*old, *new]:
            first = self._turns.get(number, 0)
            self._turns[number] = first + chance.choice([1, 1, 2, 4])
            rows += [talk(number, turn) for turn in range(first, min(self._turns[number], MOST_TURNS))]
            self._turns[number] = min(self._turns[number], MOST_TURNS)
        chance.shuffle(rows)
        chats = []
        for number in range(len(self._chats), len(self._chats) + chance.randrange(10)):
            self._chats[number] = chance.choice([1, 30, 120])
            chats.append(chat(number, self._chats[number]))
        self.records += len(rows) + len(chats)
        return [rows, chats] if chats else [rows]

    def rest(self) -> list[Rows]:
        """What must still come: nothing."""
        return []

    def expected(self) -> dict[str, Held]:
        """By custom id."""
        talks = {
            f"langfuse:talk-{number}": Held([answer for _, answer in dialogue(number, turns)], 2 * turns)
            for number, turns in self._turns.items()
        }
        chats = {
            f"chat:chat-{number}": Held([answer for _, answer in dialogue(number, turns)], 0)
            for number, turns in self._chats.items()
        }
        return talks | chats


class Scattered:
    """Spans in any order; the last one of each trace comes in the file after the others."""

    session_per = "trace"

    def __init__(self) -> None:
        self.records = 0
        self._traces = 0
        self._late: list[dict[str, Any]] = []

    def more(self, chance: random.Random) -> list[Rows]:
        """Of traces nobody has seen, and what was still to come of others."""
        traces = range(self._traces, self._traces + chance.randrange(50, 600))
        self._traces = traces.stop
        rows = self._late + [span(trace, number) for trace in traces for number in range(SPANS - 1)]
        self._late = [span(trace, SPANS - 1) for trace in traces]
        chance.shuffle(rows)
        self.records += len(rows)
        return [rows]

    def rest(self) -> list[Rows]:
        """The last spans of the last traces."""
        rows, self._late = self._late, []
        self.records += len(rows)
        return [rows]

    def expected(self) -> dict[str, Held]:
        """By custom id."""
        return {f"langfuse:trace-{trace}": Held([f"Parcel {trace} {PAYLOAD}."], SPANS) for trace in range(self._traces)}


def span(trace: int, number: int) -> dict[str, Any]:
    """A row of Langfuse's observations_v2."""
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

    def __init__(self, home: Path, chance: random.Random, emulator: RunningEmulator, traces: Talks | Scattered) -> None:
        self.traces = traces
        self.files = 0
        self.chance = chance
        self.emulator = emulator
        self.importer = Importer(home, emulator.url, extent="full")
        self.sources = home / "in"
        self.rounds = 0
        self.happened: Counter[str] = Counter()
        self.last_code = 0
        self.config = home / "soak.yaml"
        self.config.write_text(
            f"source: {{paths: ['{self.sources}'], session_per: {traces.session_per}}}\n"
            "target: {version_id: ver_123}\n"
            "upload: {timeout_seconds: 2, lookup_seconds: 10, max_pause_seconds: 5}\nkeep_runs: 5\n"
        )

    def play(self, seconds: float) -> None:
        """Rounds until the time is over, then the calm and the balance. AssertionError: a promise was broken."""
        ends_at = time.monotonic() + seconds
        self.write(self.traces.more(self.chance))
        while time.monotonic() < ends_at:
            self.rounds += 1
            if self.traces.records < MOST_RECORDS and self.chance.random() < 0.4:
                self.write(self.traces.more(self.chance))
            self.disturb()
            self.round()
            self.check_if_it_ended()
            if self.rounds % CHECK_EVERY == 0:
                self.check_doubles()
                print(f"round {self.rounds}: {self.traces.records} records, {dict(self.happened)}", flush=True)
        self.calm_down()

    def write(self, files: list[Rows]) -> None:
        """As so many more files of the sources."""
        for rows in files:
            write_jsonl(self.sources / f"{self.files:06}.jsonl", rows)
            self.files += 1

    def check_doubles(self) -> None:
        """At any time, also while something is half done."""
        sessions = self.emulator.sessions(with_turns=True)
        check_nothing_is_doubled(sessions)
        for session in sessions:
            check_no_turn_is_doubled(session)

    def disturb(self) -> None:
        """Another fault script, limit and latency; and another way to meet a turn of a session that has closed."""
        rules: list[dict[str, Any]] = [
            {"match": self.chance.choice(ROUTES), "do": do, "when": self.draw_when()}
            for do in self.chance.sample(FAULTS, self.chance.randrange(8))
        ]
        rules += [
            {"match": "POST /inferenceResults/batch", "do": do, "when": self.draw_when()}
            for do in self.chance.sample(BATCHES_BREAK, self.chance.randrange(3))
        ]
        self.emulator.set_faults(rules)
        self.emulator.set_product(
            "prod_123",
            closedSessionInferenceCreationPolicy=self.chance.choice(POLICIES),
            autoCloseInactivityMinutes=self.chance.choice([1, 30]),
        )
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
        self.write(self.traces.rest())
        self.emulator.set_faults([])
        self.emulator.set_limit(None)
        self.emulator.set_latency(0)
        for _ in range(CALM_RUNS):  # what was in doubt at the end of one run is settled by the next
            done = self.importer.run(options=[str(self.config)])
            if done.code == 0:
                break
        assert done.code == 0, (done.code, done.out, done.err)
        summary = check_invariants(self.emulator, self.importer.last)
        check_nobody_can_read_the_key(self.importer.state)
        self.check_doubles()
        print(f"{self.rounds} rounds: {dict(self.happened)}")
        print(f"last run: {summary['outcomes']}, balanced: {summary['balanced']}")
        verified = self.importer.run(options=[str(self.config), "--all"], verb="verify")
        print(verified.out, end="")
        stored = [session for session in self.emulator.sessions(with_turns=True) if session["deletedAt"] is None]
        held = {session["customId"]: held_by(session) for session in stored}
        turns, spans = (sum(counts) for counts in zip(*((len(a), n) for a, n in held.values()), strict=True))
        print(
            f"final balance: {self.traces.records} records, {len(held)} sessions, {len(stored)} copies, {turns} turns, "
            f"{spans} spans",
            flush=True,
        )
        expected = self.traces.expected()
        others = {custom_id for custom_id in held.keys() | expected if held.get(custom_id) != expected.get(custom_id)}
        assert not others, [(custom_id, held.get(custom_id), expected.get(custom_id)) for custom_id in sorted(others)]
        assert len(stored) == len(held)
        assert verified.code == 0, verified.out + verified.err


def held_by(session: dict[str, Any]) -> Held:
    """What the server has of it."""
    turns = [turn for turn in session["turns"] if turn["deletedAt"] is None]
    spans = [span for turn in turns for span in turn["spans"] if span["deletedAt"] is None]
    return Held([turn["actualOutput"] for turn in turns], len(spans))


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
            traces = Scattered() if given.scattered else Talks()
            soak = Soak(home, random.Random(given.seed), emulator, traces)
            soak.play(given.minutes * 60)
        except AssertionError as broken:
            print(f"BROKEN with seed {given.seed}: {broken}\nEverything is left in {home}", flush=True)
            return 1
    shutil.rmtree(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
