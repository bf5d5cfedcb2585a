"""Nights by chance against a model in memory: pieces late, doubled, moved and packed; runs stopped, limited, disturbed.

An example is a list of steps, each with a seed of its own, so that one that fails can be cut down to a few steps.
`NIGHTS_SEEDS=500` plays that many examples instead of a few, from `NIGHTS_FROM` on.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import Config, load_config, plan_import, run_import
from pipeline.emulator import RunningEmulator, running_emulator
from pipeline.report.snapshot import Stop
from pipeline.verify import verify_import
from tests.end_to_end.conftest import Importer
from tests.end_to_end.test_scattered import chat, observation
from tests.invariants import KEY, check_invariants, read_manifest, read_rejects

TRACES, SPANS, TALKS = 8, 4, 3
CALM_RUNS = 4
REJECTS = "-rejects"
POLICIES = ("REJECT", "IGNORE", "REOPEN_AND_REEVALUATE")
INNER_ROUTES = ("POST /inferenceResults*", "POST /traces*", "PATCH /sessions/*/finish", "* /inferenceResults*")
TROUBLES: tuple[Any, ...] = (
    {"status": 500},
    {"status": 500, "after_commit": True},
    "reset_before",
    "reset_after_commit",
    {"reset_after_commit": True, "visible_after_ms": 1_000},
    {"status": 429},
    {"status": 422, "body": {"message": "no such language"}},
    {"keep_first": 1},
    "garbage",
)
Step = tuple[str, int]


def span_row(trace: int, span: int, state: int, *, rewords: bool = False) -> dict[str, Any]:
    """A state of a span; its tokens tell on the server which one came through. `rewords`: what it says does, too."""
    said = f"{trace}.{span} in state {state}" if rewords else f"{trace}.{span}"
    return observation(
        trace,
        span,
        minute=trace * 3,
        session_id=f"c-{trace % TALKS}" if trace % 4 else "",
        input=f"Where is parcel {trace}.{span}?",
        output=f"Parcel {said} is on its way.",
        usage_details={f"{trace}.{span}": state},
        updated_at=f"2026-08-22 09:{state:02}:00.000000",
    )


def chat_row(number: int, state: int, *, rewords: bool = False) -> dict[str, Any]:
    """A state of a trace that is one record; its tags tell on the server which one came through."""
    said = f"{number} in state {state}" if rewords else f"{number}"
    return chat(
        number,
        f"c-{number % TALKS}",
        tags=[f"{number}:{tag}" for tag in range(1, state + 1)],
        updated_at=f"2026-08-22 09:{state:02}:00.000000",
        output={"role": "assistant", "content": f"Parcel {said} is on its way."},
    )


class Nights:
    """Files, one state directory, two targets; and what those must hold in the end."""

    def __init__(self, home: Path, emulators: Sequence[RunningEmulator], seed: int) -> None:
        chance = random.Random(seed)
        self.home = home
        self.source = home / "in"
        self.source.mkdir()
        self.importers = [Importer(home, emulator.url, extent="full") for emulator in emulators]
        self.emulators = emulators
        self.session_per = chance.choice(["trace", "conversation"])
        self.settle_minutes = chance.choice([0, 10])
        # A late trace moves the turns of its conversation: that does not merely add, so the user must say so.
        self.on_change = "update" if self.session_per == "conversation" else chance.choice(["auto", "update"])
        self.rewords = self.on_change == "update" and chance.random() < 0.5
        self.has_chats = chance.random() < 0.5
        self.has_two_targets = chance.random() < 0.4
        self.spans: dict[tuple[int, int], int] = {}
        self.chats: dict[int, int] = {}
        self.made = 0
        self.last: Path | None = None
        self.extents = chance.choice([["full"], ["full"], ["session", "turns", "full"], ["turns", "full"]])
        """What later runs may bring: never less than an earlier one."""
        for emulator in emulators:
            emulator.set_product("prod_123", closedSessionInferenceCreationPolicy=chance.choice(POLICIES))

    def play(self, steps: Sequence[Step]) -> None:
        for name, seed in steps:
            getattr(self, name)(random.Random(seed))
        self.calm_down()

    # --- files --------------------------------------------------------------------------------------------

    def rows(self, chance: random.Random) -> list[dict[str, Any]]:
        """New pieces, newer and older states, rows said twice."""
        rows = []
        for _ in range(chance.randint(1, 8)):
            trace, span = chance.randrange(TRACES), chance.randrange(SPANS)
            newest = self.spans.get((trace, span), 0)
            state = self.new_state(newest, chance)
            self.spans[trace, span] = max(newest, state)
            rows += [span_row(trace, span, state, rewords=self.rewords)] * chance.choice([1, 1, 1, 2])
        chance.shuffle(rows)
        return rows

    def new_state(self, newest: int, chance: random.Random) -> int:
        return chance.choice([newest + 1, newest + 1, newest or 1, max(newest - 1, 1)])

    def new_file(self, chance: random.Random) -> None:
        self.write(self.new_path(chance), self.rows(chance))

    def new_chats(self, chance: random.Random) -> None:
        if not self.has_chats:
            return
        rows = []
        for _ in range(chance.randint(1, 4)):
            number = chance.randrange(20, 26)
            newest = self.chats.get(number, 0)
            state = chance.choice([newest + 1, newest or 1])
            self.chats[number] = max(newest, state)
            rows.append(chat_row(number, state, rewords=self.rewords))
        self.write(self.new_path(chance), rows)

    def grow(self, chance: random.Random) -> None:
        if plain := [path for path in self.files() if path.suffix == ".jsonl" and not is_rejects(path)]:
            self.write(chance.choice(plain), self.rows(chance), mode="ab")

    def pack(self, chance: random.Random) -> None:
        if plain := [path for path in self.files() if path.suffix == ".jsonl"]:
            path = chance.choice(plain)
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
            path.unlink()

    def rename(self, chance: random.Random) -> None:
        if files := self.files():
            path = chance.choice(files)
            path.rename(self.new_path(chance, path))

    def copy(self, chance: random.Random) -> None:
        if files := self.files():
            path = chance.choice(files)
            self.new_path(chance, path).write_bytes(path.read_bytes())

    def give_rejects_again(self, chance: random.Random) -> None:
        if self.last is not None and read_rejects(self.last):
            target = self.new_path(chance)
            target.with_name(f"{target.stem}{REJECTS}.jsonl").write_bytes((self.last / "rejects.jsonl").read_bytes())

    def files(self) -> list[Path]:
        return sorted(path for path in self.source.rglob("*") if path.is_file())

    def new_path(self, chance: random.Random, like: Path | None = None) -> Path:
        """Before, between or after the others."""
        self.made += 1
        folder = self.source / chance.choice([".", "sub"])
        folder.mkdir(exist_ok=True)
        suffix = "".join(like.suffixes) if like is not None else ".jsonl"
        mark = REJECTS if like is not None and is_rejects(like) else ""
        return folder / f"{chance.choice('amz')}{self.made}{mark}{suffix}"

    def write(self, path: Path, rows: Sequence[dict[str, Any]], mode: str = "wb") -> None:
        with path.open(mode) as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in rows)

    # --- runs ---------------------------------------------------------------------------------------------

    def run(self, chance: random.Random) -> None:
        self.run_one(self.draw_target(chance), limit=chance.choice([None, None, None, 2]))

    def run_some_files(self, chance: random.Random) -> None:
        """The user names files, and no folder. One that is not among them and grew holds nothing to be trusted."""
        if files := self.files():
            some = chance.sample(files, chance.randint(1, len(files)))
            self.run_one(self.draw_target(chance), may_lack_parts=True, source__paths=[str(path) for path in some])

    def run_as_planned(self, chance: random.Random) -> None:
        target = self.draw_target(chance)
        settings = {"upload__retry_rejected": chance.random() < 0.2, "limit": chance.choice([None, None, 2])}
        if not self.files():
            return
        plan = plan_import(self.config(target, **settings)).summary
        done, rows = self.run_one(target, **settings)
        # What was sent already, by the process that this one goes on after, is foretold as it came.
        sent_before = plan["outcomes"].get("created", 0) + plan["details"].get("changed", {}).get("updated", 0)
        foretold, came = Counter(plan["outcomes"]), Counter(done["outcomes"])
        updated = sum(row["outcome"] == "changed" and row["attempts"] > 0 for row in rows)
        to_send = sum(plan["sends"].values())
        assert sent_before + to_send == came["created"] + came["existing"] + updated, (plan, done)
        for outcome in ("skipped", "held", "duplicate", "rejected", "failed"):
            assert foretold[outcome] == came[outcome], (outcome, plan, done)
        for key in ("records_read", "records_rejected", "records_ignored", "sessions", "continued"):
            assert plan[key] == done[key], (key, plan, done)

    def run_and_stop(self, chance: random.Random) -> None:
        target = self.draw_target(chance)
        self.emulators[target].set_latency(20)
        stop = Stop()
        timer = threading.Timer(chance.uniform(0.03, 0.3), stop.request)
        timer.start()
        try:
            self.run_one(target, stop=stop, upload__max_at_once=1, limit=chance.choice([None, None, 3]))
        finally:
            timer.cancel()
            self.emulators[target].set_latency(0)

    def run_disturbed(self, chance: random.Random) -> None:
        target = self.draw_target(chance)
        refused = f"langfuse:{chance.choice('tc')}-{chance.randrange(TRACES)}"
        lucky = {"probability": 0.3}
        faults: list[dict[str, Any]] = [
            {"match": "* /sessions*", "when": {"custom_id": refused}, "do": {"status": 413}},
            {"match": "POST /sessions", "when": lucky, "do": {"status": 500}},
            {"match": "POST /sessions", "when": lucky, "do": {"status": 500, "after_commit": True}},
            {"match": "* /sessions*", "when": lucky, "do": "reset_after_commit"},
            {"match": "PATCH /sessions*", "when": lucky, "do": {"status": 413}},
            *({"match": route, "when": lucky, "do": do} for route in INNER_ROUTES for do in TROUBLES),
        ]
        self.emulators[target].set_faults(chance.sample(faults, chance.randint(1, 6)))
        try:
            self.run_one(target, upload__max_attempts=chance.choice([1, 2]))
        finally:
            self.emulators[target].set_faults([])

    def bring_more(self, chance: random.Random) -> None:
        """From now on turns, or spans, come with the sessions."""
        if len(self.extents) > 1:
            self.extents = self.extents[1:]

    def let_an_hour_pass(self, chance: random.Random) -> None:
        """What is open closes by itself."""
        for emulator in self.emulators:
            emulator.forward(3_600)

    def draw_target(self, chance: random.Random) -> int:
        return chance.randrange(2) if self.has_two_targets else 0

    def config(self, target: int, **settings: Any) -> Config:
        overrides = {
            "source.paths": [str(self.source)],
            "source.session_per": self.session_per,
            "target.version_id": "ver_123",
            "target.base_url": self.emulators[target].url,
            "assembly.settle_minutes": self.settle_minutes,
            "upload.on_change": self.on_change,
            "upload.lookup_seconds": 2,
            "import": self.extents[0],
            "state_dir": self.home / "state",
        }
        overrides |= {name.replace("__", "."): value for name, value in settings.items()}
        return load_config(overrides=overrides, environ={"GALTEA_API_KEY": KEY})

    def run_one(
        self, target: int, *, stop: Stop | None = None, may_lack_parts: bool = False, **settings: Any
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if not self.files():
            return {}, []
        result = run_import(self.config(target, **settings), stop=stop)
        self.last = result.folder
        summary = check_invariants(self.emulators[target], result.folder)
        rows = read_manifest(result.folder)
        kinds = {row["error_kind"] for row in rows}
        assert not kinds & {"reported", "mapping_changed", "other_payload"}, rows
        assert may_lack_parts or "parts_missing" not in kinds, rows
        assert not summary["records_ignored"].keys() - {"limit", "same_span_again", "superseded"}, summary
        assert "conflict" not in summary["outcomes"], rows
        return summary, rows

    # --- the end ------------------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """Nothing goes wrong any more: a few runs, and everything is there, once and whole."""
        self.extents = self.extents[-1:]
        for target in range(2 if self.has_two_targets else 1):
            for number in range(CALM_RUNS):
                self.run_one(target, upload__retry_rejected=number == 0)
            before = len(self.emulators[target].log())
            summary, rows = self.run_one(target)
            if not self.files():
                continue
            assert (summary["exit_code"], rows, summary["records_read"]) == (0, [], 0), (summary, rows)
            sent = [line["path"] for line in self.emulators[target].log()[before:] if line["method"] != "GET"]
            assert not sent, sent
            self.check_what_is_there(target)

    def check_what_is_there(self, target: int) -> None:
        expected = self.expected()
        assert self.held(target) == expected
        assert self.held_by_turns(target) == {
            custom_id: {name: state for name, state in states.items() if not name.startswith("chat")}
            for custom_id, states in expected.items()
        }
        assert self.said(target) == self.expected_to_be_said()
        report = verify_import(self.config(target), everything=True).report
        assert (report["exit_code"], report["as_the_ledger_says"]) == (0, len(expected)), report

    def held(self, target: int) -> dict[str, dict[str, int]]:
        """By custom id, what the server has; that none is there twice is an invariant."""
        sessions = self.emulators[target].sessions()
        return {session["customId"]: contents(session["metadata"]) for session in sessions}

    def held_by_turns(self, target: int) -> dict[str, dict[str, int]]:
        """By custom id, the states of the spans that hang on its turns; none is there twice."""
        held: dict[str, dict[str, int]] = {}
        for session in self.emulators[target].sessions(with_turns=True):
            turns = [turn for turn in session["turns"] if turn["deletedAt"] is None]
            tokens = [
                state
                for turn in turns
                for span in turn["spans"]
                if span["deletedAt"] is None
                for state in span["metadata"].get("tokens", {}).items()
            ]
            assert len(dict(tokens)) == len(tokens), (session["customId"], tokens)
            held[session["customId"]] = dict(tokens)
        return held

    def said(self, target: int) -> dict[str, list[str]]:
        """By custom id, what was answered, in order."""
        return {
            session["customId"]: [turn["actualOutput"] for turn in session["turns"] if turn["deletedAt"] is None]
            for session in self.emulators[target].sessions(with_turns=True)
        }

    def expected_to_be_said(self) -> dict[str, list[str]]:
        """A trace without its root says what its last span does; traces of a conversation come as they began."""
        answers: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for trace in {trace for trace, _ in self.spans}:
            spans = [span for one, span in self.spans if one == trace]
            told = 0 if 0 in spans else max(spans)
            row = span_row(trace, told, self.spans[trace, told], rewords=self.rewords)
            talk = row["session_id"] if self.session_per == "conversation" else ""
            answers[f"langfuse:{talk or f't-{trace}'}"].append((row["start_time"], row["output"]))
        for number, state in self.chats.items():
            row = chat_row(number, state, rewords=self.rewords)
            talk = f"c-{number % TALKS}" if self.session_per == "conversation" else f"trace-{number}"
            answers[f"langfuse:{talk}"].append((row["timestamp"], row["output"]["content"]))
        return {custom_id: [answer for _, answer in sorted(those)] for custom_id, those in answers.items()}

    def expected(self) -> dict[str, dict[str, int]]:
        """By custom id, the newest state of all that was ever written."""
        sessions: dict[str, dict[str, int]] = defaultdict(dict)
        for (trace, span), state in self.spans.items():
            talk = span_row(trace, span, state)["session_id"] if self.session_per == "conversation" else ""
            sessions[f"langfuse:{talk or f't-{trace}'}"][f"{trace}.{span}"] = state
        for number, state in self.chats.items():
            talk = f"c-{number % TALKS}" if self.session_per == "conversation" else f"trace-{number}"
            sessions[f"langfuse:{talk}"][f"chat {number}"] = state
        return dict(sessions)


def is_rejects(path: Path) -> bool:
    return REJECTS in path.name


def contents(metadata: dict[str, Any]) -> dict[str, int]:
    """What came through: the state of each span and of each chat."""
    tags = Counter(tag.split(":")[0] for tag in metadata.get("tags", []))
    return metadata.get("tokens", {}) | {f"chat {number}": count for number, count in tags.items()}


CHANGES = [
    *("new_file", "new_file", "new_file", "new_chats", "grow", "pack", "rename", "copy", "give_rejects_again"),
    *("bring_more", "let_an_hour_pass"),
]
RUNS = ["run", "run_some_files", "run_as_planned", "run_and_stop", "run_disturbed"]


LOSSES = ["new_file", "new_file", "grow", "pack", "lose", "lose", "find_again"]


def draw_steps(seed: int, changes: Sequence[str] = CHANGES, runs: Sequence[str] = RUNS) -> list[Step]:
    """Some nights, each with changes of the files and a run."""
    chance = random.Random(seed)
    steps: list[Step] = []
    for _ in range(chance.randint(2, 6)):
        names = chance.choices(changes, k=chance.randint(1, 3)) + chance.choices(runs, k=chance.randint(1, 2))
        steps += [(name, chance.randrange(1 << 30)) for name in names]
    return steps


class NightsWithLosses(Nights):
    """Files go, and some come back: what was read once and is not there now must be told, and nothing sent of it."""

    def __init__(self, home: Path, emulators: Sequence[RunningEmulator], seed: int) -> None:
        super().__init__(home, emulators, seed)
        self.settle_minutes = 0
        self.has_two_targets = self.has_chats = False
        self.gone: dict[Path, bytes] = {}
        self.read: dict[str, set[str]] = defaultdict(set)
        """By custom id, the spans that some run has read, and not only told that others are missing beside them."""

    def new_state(self, newest: int, chance: random.Random) -> int:
        return 1

    def lose(self, chance: random.Random) -> None:
        if files := self.files():
            path = chance.choice(files)
            self.gone[path] = path.read_bytes()
            path.unlink()

    def find_again(self, chance: random.Random) -> None:
        if self.gone:
            path = chance.choice(sorted(self.gone))
            path.write_bytes(self.gone.pop(path))

    def find_all(self) -> None:
        for path, data in self.gone.items():
            path.write_bytes(data)
        self.gone.clear()

    def run_with_losses(self, chance: random.Random) -> None:
        if not self.files():
            return
        before = self.held(0)
        result = run_import(self.config(0))
        check_invariants(self.emulators[0], result.folder)
        kinds = {row["custom_id"]: row["error_kind"] for row in read_manifest(result.folder)}
        there = self.spans_in_files()
        for custom_id, spans in there.items():
            if kinds.get(custom_id) != "parts_missing":
                self.read[custom_id] |= spans
        after = self.held(0)
        for custom_id, spans in after.items():
            assert spans == before.get(custom_id) or spans.keys() >= self.read[custom_id], custom_id
        for custom_id, spans in there.items():
            if not spans <= after.get(custom_id, {}).keys():  # something that could be sent was not
                lost = self.read[custom_id] - spans
                assert lost, custom_id
                assert kinds.get(custom_id) == "parts_missing", (custom_id, kinds)
                assert result.exit_code == 4

    def spans_in_files(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for path in self.files():
            data = path.read_bytes()
            for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines():
                row = json.loads(line)
                talk = row["session_id"] if self.session_per == "conversation" else ""
                found[f"langfuse:{talk or row['trace_id']}"] |= row["usage_details"].keys()
        return found

    def calm_down(self) -> None:
        self.find_all()
        super().calm_down()


@pytest.fixture(scope="module")
def emulators() -> Iterator[list[RunningEmulator]]:
    with running_emulator() as one, running_emulator() as other:
        yield [one, other]


@pytest.fixture
def clean(emulators: list[RunningEmulator]) -> list[RunningEmulator]:
    for emulator in emulators:
        emulator.set_faults([])
        emulator.reset()
    return emulators


FIRST = int(os.environ.get("NIGHTS_FROM", "0"))
COUNT = int(os.environ.get("NIGHTS_SEEDS", "4"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_whatever_the_nights_bring_the_server_holds_everything_once(
    tmp_path: Path, clean: list[RunningEmulator], seed: int
) -> None:
    Nights(tmp_path, clean, seed).play(draw_steps(seed))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_what_nobody_finds_any_more_is_told_and_no_fragment_is_sent(
    tmp_path: Path, clean: list[RunningEmulator], seed: int
) -> None:
    steps = draw_steps(seed, LOSSES, ["run_with_losses"])
    NightsWithLosses(tmp_path, clean, seed).play(steps)
