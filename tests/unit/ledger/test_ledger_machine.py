"""The ledger over many nights against a dict: input that grows, processes that die anywhere, two targets.

A night begins a run or goes on with the one that was interrupted, reads in batches, intends and settles in any
order and number, and ends, stops or dies. The model knows what a server would hold. After every complete reading
the totals balance and each record is charged once; what is settled is never created again; what is not, is sent.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pipeline.ledger.admission import Policy
from pipeline.ledger.database import Database
from pipeline.ledger.runs import RunLedger, RunRow
from pipeline.ledger.sessions import Batch, Progress, SessionLedger
from pipeline.ledger.settling import Send, Settlement
from pipeline.models import Outcome, SessionImport
from pipeline.report.summary import is_balanced
from tests.unit.factories import make_session, make_trace
from tests.unit.uploader.nights import open_fast

PATHS = ("/exports/a.jsonl", "/exports/b.jsonl")
TARGETS = ("ver_1", "ver_2")
BATCH = 3
OPEN = ("pending", "failed", "unknown", "held", "conflict")


class Line(NamedTuple):
    """A record: with an id (`a`), or without one; its text; its revision."""

    id: str | None
    text: str
    revision: str | None


@lru_cache(maxsize=2_000)
def session_of(line: Line, path: str, ordinal: int) -> SessionImport:
    trace = make_trace(line.id, user_id=line.text, revision=line.revision)
    return make_session(trace, source=path, ordinal=ordinal, data={"text": line.text})


TEXTS = st.sampled_from("xyz")
LINES = st.one_of(  # a format has revisions, or it has none
    st.builds(Line, id=st.sampled_from("ab"), text=TEXTS, revision=st.sampled_from("123")),
    st.builds(Line, id=st.just("c"), text=TEXTS, revision=st.none()),
    st.builds(Line, id=st.none(), text=TEXTS, revision=st.none()),
)
FATES = st.lists(
    st.sampled_from(
        ["stored", "stored", "stored", "answer lost", "not sent", "unknown, stored", "unknown", "rejected"]
    ),
    max_size=12,
)


class Nights(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="ledger-", dir=_fast_folder()))
        self.files: dict[str, list[Line]] = {path: [] for path in PATHS}
        self.server: dict[tuple[str, str], str] = {}
        """(version, custom id) → hash of the payload that a server would hold."""
        self.in_doubt: set[tuple[str, str]] = set()
        """Where an update was stored and the ledger was not told: it will be sent again."""
        self.interrupted: dict[str, tuple[int, ...] | None] = dict.fromkeys(TARGETS)
        """By target: how long the files were when the run began that may be continued."""
        self.runs_begun = 0
        self.has_conflicts = False

    @initialize(on_change=st.sampled_from(["auto", "update", "report"]), retry_rejected=st.booleans())
    def choose_policy(self, on_change: str, retry_rejected: bool) -> None:
        self.policy = Policy(on_change, retry_rejected)  # type: ignore[arg-type]

    def teardown(self) -> None:
        try:
            if any(self.files.values()):
                self.two_calm_nights_and_nothing_is_left_to_do()
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    # --- what happens -------------------------------------------------------------------------------------

    @rule(path=st.sampled_from(PATHS), lines=st.lists(LINES, min_size=1, max_size=4))
    def the_input_grows(self, path: str, lines: list[Line]) -> None:
        self.files[path] += lines

    @rule(path=st.sampled_from(PATHS))
    @precondition(lambda self: any(self.files.values()))
    def a_record_comes_again(self, path: str) -> None:
        self.files[path].append(next(lines[0] for lines in self.files.values() if lines))

    @rule(version=st.sampled_from(TARGETS), fates=FATES, batches=st.integers(0, 6), is_killed=st.booleans())
    @precondition(lambda self: any(self.files.values()))
    def a_night_is_interrupted(self, version: str, fates: list[str], batches: int, is_killed: bool) -> None:
        with _Night(self, version) as night:
            for _ in range(batches):
                night.read_a_batch()
                night.send(fates[: len(fates) // 2], settles=False)
            night.send(fates, settles=True)
            if not is_killed:
                night.end(75)

    @rule(version=st.sampled_from(TARGETS), fates=FATES)
    @precondition(lambda self: any(self.files.values()))
    def a_night_passes(self, version: str, fates: list[str]) -> None:
        self.play(version, ["unknown, stored" if fate == "answer lost" else fate for fate in fates])

    def play(self, version: str, fates: list[str]) -> list[Send]:
        with _Night(self, version) as night:
            while night.read_a_batch():
                night.send(fates, settles=True)
            night.send([*fates, *["stored"] * 100], settles=True)
            night.check()
            self.has_conflicts |= "conflict" in night.runs.totals(night.run).outcomes
            night.end(0)
            return night.sent

    def two_calm_nights_and_nothing_is_left_to_do(self) -> None:
        for version in TARGETS:
            self.play(version, [])
            sent = self.play(version, [])
            assert not sent or self.has_conflicts  # see test_a_conflict_stays_a_conflict_on_the_next_night


class _Night:
    """One process."""

    def __init__(self, machine: Nights, version: str) -> None:
        self.machine = machine
        self.version = version

    def __enter__(self) -> _Night:
        machine = self.machine
        self.database: Database = open_fast(machine.home)
        self.runs = RunLedger(self.database)
        self.target = self.runs.target("https://api.test", f"version:{self.version}")
        self.paths = self.runs.path_ids(PATHS)
        lengths = tuple(len(lines) for lines in machine.files.values())
        done = self.runs.done_files(self.target, "m", without_rejects=machine.policy.retry_rejected)
        unchanged = [
            path
            for path, length in zip(PATHS, lengths, strict=True)
            if path in done and done[path].fingerprint == str(length)
        ]
        self.run = self._begin_or_go_on(lengths)
        finished_before = {source.path for source in self.runs.sources(self.run) if source.state == "done"}
        self.runs.add_sources(
            self.run,
            [
                (self.paths[path], str(length), None, "unchanged" if path in unchanged else "reading")
                for path, length in zip(PATHS, lengths, strict=True)
                if path not in finished_before or path not in unchanged
            ],
        )
        self.reads = [path for path in PATHS if path not in unchanged]
        self.counted = [path for path in PATHS if path not in unchanged or path in finished_before]
        self.records = [(path, number) for path in self.reads for number in range(len(machine.files[path]))]
        self.position = 0
        self.pending: list[Send] = []
        self.sent: list[Send] = []
        query = (
            "SELECT custom_id FROM session WHERE target = ? AND state IN ('created', 'existing') "
            "AND settled_run IS NOT ?"
        )
        rows = self.database.connection.execute(query, (self.target, self.run.number))
        self.settled_before = {custom_id for (custom_id,) in rows}
        self.ledger = SessionLedger(
            self.database,
            run=self.run.number,
            is_new=not self.run.is_continued,
            target=self.target,
            paths=self.paths,
            unchanged_paths=[self.paths[path] for path in unchanged],
            policy=machine.policy,
            keep_records=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.database.close()

    def _begin_or_go_on(self, lengths: tuple[int, ...]) -> RunRow:
        machine = self.machine
        interrupted = self.runs.find_interrupted(self.target, "s", "m")
        assert (interrupted is not None) == (machine.interrupted[self.version] is not None)
        if interrupted is not None and machine.interrupted[self.version] == lengths:
            return self.runs.go_on(interrupted, folder=machine.home, config_sha256="c")
        machine.runs_begun += 1
        machine.interrupted[self.version] = lengths
        return self.runs.begin(
            run_id=f"run-{machine.runs_begun}",
            folder=machine.home,
            target=self.target,
            sources_key="s",
            mapping_sha256="m",
            config_sha256="c",
            started_at="now",
        )

    def _states(self) -> dict[str, str]:
        query = "SELECT custom_id, state FROM session WHERE target = ?"
        return dict(self.database.connection.execute(query, (self.target,)).fetchall())

    def read_a_batch(self) -> bool:
        part = self.records[self.position : self.position + BATCH]
        if not part:
            return False
        self.position += len(part)
        sessions = [session_of(self.machine.files[path][number], path, number + 1) for path, number in part]
        progress = {path: Progress(number + 1, 0) for path, number in part}
        sends = self.ledger.admit(Batch(sessions, [], [], progress, {}))
        for send in sends:
            self.check_send(send)
        self.pending += sends
        return True

    def check_send(self, send: Send) -> None:
        """What an earlier run settled is not created again, and not changed against the policy."""
        if send.custom_id in self.settled_before:
            assert send.action != "create", send
            assert self.machine.policy.on_change != "report", send
        assert send.custom_id.split("#")[0] == send.session.custom_id

    def send(self, fates: list[str], *, settles: bool) -> None:
        """Intend and send the next so many; what the server does is its fate."""
        group, self.pending = self.pending[: len(fates)], self.pending[len(fates) :]
        self.ledger.sending.intend(group, self.version)
        settlements = [self._settlement(send, fate) for send, fate in zip(group, fates, strict=False)]
        if settles:
            self.ledger.sending.settle([settlement for settlement in settlements if settlement is not None])
        else:
            self.machine.in_doubt |= {(self.version, send.custom_id) for send in group}
            assert set(self._states()) >= {send.custom_id for send in group}
        self.sent += group

    def _settlement(self, send: Send, fate: str) -> Settlement | None:
        """As the uploader would settle it."""
        key = (self.version, send.custom_id)
        is_there = key in self.machine.server
        sha256 = send.session.payload_sha256

        def ended(outcome: Outcome, *, is_applied: bool = False, session_id: str | None = None) -> Settlement:
            is_in_doubt = outcome is Outcome.UNKNOWN
            return Settlement(send, outcome, is_in_doubt, is_applied, session_id, self.version, attempts=1)

        if fate in ("stored", "answer lost", "unknown, stored"):
            is_update = is_there and send.action in ("update", "replace")
            is_ours_but_other = is_there and not is_update and self.machine.server[key] != sha256
            if not is_ours_but_other:
                self.machine.server[key] = sha256
                self.machine.in_doubt.discard(key)
            if is_update and fate != "stored":
                self.machine.in_doubt.add(key)
            if fate == "answer lost":
                return None
            if fate == "unknown, stored":
                return ended(Outcome.UNKNOWN if not is_update else Outcome.FAILED)
            if is_ours_but_other:
                return ended(Outcome.CHANGED, session_id=send.custom_id)
            outcome = Outcome.CHANGED if is_update and send.action == "update" else Outcome.CREATED
            return ended(outcome, is_applied=True, session_id=send.custom_id)
        if fate == "rejected" and not is_there:
            return ended(Outcome.REJECTED)
        return ended(Outcome.UNKNOWN if fate == "unknown" else Outcome.FAILED)

    def check(self) -> None:
        """All is read, and all that was to be sent has come to an end."""
        assert self.position == len(self.records)
        assert not self.pending
        totals = self.runs.totals(self.run)
        assert is_balanced(totals), totals
        assert totals.records_read == sum(len(self.machine.files[path]) for path in self.counted)
        assert "pending" not in totals.outcomes
        number = (self.run.number,)
        execute = self.database.connection.execute
        charged = Counter(execute("SELECT path, ordinal FROM entry WHERE run = ?", number).fetchall())
        charged.update(execute("SELECT path, ordinal FROM ignored WHERE run = ?", number).fetchall())
        assert charged == Counter(
            (self.paths[path], ordinal + 1) for path in self.counted for ordinal in range(len(self.machine.files[path]))
        )
        self.check_what_the_ledger_believes()
        self.check_numbers()

    def check_what_the_ledger_believes(self) -> None:
        query = "SELECT custom_id, state, payload_sha256, trace_sha256 FROM session WHERE target = ?"
        for custom_id, state, payload, trace in self.database.connection.execute(query, (self.target,)):
            key = (self.version, custom_id)
            stored = self.machine.server.get(key)
            if state == "created":
                assert stored is not None, custom_id
                assert payload == stored or not trace or key in self.machine.in_doubt, custom_id
            if state == "rejected":
                assert stored is None, custom_id

    def check_numbers(self) -> None:
        """Identical records without id have as many custom ids as there are of them, night after night."""
        known = Counter(custom_id.split("#")[0] for custom_id in self._states())
        lines = [line for lines in self.machine.files.values() for line in lines if line.id is None]
        wanted = Counter(session_of(line, PATHS[0], 1).custom_id for line in lines)
        assert {key: known[key] for key in wanted} == wanted

    def end(self, exit_code: int) -> None:
        if exit_code == 0:
            for path in self.reads:
                length = str(len(self.machine.files[path]))
                is_open = self.database.connection.execute(
                    f"SELECT 1 FROM entry WHERE run = ? AND path = ? AND outcome IN {OPEN}",
                    (self.run.number, self.paths[path]),
                ).fetchone()
                done = self.runs.mark_done(
                    self.run, {self.paths[path]: length}, target=self.target, mapping_sha256="m", keeps_first=False
                )
                assert bool(done) == (is_open is None)
            self.machine.interrupted[self.version] = None
        self.runs.finish(self.run, exit_code=exit_code, finished_at="now", peak_rss_bytes=0)


def _fast_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


TestLedger = Nights.TestCase
TestLedger.settings = settings(
    max_examples=40,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
