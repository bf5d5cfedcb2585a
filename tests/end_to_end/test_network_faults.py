"""Every fault of the network and of the API, on a real socket; each ends with the function that checks the promises.

Which fault is tested where: the table in the docstring of this package. `FAULT_SEEDS=200` plays so many seeds of
what is drawn at random (by default a few), `FIRST_SEED` says where to begin: a failure names its seed.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Importer, make_trace, many, wait_until, write_jsonl
from tests.invariants import Rate, check_invariants, posts, read_manifest

POST = "POST /sessions"
GET = "GET /sessions"
HTML = {"content-type": "text/html"}
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("FAULT_SEEDS", "2")))
TIMEOUT_SECONDS = 1.0
"""Of the client, in these tests; what comes late comes after it."""


def http_date(seconds_from_now: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds_from_now), usegmt=True)


def later(retry_after: str | None, status: int = 429) -> dict[str, Any]:
    return {"status": status} | ({"headers": {"Retry-After": retry_after}} if retry_after is not None else {})


TROUBLE: dict[str, dict[str, Any]] = {
    "reset before the request is read": {"reset_before": True},
    "reset after the commit": {"reset_after_commit": True},
    "an answer later than the timeout, committed": {"delay_ms": 2500},
    "a commit later than the timeout": {"commit_after_ms": 2500},
    "no answer, nothing stored": {"hang": True},
    "no answer, committed": {"hang": True, "after_commit": True},
    "shown late": {"reset_after_commit": True, "visible_after_ms": 2000},
    "a connection closed after the answer": {"close_after": True},
    "half an answer": {"truncate": True},
    "a wrong content-length": {"wrong_length": True},
    "not JSON": {"garbage": True},
    "201 without id, stored": {"status": 201, "body": {"customId": "x"}, "after_commit": True},
    "201 without id, not stored": {"status": 201, "body": {"customId": "x"}},
    "201 without body": {"status": 201, "body": ""},
    "a list": {"status": 201, "body": []},
    "204": {"status": 204},
    "one byte per second": {"drip": True},
    "500": {"status": 500},
    "500, committed": {"status": 500, "after_commit": True},
    "502": {"status": 502, "headers": HTML, "body": "<html>Bad Gateway</html>"},
    "502, committed": {"status": 502, "after_commit": True},
    "503": {"status": 503},
    "503, committed": {"status": 503, "after_commit": True},
    "504": {"status": 504},
    "504, committed": {"status": 504, "after_commit": True},
    "520": {"status": 520},
    "an HTML 403": {"status": 403, "headers": HTML, "body": "<html>Request blocked</html>"},
    "409, committed": {"status": 409, "after_commit": True},
}
LATER: dict[str, dict[str, Any]] = {
    "429": later(None),
    "429, seconds": later("1"),
    "429, an HTTP date": later("date"),
    "429, a date that has passed": later("past"),
    "429, negative": later("-5"),
    "429, absurd": later("999999999"),
    "429, an absurd date": later("Fri, 31 Dec 9999 23:59:59 GMT"),
    "429, garbage": later("soon"),
    "429, not a number": later("nan"),
    "429, empty": later(""),
    "408": later(None, 408),
    "503 with Retry-After": later("1", 503),
}


def dated(do: dict[str, Any]) -> dict[str, Any]:
    """A date is a date of today."""
    dates = {"date": http_date(2), "past": http_date(-3600)}
    wait = do.get("headers", {}).get("Retry-After")
    return do | {"headers": {"Retry-After": dates[wait]}} if wait in dates else do


@pytest.fixture(scope="module")
def shared_emulator() -> Iterator[RunningEmulator]:
    with running_emulator() as running:
        yield running


@pytest.fixture
def emulator(shared_emulator: RunningEmulator) -> Iterator[RunningEmulator]:
    """As new: one process for all tests here, for a start costs more than most of them."""
    shared_emulator.set_faults([])
    shared_emulator.set_limit(None)
    shared_emulator.set_latency(0)
    shared_emulator.reset()
    yield shared_emulator
    if any("commit_after" in (line["fault"] or "") for line in shared_emulator.log()):
        shared_emulator.restart()  # a commit that is still to come would be in the next test's store


IMPATIENT = {"upload__timeout_seconds": TIMEOUT_SECONDS, "upload__max_pause_seconds": 1, "upload__lookup_seconds": 20}


# --- one fault after another ------------------------------------------------------------------------------


def test_each_record_survives_another_fault(importer: Importer, emulator: RunningEmulator) -> None:
    """All at once: every fifth record meets a fault of its own, twice; the others tell that the API is well."""
    faults = [*TROUBLE.values()] * 2
    emulator.set_faults(
        [
            {"match": POST, "when": {"custom_id": f"langfuse:trace-{5 * number}", "first": 2}, "do": do}
            for number, do in enumerate(faults)
        ]
    )
    result = importer.run_here(many(importer, 5 * len(faults)), **IMPATIENT)
    assert result.exit_code == 0, result.summary
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 5 * len(faults)}


@pytest.mark.skipif("FAULT_SEEDS" not in os.environ, reason="each alone, more slowly: set FAULT_SEEDS")
@pytest.mark.parametrize("do", TROUBLE.values(), ids=TROUBLE)
def test_nothing_is_lost_or_doubled_where_every_third_post_meets(
    importer: Importer, emulator: RunningEmulator, do: dict[str, Any]
) -> None:
    emulator.set_faults([{"match": POST, "when": {"every": 3}, "do": do}])
    result = importer.run_here(many(importer, 12), **IMPATIENT)
    assert result.exit_code == 0, result.summary
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 12}


@pytest.mark.parametrize("do", LATER.values(), ids=LATER)
def test_who_is_told_to_wait_waits_and_uses_up_no_attempt(
    importer: Importer, emulator: RunningEmulator, do: dict[str, Any]
) -> None:
    emulator.set_faults([{"match": POST, "when": {"first": 3}, "do": dated(do)}])
    result = importer.run_here(
        many(importer, 6), **IMPATIENT | {"upload__max_attempts": 1, "upload__max_pause_seconds": 0.3}
    )
    assert result.exit_code == 0, result.summary
    summary = check_invariants(emulator, result.folder)
    assert summary["outcomes"] == {"created": 6}
    assert summary["throttled"] == 3


def test_a_pause_that_was_asked_for_is_kept_by_everybody(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults([{"match": POST, "when": {"between": [10, 10]}, "do": later("2")}])
    result = importer.run_here(many(importer, 60), upload__max_at_once=4)
    check_invariants(emulator, result.folder)
    seen = posts(emulator)
    refused_at = next(line["time"] for line in seen if line["status"] == 429)
    assert not [line for line in seen if refused_at + 0.5 < line["time"] < refused_at + 1.9]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mixture_drawn_at_random(importer: Importer, emulator: RunningEmulator, seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    source = many(importer, 60)
    for _ in range(chance.choice([1, 2])):
        drawn = chance.sample([*TROUBLE.values(), *LATER.values()], 6)
        rules = [{"match": POST, "when": {"probability": chance.uniform(0, 0.04)}, "do": dated(do)} for do in drawn]
        lookups = {
            "match": GET,
            "when": {"probability": chance.uniform(0, 0.5)},
            "do": chance.choice([{"status": 500}, "reset_before", "garbage"]),
        }
        emulator.set_faults([*rules, lookups] if chance.random() < 0.5 else rules)
        emulator.set_limit(chance.choice([None, None, 60]))
        settings = {"upload__max_at_once": chance.choice([4, 16, 64]), "upload__max_attempts": chance.choice([2, 8])}
        result = importer.run_here(source, **IMPATIENT | settings)
        assert result.exit_code in (0, 4), result.summary
        check_invariants(emulator, result.folder)
    emulator.set_faults([])
    emulator.set_limit(None)
    result = importer.run_here(source, **IMPATIENT)
    assert result.exit_code == 0, result.summary
    check_invariants(emulator, result.folder)
    assert len(emulator.sessions()) == 60


# --- nobody there -----------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    with running_emulator(data=tmp_path / "emulator.sqlite") as emulator, ThreadPoolExecutor(1) as beside:
        importer = Importer(tmp_path, emulator.url)
        emulator.kill()
        running = beside.submit(importer.run_here, many(importer, 20))
        time.sleep(2)
        emulator.start()
        assert running.result(60).exit_code == 0
        assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 20}


@pytest.mark.parametrize("extent", ["session", "full"])
def test_a_server_that_goes_for_seconds_and_comes_back_is_waited_for(tmp_path: Path, extent: str) -> None:
    with running_emulator(data=tmp_path / "emulator.sqlite") as emulator, ThreadPoolExecutor(1) as beside:
        importer = Importer(tmp_path, emulator.url, extent=extent)
        pace = {"upload__max_per_second": 150, "upload__lookup_seconds": 5, "upload__timeout_seconds": 5}
        running = beside.submit(importer.run_here, many(importer, 400), **pace)
        for posted in (40, 150):
            wait_until(lambda posted=posted: len(posts(emulator)) > posted)  # type: ignore[misc]
            emulator.kill()
            time.sleep(1.5)
            emulator.start()
        assert running.result(60).exit_code == 0
        assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 400}
        assert len(emulator.sessions()) == 400


def test_a_storm_of_503_on_every_route_is_waited_out(importer: Importer, emulator: RunningEmulator) -> None:
    storm = {"match": "* *", "when": {"from_second": 1, "for_seconds": 2.5}, "do": {"status": 503}}
    lost = {"match": POST, "when": {"every": 5}, "do": "reset_after_commit"}
    emulator.set_faults([storm, lost])
    result = importer.run_here(many(importer, 100), upload__max_per_second=60)
    assert result.exit_code == 0, result.summary
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 100}


def test_a_connection_that_the_server_closes_when_idle_costs_nothing(tmp_path: Path) -> None:
    """Requests come about as often as the server closes idle connections: some leave on one that is just closing."""
    with running_emulator(options={"keep_alive_seconds": 1}) as emulator:
        importer = Importer(tmp_path, emulator.url)
        result = importer.run_here(many(importer, 5), upload__max_per_second=1, upload__max_at_once=1)
        assert result.exit_code == 0
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 5}


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per_second", "count"), [(0.5, 2), (2, 5), (5, 8), (40, 60), (300, 400)], ids=str)
def test_a_limit_that_nobody_told_us_is_lived_with(tmp_path: Path, per_second: float, count: int) -> None:
    with running_emulator(max_per_second=per_second, burst=max(1, per_second / 4)) as emulator:
        importer = Importer(tmp_path, emulator.url)
        result = importer.run_here(many(importer, count))
        assert result.exit_code == 0, result.summary
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": count}


@pytest.mark.parametrize(("before", "after", "changes_at"), [(200, 20, 80), (20, 200, 20)])
def test_a_limit_that_changes_in_the_middle_is_lived_with(
    importer: Importer, emulator: RunningEmulator, before: float, after: float, changes_at: int
) -> None:
    emulator.set_limit(before, before / 4)
    count = 120
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(importer.run_here, many(importer, count))
        wait_until(lambda: len(emulator.sessions()) > changes_at)
        emulator.set_limit(after, after / 4)
        result = running.result(90)
    assert result.exit_code == 0, result.summary
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": count}


def test_another_client_on_the_same_limit_gets_its_share_and_disturbs_nothing(
    importer: Importer, emulator: RunningEmulator
) -> None:
    emulator.set_limit(40, 10)
    done = threading.Event()

    def noise() -> Counter[int]:
        statuses: Counter[int] = Counter()
        with httpx.Client(base_url=emulator.url, headers={"Authorization": "Bearer gsk_other"}) as client:
            while not done.wait(0.05):
                body = {"versionId": "ver_123", "isProduction": False, "context": "noise"}
                statuses[client.post("/sessions", json=body).status_code] += 1
        return statuses

    with ThreadPoolExecutor(1) as beside:
        noisy = beside.submit(noise)
        try:
            result = importer.run_here(many(importer, 60))
        finally:
            done.set()
    assert result.exit_code == 0, result.summary
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 60}
    assert noisy.result()[201] > 5


def test_answers_that_come_later_and_later_are_lived_with(tmp_path: Path) -> None:
    with running_emulator(options={"queue_per_second": 60}) as emulator:
        importer = Importer(tmp_path, emulator.url)
        result = importer.run_here(many(importer, 200), upload__timeout_seconds=3)
        assert result.exit_code == 0, result.summary
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 200}


def test_a_rate_that_was_given_is_kept_through_faults(importer: Importer, emulator: RunningEmulator) -> None:
    """Every attempt takes its turn: retries and look-ups are within the rate."""
    emulator.set_faults(
        [
            {"match": POST, "when": {"every": 4}, "do": "reset_after_commit"},
            {"match": POST, "when": {"every": 7}, "do": {"status": 500}},
        ]
    )
    result = importer.run_here(many(importer, 80), upload__max_per_second=40)
    assert result.exit_code == 0, result.summary
    check_invariants(emulator, result.folder, rate=Rate(40, burst=10))


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_one_refused_record_among_many_is_a_reject(importer: Importer, emulator: RunningEmulator, status: int) -> None:
    rule = {"match": POST, "when": {"custom_id": "langfuse:trace-33"}, "do": {"status": status}}
    emulator.set_faults([rule])
    result = importer.run_here(many(importer, 250))
    assert result.exit_code == 3
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 249, "rejected": 1}


def test_a_body_that_is_too_long_for_the_server_is_a_reject(tmp_path: Path) -> None:
    with running_emulator(options={"max_body_bytes": 20_000}) as emulator:
        importer = Importer(tmp_path, emulator.url, extent="session")
        rows = [make_trace(number, output="x" * 30_000 if number == 7 else "short") for number in range(40)]
        result = importer.run_here(write_jsonl(tmp_path / "a.jsonl", rows))
        assert result.exit_code == 3
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 39, "rejected": 1}


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_same_refusal_for_all_stops_the_run_even_late(
    importer: Importer, emulator: RunningEmulator, status: int
) -> None:
    emulator.set_faults([{"match": POST, "when": {"after": 100}, "do": {"status": status}}])
    source = many(importer, 400)
    result = importer.run_here(source)
    assert result.exit_code == 5
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 100, "pending": 300}
    emulator.set_faults([])
    result = importer.run_here(source)
    assert result.exit_code == 0
    check_invariants(emulator, result.folder)
    assert len(emulator.sessions()) == 400


@pytest.mark.parametrize(
    "do",
    [
        pytest.param({"status": 401}, id="401"),
        pytest.param({"status": 403, "body": {"message": "Readers may not write"}}, id="403"),
        pytest.param({"status": 404, "body": {"message": "Version not found"}}, id="404"),
        pytest.param({"status": 404, "headers": HTML, "body": "<html>Cannot POST</html>"}, id="an HTML 404"),
        pytest.param({"status": 405}, id="405"),
        pytest.param({"status": 302, "headers": {"Location": "/elsewhere"}}, id="a redirect"),
    ],
)
def test_a_refusal_of_the_route_or_the_key_mid_run_stops_it_and_rejects_nothing(
    importer: Importer, emulator: RunningEmulator, do: dict[str, Any]
) -> None:
    emulator.set_faults([{"match": POST, "when": {"after": 20}, "do": do}])
    source = many(importer, 100)
    result = importer.run_here(source, upload__max_at_once=4)
    assert result.exit_code == 5
    outcomes = check_invariants(emulator, result.folder)["outcomes"]
    assert set(outcomes) == {"created", "pending"}
    assert len(posts(emulator)) <= 24
    emulator.set_faults([])
    result = importer.run_here(source)
    assert result.exit_code == 0
    then = check_invariants(emulator, result.folder)["outcomes"]
    assert then == {"created": outcomes["pending"], "skipped": outcomes["created"]}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_never_followed_with_the_key(importer: Importer, emulator: RunningEmulator, status: int) -> None:
    with running_emulator() as elsewhere:
        do = {"status": status, "headers": {"Location": f"{elsewhere.url}/sessions"}}
        emulator.set_faults([{"match": POST, "do": do}])
        result = importer.run_here(many(importer, 3))
        assert result.exit_code == 5
        check_invariants(emulator, result.folder)
        assert elsewhere.log() == []


def test_401_to_a_look_up_stops_the_run(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults(
        [
            {"match": POST, "when": {"every": 5}, "do": "reset_after_commit"},
            {"match": GET, "when": {"after": 1}, "do": {"status": 401}},
        ]
    )
    result = importer.run_here(many(importer, 60), upload__max_at_once=4)
    assert result.exit_code == 5
    check_invariants(emulator, result.folder)
    emulator.set_faults([])
    result = importer.run_here(importer.home / "a.jsonl")
    assert result.exit_code == 0
    check_invariants(emulator, result.folder)
    assert len(emulator.sessions()) == 60


def test_a_record_that_the_proxy_never_lets_through_has_failed_and_is_not_there(
    importer: Importer, emulator: RunningEmulator
) -> None:
    do = {"status": 403, "headers": HTML, "body": "<html>Request blocked</html>"}
    emulator.set_faults([{"match": POST, "when": {"custom_id": "langfuse:trace-3"}, "do": do}])
    result = importer.run_here(many(importer, 20), upload__max_attempts=3)
    assert result.exit_code == 4
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 19, "failed": 1}


# --- already there ----------------------------------------------------------------------------------------


def post(emulator: RunningEmulator, number: int) -> str:
    body = {"versionId": "ver_123", "customId": f"langfuse:trace-{number}", "isProduction": False, "context": "mine"}
    answer = httpx.post(f"{emulator.url}/sessions", json=body, headers={"Authorization": "Bearer gsk_x"})
    return str(answer.raise_for_status().json()["id"])


def delete(emulator: RunningEmulator, session_id: str) -> None:
    headers = {"Authorization": "Bearer gsk_x"}
    httpx.delete(f"{emulator.url}/sessions/{session_id}", headers=headers).raise_for_status()


@pytest.mark.parametrize("holds", [True, False], ids=["deleted ones hold their id", "deleted ones free their id"])
def test_what_is_there_already_is_named_for_what_it_is(tmp_path: Path, holds: bool) -> None:
    with running_emulator(options={"deleted_hold_custom_id": holds}) as emulator:
        importer, other = Importer(tmp_path, emulator.url), Importer(tmp_path / "other", emulator.url)
        other.run_here(write_jsonl(tmp_path / "theirs.jsonl", [make_trace(number) for number in range(10)]))
        for number in range(10, 15):
            post(emulator, number)
        for number in range(15, 18):
            delete(emulator, post(emulator, number))
        result = importer.run_here(many(importer, 40), upload__lookup_seconds=2)
        assert result.exit_code == 0, result.summary
        summary = check_invariants(emulator, result.folder, is_only_writer=False)
        kinds = Counter((row["outcome"], row["error_kind"]) for row in read_manifest(result.folder))
        deleted = {("existing", "hidden_or_deleted"): 3} if holds else {}
        created = sum(summary["outcomes"].values()) - 15 - sum(deleted.values())
        expected = {("existing", None): 10, ("existing", "other_payload"): 5, ("created", None): created, **deleted}
        assert kinds == expected


def test_a_commit_that_shows_later_than_anybody_looks_is_not_sent_again(
    importer: Importer, emulator: RunningEmulator
) -> None:
    do = {"reset_after_commit": True, "visible_after_ms": 60_000}
    emulator.set_faults([{"match": POST, "when": {"custom_id": "langfuse:trace-1", "first": 1}, "do": do}])
    source = many(importer, 5)
    result = importer.run_here(source, upload__lookup_seconds=1)
    assert result.exit_code == 0
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 4, "existing": 1}
    write_jsonl(source, [make_trace(number) for number in range(6)])
    result = importer.run_here(source, upload__lookup_seconds=1)
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 1, "skipped": 5}


# --- look-ups ---------------------------------------------------------------------------------------------

LOOKUP_OPTIONS: dict[str, dict[str, Any]] = {
    "pages of three": {"max_list_limit": 3},
    "a WAF on long queries": {"max_query_bytes": 200, "long_query_status": 403},
    "414 for long queries": {"max_query_bytes": 200, "long_query_status": 414},
    "oldest first": {"default_order": "oldest_first"},
}


@pytest.mark.parametrize("extent", ["session", "full"])
@pytest.mark.parametrize("options", LOOKUP_OPTIONS.values(), ids=LOOKUP_OPTIONS)
def test_look_ups_find_everything_where_lists_have(tmp_path: Path, options: dict[str, Any], extent: str) -> None:
    with running_emulator(options=options) as emulator:
        importer = Importer(tmp_path, emulator.url, extent=extent)
        emulator.set_faults([{"match": POST, "when": {"every": 3}, "do": "reset_after_commit"}])
        result = importer.run_here(many(importer, 45), upload__lookup_seconds=60)
        assert result.exit_code == 0, result.summary
        assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 45}


@pytest.mark.parametrize(
    "do",
    [
        {"status": 500},
        {"reset_before": True},
        {"garbage": True},
        {"truncate": True},
        {"hang": True},
        {"status": 200, "body": {"sessions": []}},
        later("1"),
        {"status": 403, "headers": HTML, "body": "<html>Request blocked</html>"},
    ],
    ids=lambda do: ", ".join(f"{name} {value}" for name, value in do.items()),
)
def test_look_ups_that_fail_are_asked_again(importer: Importer, emulator: RunningEmulator, do: dict[str, Any]) -> None:
    emulator.set_faults(
        [
            {"match": POST, "when": {"every": 4}, "do": "reset_after_commit"},
            {"match": GET, "when": {"between": [2, 3]}, "do": do},
        ]
    )
    result = importer.run_here(many(importer, 24), **IMPATIENT)
    assert result.exit_code == 0, result.summary
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 24}


def test_what_no_look_up_can_settle_is_unknown_until_one_can(importer: Importer, emulator: RunningEmulator) -> None:
    emulator.set_faults(
        [
            {"match": POST, "when": {"custom_id": "langfuse:trace-1", "first": 1}, "do": "reset_after_commit"},
            {"match": GET, "when": {"after": 1}, "do": {"status": 403, "body": {"message": "no"}}},
        ]
    )
    source = many(importer, 10)
    result = importer.run_here(source)
    assert result.exit_code == 4
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 9, "unknown": 1}
    emulator.set_faults([])
    result = importer.run_here(source)
    assert result.exit_code == 0
    assert check_invariants(emulator, result.folder)["outcomes"] == {"created": 1, "skipped": 9}


# --- updates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["500, committed", "reset after the commit", "half an answer", "an HTML 403"])
def test_an_update_survives_it_too(importer: Importer, emulator: RunningEmulator, name: str) -> None:
    importer.run_here(many(importer, 12))
    emulator.set_faults([{"match": "PATCH /sessions/*", "when": {"every": 3}, "do": TROUBLE[name]}])
    result = importer.run_here(many(importer, 12, output="rewritten"), upload__on_change="update")
    assert result.exit_code == 0, result.summary
    assert check_invariants(emulator, result.folder)["outcomes"] == {"changed": 12}


def test_an_update_of_a_session_that_is_gone_is_a_reject_of_that_one_only(
    importer: Importer, emulator: RunningEmulator
) -> None:
    importer.run_here(many(importer, 6))
    delete(emulator, next(item["id"] for item in emulator.sessions() if item["customId"] == "langfuse:trace-2"))
    for expected in (3, 0):
        source = many(importer, 6, output="rewritten")
        result = importer.run_here(source, upload__on_change="update")
        assert result.exit_code == expected
        check_invariants(emulator, result.folder)
    kinds = {row["custom_id"]: row["error_kind"] for row in read_manifest(result.folder)}
    assert kinds["langfuse:trace-2"] == "update_rejected"


# --- versions ---------------------------------------------------------------------------------------------


def make_version(emulator: RunningEmulator, name: str) -> str:
    headers = {"Authorization": "Bearer gsk_x"}
    body = {"productId": "prod_123", "name": name}
    answer = httpx.post(f"{emulator.url}/versions", json=body, headers=headers)
    return str(answer.raise_for_status().json()["id"])


def interrupted_import(importer: Importer, emulator: RunningEmulator) -> Path:
    """Sessions that were sent to the product's newest version, and whose answers nobody saw."""
    emulator.set_faults(
        [
            {"match": POST, "when": {"custom_id": "langfuse:trace-1"}, "do": {"hang": True, "after_commit": True}},
            {"match": POST, "when": {"custom_id": "langfuse:trace-2"}, "do": {"hang": True}},
        ]
    )
    source = many(importer, 30)
    settings = {"target__product_id": "prod_123", "upload__max_attempts": 1, "upload__lookup_seconds": 1}
    result = importer.run_here(source, **IMPATIENT | settings)
    assert result.exit_code == 4
    emulator.set_faults([])
    return source


def test_a_version_that_appears_between_two_attempts_gets_no_second_copy(
    importer: Importer, emulator: RunningEmulator
) -> None:
    source = interrupted_import(importer, emulator)
    make_version(emulator, "newer")
    result = importer.run_here(source, target__product_id="prod_123")
    assert result.exit_code == 0, result.summary
    check_invariants(emulator, result.folder)
    copies = Counter(session["customId"] for session in emulator.sessions())
    assert len(copies) == 30
    assert set(copies.values()) == {1}


def test_a_version_that_is_deleted_between_two_attempts_stops_nothing(
    importer: Importer, emulator: RunningEmulator
) -> None:
    old = make_version(emulator, "old")
    source = interrupted_import(importer, emulator)
    httpx.delete(f"{emulator.url}/versions/{old}", headers={"Authorization": "Bearer gsk_x"}).raise_for_status()
    new = make_version(emulator, "new")
    result = importer.run_here(source, target__product_id="prod_123")
    assert result.exit_code == 0, result.summary
    check_invariants(emulator, result.folder)
    assert any(session["versionId"] == new for session in emulator.sessions())
