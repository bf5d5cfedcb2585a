"""429s: the bucket, the window, what they tell; and the queue that answers late instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import httpx
import pytest
from emulator_client import client_of, post_session

from pipeline.emulator import RunningEmulator, running_emulator

Create = Callable[..., httpx.Response]


def test_the_bucket_holds_its_burst_and_refills(emulator: RunningEmulator, create: Create) -> None:
    emulator.set_limit(2, burst=3)
    answers = [create() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429, 429]
    assert answers[3].headers["retry-after"] == "1"
    assert answers[3].json().keys() == {"message"}
    time.sleep(1.1)
    assert [create().status_code for _ in range(3)] == [201, 201, 429]
    assert len(emulator.sessions()) == 5


def test_a_limit_holds_for_all_routes_and_can_be_lifted(emulator: RunningEmulator, api: httpx.Client) -> None:
    emulator.set_limit(0.01, burst=1)
    assert [api.get("/versions").status_code, api.get("/nope").status_code] == [200, 429]
    emulator.set_limit(None)
    assert api.get("/versions").status_code == 200


def test_over_time_no_more_than_the_rate_is_accepted(emulator: RunningEmulator, create: Create) -> None:
    emulator.set_limit(50, burst=1)
    start = time.monotonic()
    statuses = []
    while time.monotonic() - start < 0.6:
        statuses.append(create().status_code)
    assert 20 <= statuses.count(201) <= 50 * (time.monotonic() - start) + 1


def test_a_429_is_logged_with_the_custom_id_and_without_fault(emulator: RunningEmulator, create: Create) -> None:
    emulator.set_limit(0.01, burst=1)
    create(customId="a")
    create(customId="b")
    seen = [(entry["custom_id"], entry["status"], entry["fault"]) for entry in emulator.log()]
    assert seen == [("a", 201, None), ("b", 429, None)]


@pytest.mark.parametrize("headers", ["http-date", "none", "x-ratelimit"])
def test_what_a_429_tells_is_an_option(headers: str) -> None:
    started = running_emulator(max_per_second=0.1, burst=1, options={"rate_limit_headers": headers})
    with started as emulator, client_of(emulator) as api:
        accepted, refused = post_session(api), post_session(api)
    assert [accepted.status_code, refused.status_code] == [201, 429]
    if headers == "http-date":
        seconds = parsedate_to_datetime(refused.headers["retry-after"]).timestamp() - time.time()
        assert 7 < seconds < 12
    else:
        assert "retry-after" not in refused.headers
    if headers == "x-ratelimit":
        assert accepted.headers["x-ratelimit-remaining"] == "0"
        assert 7 < int(refused.headers["x-ratelimit-reset"]) - time.time() < 12


def test_a_window_takes_its_share_and_waits_for_the_next() -> None:
    options = {"rate_limit_mode": "fixed_window", "rate_limit_window_seconds": 1}
    with running_emulator(max_per_second=3, options=options) as emulator, client_of(emulator) as api:
        time.sleep(1 - time.time() % 1 + 0.02)
        first = [post_session(api).status_code for _ in range(5)]
        time.sleep(1 - time.time() % 1 + 0.02)
        second = [post_session(api).status_code for _ in range(5)]
    assert first == second == [201, 201, 201, 429, 429]


def test_a_queue_makes_answers_late_instead() -> None:
    with running_emulator(options={"queue_per_second": 20}) as emulator, client_of(emulator) as api:
        start = time.monotonic()
        assert [post_session(api).status_code for _ in range(5)] == [201] * 5
        assert time.monotonic() - start >= 0.2


def test_latency_is_added_to_every_answer(emulator: RunningEmulator, create: Create) -> None:
    emulator.set_latency(120)
    start = time.monotonic()
    create()
    elapsed = time.monotonic() - start
    emulator.set_latency(0)
    assert elapsed >= 0.12
