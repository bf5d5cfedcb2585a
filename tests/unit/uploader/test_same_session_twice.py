"""Two states of one session in one input: the newer one wins, whatever happens to the older one on its way."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pipeline.models import SessionImport, Turn
from pipeline.uploader.transport import Answer
from pipeline.uploader.uploader import Uploader
from tests.fake_clock import FakeClock
from tests.unit.factories import make_session, make_trace
from tests.unit.uploader.fake_server import JSON
from tests.unit.uploader.nights import VERSION, Nights, open_fast
from tests.unit.uploader.test_uploader import RESET, Ruled, always, first, reply


def state(day: int, *texts: str, ordinal: int | None = None) -> SessionImport:
    turns = tuple(Turn(input=text, output=text) for text in texts)
    return make_session(make_trace("t", turns=turns, revision=f"2026-01-{day:02}"), ordinal=ordinal or day)


@pytest.fixture
def server() -> Ruled:
    return Ruled(FakeClock(), random.Random(1))


@pytest.fixture
def nights(tmp_path: Path, server: Ruled) -> Nights:
    return Nights(tmp_path, server.clock, server)


def test_an_older_update_that_is_tried_again_does_not_come_after_the_newer_one(nights: Nights, server: Ruled) -> None:
    nights.night([state(1, "a")])
    newest = state(3, "a", "b", "c")
    server.before = first(1, reply(500), method="PATCH")
    nights.night([state(2, "a", "b"), newest])
    stored = server.sessions[VERSION, "langfuse:t"]
    assert stored["metadata"]["trace_import"]["sha256"] == newest.payload_sha256


def test_a_newer_state_that_is_refused_is_no_reject_where_the_older_one_may_be_stored(
    nights: Nights, server: Ruled
) -> None:
    posts = [0]

    def before(method: str, body: dict[str, Any]) -> Any:
        if method == "GET":
            return Answer(200, JSON, b"[]")
        if len(body["context"]["turns"]) == 2:
            return reply(422, "too long")
        posts[0] += 1
        return None if posts[0] == 1 else reply(500)

    server.before = before
    server.after = lambda method, body: RESET if method == "POST" else None
    nights.upload = {"max_attempts": 3}
    assert dict(nights.night([state(1, "a"), state(2, "a", "b")]).outcomes) == {"unknown": 1}
    assert (VERSION, "langfuse:t") in server.sessions


def test_states_that_are_all_refused_are_rejects_and_nothing_is_in_doubt(nights: Nights, server: Ruled) -> None:
    server.before = always(reply(422, "no"))
    states_of_it = [state(1, "a"), state(2, "a", "b"), state(3, "a", "b", "c")]
    assert dict(nights.night(states_of_it).outcomes) == {"rejected": 1}
    assert server.clock.now() < 30


def test_what_may_be_in_flight_stays_so_although_the_newer_state_did_not_leave(nights: Nights, server: Ruled) -> None:
    server.latency_seconds = 4

    async def stop(uploader: Uploader, clock: FakeClock) -> None:
        await clock.sleep(3)
        uploader.stop(at_once=True)

    nights.upload = {"max_at_once": 1}
    others = [make_session(make_trace(f"f{number}"), ordinal=10 + number) for number in range(5)]
    nights.night([state(1, "a"), *others, state(2, "a", "b", ordinal=20)], meanwhile=stop)
    assert states(nights)["langfuse:t"] == "sent"
    assert states(nights)["langfuse:f4"] == "pending"


def test_a_refused_update_is_remembered_for_that_update_only(nights: Nights, server: Ruled) -> None:
    nights.night([state(1, "a", ordinal=1)])
    server.before = always(reply(422, "no"), method="PATCH")
    nights.night([state(2, "a", "b", ordinal=1)])
    server.before = lambda method, body: None
    other = state(3, "x", ordinal=1)
    nights.night([other])
    nights.upload = {"on_change": "update"}
    nights.night([other])
    assert server.sessions[VERSION, "langfuse:t"]["context"]["turns"][0]["input"] == "x"


def states(nights: Nights) -> dict[str, str]:
    database = open_fast(nights.state_dir)
    try:
        return dict(database.connection.execute("SELECT custom_id, state FROM session").fetchall())
    finally:
        database.close()
