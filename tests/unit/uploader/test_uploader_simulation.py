"""The whole uploader in virtual time against a misbehaving server: nothing is lost, doubled or denied.

Each seed draws how badly the server behaves, what it holds already, and when the process is killed or stopped;
the last night is calm. `check` holds the invariants of reliability.md after every night that came to an end.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import FatalError
from pipeline.ledger.runs import Totals
from pipeline.models import SessionImport
from pipeline.payload import create_body
from pipeline.report.summary import is_balanced
from tests.fake_clock import FakeClock
from tests.unit.factories import make_session, make_trace
from tests.unit.uploader.fake_server import FakeServer, Faults
from tests.unit.uploader.nights import VERSION, Nights

COUNT = 40
SEEDS_AT_ONCE = 20


def some_sessions(count: int = COUNT, first: int = 0) -> list[SessionImport]:
    numbers = range(first, first + count)
    return [make_session(make_trace(f"t{number}"), ordinal=number + 1) for number in numbers]


def draw_faults(chance: random.Random) -> Faults:
    def share(most: float) -> float:
        return chance.random() * most if chance.random() < 0.4 else 0.0

    starts = chance.uniform(0, 3)
    return Faults(
        not_sent=share(0.2),
        reset_before=share(0.2),
        reset_after=share(0.2),
        timeout_after_commit=share(0.05),
        status_500=share(0.2),
        status_500_after_commit=share(0.2),
        garbage_after_commit=share(0.1),
        refused=share(0.1),
        lookup_trouble=share(0.2),
        show_after_seconds=chance.choice([0, 0, 1, 60]),
        outage=(starts, starts + chance.choice([5, 100])) if chance.random() < 0.2 else None,
        per_second=chance.choice([5, 40]) if chance.random() < 0.2 else None,
    )


def put_something_there(server: FakeServer, sessions: list[SessionImport], chance: random.Random) -> dict[str, str]:
    """Sessions that others made before: custom id → what it is."""
    there = {}
    for session in chance.sample(sessions, 6):
        body = create_body(session, session.custom_id, version_id=VERSION, ledger_id="another ledger")
        kind = chance.choice(["same", "other", "deleted"])
        sent: dict[str, Any] = FakeServer.parsed(body)
        if kind == "other":
            sent["context"] = {"value": "something else"}
            del sent["metadata"]["trace_import"]
        server.create(sent)
        if kind == "deleted":
            server.sessions[VERSION, session.custom_id]["deletedAt"] = "2026-08-01"
        there[session.custom_id] = kind
    return there


def check(nights: Nights, server: FakeServer, totals: Totals, there: dict[str, str], *, bad_ids: set[str]) -> None:
    """I1, I3, I4 and I5, from what the server holds and what the ledger says."""
    assert not isinstance(nights.failure, FatalError), nights.failure
    assert is_balanced(totals)
    for custom_id, (outcome, session_id, sha256, kind) in nights.rows().items():
        stored = server.sessions.get((VERSION, custom_id))
        mark = (stored or {}).get("metadata", {}).get("trace_import", {})
        is_ours = mark.get("ledger") == nights.ledger_id
        story = (custom_id, outcome, kind, stored, there.get(custom_id))
        if outcome in ("created", "skipped"):
            assert stored is not None, story
            assert session_id == (None if there.get(custom_id) == "deleted" else stored["id"]), story
            assert is_ours or custom_id in there, story
            assert mark.get("sha256") == sha256 or there.get(custom_id) == "other", story
        elif outcome == "existing":
            assert not is_ours, story
            expected = {"same": None, "other": "other_payload", "deleted": "hidden_or_deleted"}
            assert kind == expected[there[custom_id]], story
        elif outcome == "rejected":
            assert custom_id in bad_ids, story
            assert not is_ours, story
        elif outcome == "failed":
            assert not is_ours, story
        else:
            assert outcome in ("pending", "unknown"), story


@pytest.mark.parametrize("first_seed", range(0, 300, SEEDS_AT_ONCE))
def test_no_session_is_lost_or_doubled(tmp_path: Path, first_seed: int) -> None:
    for seed in range(first_seed, first_seed + SEEDS_AT_ONCE):
        play_one_seed(tmp_path / str(seed), seed)


def play_one_seed(home: Path, seed: int) -> None:
    chance = random.Random(seed)
    clock = FakeClock()
    server = FakeServer(clock, random.Random(seed + 1))
    sessions = some_sessions()
    there = put_something_there(server, sessions, chance) if chance.random() < 0.5 else {}
    bad_ids = {item.custom_id for item in chance.sample(sessions, chance.choice([0, 0, 3]))} - set(there)
    nights = Nights(home, clock, server, seed, upload={"max_at_once": chance.choice([1, 4, 16])})
    settled: set[str] = set()
    for _ in range(chance.choice([0, 1, 2, 4])):
        server.faults = draw_faults(chance)
        server.faults = server.faults if server.faults.outage is None else shifted(server.faults, clock.now())
        refused = bad_ids if chance.random() < 0.7 else set()
        server.refuse = lambda body, refused=refused: 422 if body["customId"] in refused else None
        ending = {"killed_after": None, "stopped_after": None}
        ending[chance.choice(["killed_after", "stopped_after", "never"])] = chance.uniform(0, 8)
        ending.pop("never", None)
        log_begins = len(server.log)
        totals = nights.night(sessions, **ending)
        assert not settled & {seen.custom_id for seen in server.log[log_begins:] if seen.method == "POST"}
        if ending["killed_after"] is None:
            check(nights, server, totals, there, bad_ids=bad_ids)
        settled = {key for key, row in nights.rows().items() if row[0] in ("created", "existing", "skipped")}
    server.faults = Faults()
    server.refuse = lambda body: 422 if body["customId"] in bad_ids else None
    for _ in range(3):  # failed and unknown are taken up by the next run
        totals = nights.night(sessions)
        check(nights, server, totals, there, bad_ids=bad_ids)
    assert nights.failure is None
    outcomes = {custom_id: row[0] for custom_id, row in nights.rows().items()}
    assert set(outcomes.values()) <= {"skipped", "rejected"}, (seed, outcomes)
    for session in sessions:
        is_there = (VERSION, session.custom_id) in server.sessions
        assert is_there == (outcomes[session.custom_id] == "skipped"), (seed, session.custom_id)


def shifted(faults: Faults, now: float) -> Faults:
    from dataclasses import replace

    assert faults.outage is not None
    return replace(faults, outage=(faults.outage[0] + now, faults.outage[1] + now))
