"""The questions before the first POST are requests like all others: paced, patient, left when the run is stopped."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline.errors import StoppedError
from pipeline.preflight import Preflight
from pipeline.uploader.client import Client
from pipeline.uploader.counts import Counts
from pipeline.uploader.pacing import Pace
from pipeline.uploader.transport import Answer
from tests.fake_clock import FakeClock, in_virtual_time
from tests.unit.factories import make_config
from tests.unit.uploader.fake_server import FakeServer, Faults
from tests.unit.uploader.test_uploader import Ruled, always, first, reply

GIVE_UP_SECONDS = 600


def ask_before(
    server: FakeServer, *, max_per_second: float | None = None, stopped_after: float = float("inf"), **upload: Any
) -> Counts:
    """A preflight against `server`, to its end."""
    config = make_config(upload=upload)
    counts = Counts()
    client = Client(server, SecretStr("gsk_secret"), counts)

    async def story(clock: FakeClock) -> None:
        chance = random.Random(0)
        pace = Pace(clock, chance, max_per_second=max_per_second, max_at_once=64, max_pause_seconds=300)
        preflight = Preflight(client, pace, counts, config, clock, chance, lambda: clock.now() >= stopped_after)
        assert await preflight.resolve_version() == "ver_1"

    in_virtual_time(story, server.clock)
    return counts


@pytest.fixture
def server() -> Ruled:
    return Ruled(FakeClock(), random.Random(0))


def test_they_keep_to_the_rate_that_was_asked_for(server: Ruled) -> None:
    server.before = first(2, reply(500), method="GET")
    ask_before(server, max_per_second=0.25)
    moments = [seen.at for seen in server.log]
    assert len(moments) == 2
    assert moments[0] >= 8
    assert moments[1] - moments[0] >= 4


def test_a_refusal_is_a_pause_and_the_question_is_asked_again(server: Ruled) -> None:
    server.before = first(1, reply(429, retry_after="20"), method="GET")
    counts = ask_before(server)
    assert server.log[0].at >= 20
    assert counts.throttled == 1


def test_a_limit_of_one_request_in_two_seconds_is_borne(server: Ruled) -> None:
    server.faults = Faults(per_second=0.5)
    ask_before(server)
    assert [seen.what for seen in server.log].count("200") == 2


@pytest.mark.parametrize("said", [reply(500), reply(429), reply(429, retry_after="250")])
def test_the_patience_ends(server: Ruled, said: Answer) -> None:
    server.before = always(said, method="GET")
    with pytest.raises(StoppedError, match="does not answer"):
        ask_before(server, give_up_after_seconds=GIVE_UP_SECONDS)
    assert server.clock.now() <= GIVE_UP_SECONDS + 1


@pytest.mark.parametrize("latency_seconds", [0.05, 20])
def test_who_stops_does_not_wait_for_it(server: Ruled, latency_seconds: float) -> None:
    server.latency_seconds = latency_seconds
    server.before = always(reply(429, retry_after="250"), method="GET")
    with pytest.raises(StoppedError, match="stopped before"):
        ask_before(server, stopped_after=3)
    assert server.clock.now() < 4
