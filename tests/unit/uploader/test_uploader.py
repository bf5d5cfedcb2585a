"""One session's steps, each rule on its own, against a server that is told what to do."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import AmbiguousError, FatalError, NotSentError, StoppedError, UsageError
from pipeline.models import SessionImport
from pipeline.payload import create_body
from pipeline.uploader.refusals import ALIKE_LIMIT
from pipeline.uploader.transport import Answer
from pipeline.uploader.uploader import Uploader
from tests.fake_clock import FakeClock
from tests.unit.factories import make_session, make_trace
from tests.unit.uploader.fake_server import JSON, FakeServer
from tests.unit.uploader.nights import VERSION, Nights, open_fast

Rule = Callable[[str, dict[str, Any]], Answer | Exception | None]


class Ruled(FakeServer):
    """A server that follows `rule(method, body)` where it says something, before or after it has done its work."""

    before: Rule = staticmethod(lambda method, body: None)
    after: Rule = staticmethod(lambda method, body: None)

    async def send(self, method: str, path_and_query: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        sent = json.loads(body) if body else {}
        for rule, done in ((self.before, False), (self.after, True)):
            said = None
            if done:
                answer = await super().send(method, path_and_query, headers, body)
            said = rule(method, sent)
            if said is not None and not done:
                await self.clock.sleep(self.latency_seconds)
            if isinstance(said, Exception):
                raise said
            if said is not None:
                return said
        return answer


def reply(status: int, message: str = "", **headers: str) -> Answer:
    return Answer(
        status, JSON | {k.replace("_", "-"): v for k, v in headers.items()}, json.dumps({"message": message}).encode()
    )


def first(count: int, said: Answer | Exception, *, method: str = "POST") -> Rule:
    """The first so many requests are answered so."""
    left = [count]

    def rule(asked: str, body: dict[str, Any]) -> Answer | Exception | None:
        if asked != method or not left[0]:
            return None
        left[0] -= 1
        return said

    return rule


def always(said: Answer | Exception, *, method: str = "POST") -> Rule:
    return first(10**9, said, method=method)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> Ruled:
    return Ruled(clock, random.Random(0))


@pytest.fixture
def nights(tmp_path: Path, clock: FakeClock, server: Ruled) -> Nights:
    return Nights(tmp_path, clock, server)


def sessions(count: int, **fields: Any) -> list[SessionImport]:
    return [make_session(make_trace(f"t{number}", **fields), ordinal=number + 1) for number in range(count)]


def only(nights: Nights) -> tuple[str, str | None]:
    """Outcome and error kind of the one row."""
    ((outcome, _, _, kind),) = nights.rows().values()
    return outcome, kind


def there(server: FakeServer, session: SessionImport, *, ledger_id: str, **changed: Any) -> None:
    body = create_body(session, session.custom_id, version_id=VERSION, ledger_id=ledger_id)
    server.create(json.loads(body) | changed)


RESET = AmbiguousError("connection reset", kind="reset")
HTML = Answer(403, {"content-type": "text/html"}, b"<html>no</html>")


# --- what an observation leads to -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(NotSentError("refused"), id="not sent"),
        pytest.param(RESET, id="reset"),
        pytest.param(reply(500), id="500"),
        pytest.param(reply(429), id="429"),
        pytest.param(reply(429, retry_after="0"), id="429 with no wait"),
        pytest.param(reply(408), id="408"),
        pytest.param(reply(503, retry_after="3"), id="503 with Retry-After"),
        pytest.param(HTML, id="an HTML 403"),
        pytest.param(Answer(201, {}, b""), id="201 without a session"),
    ],
)
def test_the_same_post_is_sent_again(nights: Nights, server: Ruled, said: Answer | Exception) -> None:
    server.before = first(2, said)
    nights.night(sessions(1))
    assert only(nights) == ("created", None)


def test_an_answer_that_got_lost_is_found_by_the_duplicate(nights: Nights, server: Ruled) -> None:
    server.after = first(1, RESET)
    nights.night(sessions(1))
    assert only(nights) == ("created", None)
    assert [seen.what for seen in server.posts()] == ["201", "400"]


def test_refusals_use_up_no_attempts(nights: Nights, server: Ruled) -> None:
    nights.upload = {"max_attempts": 2}
    server.before = first(20, reply(429, retry_after="1"))
    nights.night(sessions(1))
    assert only(nights) == ("created", None)


def test_who_was_never_sent_is_failed(nights: Nights, server: Ruled) -> None:
    server.before = always(NotSentError("refused"))
    nights.upload = {"max_attempts": 3}
    nights.night(sessions(1))
    assert only(nights) == ("failed", "transient")


def test_who_may_have_been_stored_and_is_not_found_is_unknown(nights: Nights, server: Ruled) -> None:
    server.before = always(RESET)
    nights.upload = {"max_attempts": 3}
    nights.night(sessions(1))
    assert only(nights)[0] == "unknown"


def test_who_may_have_been_stored_and_is_found_is_created(nights: Nights, server: Ruled) -> None:
    server.after = always(RESET)
    server.before = lambda method, body: reply(500) if method == "POST" and server.sessions else None
    nights.night(sessions(1))
    assert only(nights) == ("created", None)


def test_a_reject_after_an_ambiguous_attempt_is_believed_only_after_a_look_up(nights: Nights, server: Ruled) -> None:
    server.after = first(1, RESET)
    server.before = lambda method, body: reply(422, "bad") if method == "POST" and server.sessions else None
    nights.night(sessions(1))
    assert only(nights) == ("created", None)


def test_a_reject_after_an_attempt_of_a_killed_process_is_too(nights: Nights, server: Ruled) -> None:
    server.latency_seconds = 1.0
    nights.night(sessions(1), killed_after=0.8)  # stored, and the answer on its way
    assert server.sessions
    server.before = lambda method, body: reply(413, "too long") if method == "POST" else None
    nights.night(sessions(1))
    assert only(nights) == ("created", None)


def test_what_an_earlier_process_sent_and_no_look_up_shows_is_rejected_in_the_end(
    nights: Nights, server: Ruled
) -> None:
    server.latency_seconds = 1.0
    server.before = always(reply(413, "too long"))
    nights.night(sessions(1), killed_after=0.3)
    nights.night(sessions(1))
    assert only(nights) == ("rejected", "http_413")


def test_a_session_that_others_made_is_existing(nights: Nights, server: Ruled) -> None:
    there(server, sessions(1)[0], ledger_id="theirs")
    nights.night(sessions(1))
    assert only(nights) == ("existing", None)


def test_a_session_that_others_made_of_something_else_is_named(nights: Nights, server: Ruled) -> None:
    there(server, sessions(1)[0], ledger_id="theirs", context={"value": "other"}, metadata={})
    nights.night(sessions(1))
    assert only(nights) == ("existing", "other_payload")


def test_a_session_that_never_shows_is_hidden_or_deleted(nights: Nights, server: Ruled, clock: FakeClock) -> None:
    there(server, sessions(1)[0], ledger_id="theirs", deletedAt="2026-08-01")
    nights.night(sessions(1))
    assert only(nights) == ("existing", "hidden_or_deleted")
    assert clock.now() >= 90


def test_a_killed_attempt_with_another_payload_since_is_changed(nights: Nights, server: Ruled) -> None:
    server.latency_seconds = 1.0
    nights.night(sessions(1, user_id="u1"), killed_after=0.8)
    nights.night(sessions(1, user_id="u2"))
    assert only(nights) == ("changed", "reported")


def test_a_killed_attempt_that_was_stored_is_updated_to_what_its_trace_has_grown_to(
    nights: Nights, server: Ruled
) -> None:
    server.latency_seconds = 1.0
    nights.night(sessions(1), killed_after=0.8)
    nights.night(sessions(1, user_id="u2"))
    assert only(nights) == ("changed", "updated")
    nights.night(sessions(1, user_id="u2"))
    assert only(nights)[0] == "skipped"


@pytest.mark.parametrize("status", [404, 400, 422])
def test_an_intent_for_a_version_that_is_gone_is_taken_to_the_one_of_this_run(
    nights: Nights, server: Ruled, status: int
) -> None:
    """A product's newest version was deleted, with all that it held, while a session was on its way there."""
    server.latency_seconds = 1.0
    nights.night(sessions(3), killed_after=0.3)
    server.gone_versions = {VERSION}
    server.gone_status = status
    server.before = first(3, reply(500), method="GET")
    nights.version_id = "ver_2"
    nights.night(sessions(3))
    assert nights.failure is None
    assert {row[0] for row in nights.rows().values()} == {"created"}
    assert {version for version, _ in server.sessions} == {"ver_2"}


def test_an_intent_that_is_refused_by_a_version_that_stands_is_not_taken_elsewhere(
    nights: Nights, server: Ruled
) -> None:
    server.latency_seconds = 1.0
    nights.night(sessions(1), killed_after=0.3)
    server.before = always(reply(413, "too long"))
    nights.version_id = "ver_2"
    nights.night(sessions(1))
    assert only(nights) == ("rejected", "http_413")
    assert server.sessions == {}


def test_all_sessions_of_a_version_wait_for_one_question_and_it_uses_up_nobodys_attempts(
    nights: Nights, server: Ruled
) -> None:
    server.latency_seconds = 1.0
    nights.night(sessions(5), killed_after=0.3)
    server.gone_versions = {VERSION}
    server.before = first(3, reply(500), method="GET")
    nights.version_id = "ver_2"
    nights.upload = {"max_attempts": 4}
    nights.night(sessions(5))
    assert {row[0] for row in nights.rows().values()} == {"created"}
    assert len([seen for seen in server.log if seen.method == "GET"]) == 1
    assert attempts(nights) == [2] * 5


def test_where_nobody_says_whether_a_version_stands_the_run_goes_on_without_its_sessions(
    nights: Nights, server: Ruled
) -> None:
    server.latency_seconds = 1.0
    nights.night(sessions(2), killed_after=0.3)
    server.gone_versions = {VERSION}
    server.before = first(3, reply(500), method="GET")
    nights.version_id = "ver_2"
    nights.upload = {"max_attempts": 3}
    nights.night(sessions(30))
    assert nights.failure is None
    outcomes = {custom_id: row[0] for custom_id, row in nights.rows().items()}
    assert {outcomes.pop(f"langfuse:t{number}") for number in range(2)} == {"failed"}
    assert set(outcomes.values()) == {"created"}
    nights.night(sessions(30))
    assert {row[0] for row in nights.rows().values()} == {"skipped", "created"}
    assert {version for version, _ in server.sessions} == {"ver_2"}


def test_a_question_for_a_version_that_is_answered_as_if_it_were_a_session_decides_nothing(
    nights: Nights, server: Ruled
) -> None:
    server.latency_seconds = 1.0
    nights.night(sessions(1), killed_after=0.3)
    conflict = first(1, reply(409, "conflict"), method="GET")
    server.before = lambda method, body: reply(422, "no") if method == "POST" else conflict(method, body)
    nights.version_id = "ver_2"
    nights.night(sessions(1))
    assert nights.failure is None
    assert only(nights) == ("rejected", "http_422")


def attempts(nights: Nights) -> list[int]:
    database = open_fast(nights.state_dir)
    try:
        assert nights.run is not None
        query = "SELECT attempts FROM entry WHERE run = ?"
        return [row[0] for row in database.connection.execute(query, (nights.run.number,))]
    finally:
        database.close()


def test_time_in_which_nothing_was_on_its_way_is_no_silence_of_the_api(nights: Nights, server: Ruled) -> None:
    """The last one before a long time of reading had trouble; the first one after it may take its time."""
    server.latency_seconds = 5
    server.before = first(1, NotSentError("refused"))
    nights.upload = {"max_attempts": 1}
    nights.reading_seconds = 700
    nights.night(sessions(2), batch_size=1)
    assert nights.failure is None
    assert {row[0] for row in nights.rows().values()} == {"failed", "created"}


def test_silence_adds_up_over_what_comes_now_and_then(nights: Nights, server: Ruled) -> None:
    server.latency_seconds = 20
    server.before = always(NotSentError("refused"))
    nights.upload = {"max_attempts": 1}
    nights.reading_seconds = 30
    nights.night(sessions(100), batch_size=1)
    assert isinstance(nights.failure, StoppedError)
    assert 700 < server.clock.now() < 900


def test_the_version_of_the_run_that_is_gone_stops_it(nights: Nights, server: Ruled) -> None:
    server.gone_versions = {VERSION}
    nights.night(sessions(3))
    assert isinstance(nights.failure, FatalError)
    assert set(nights.rows().values()) and {row[0] for row in nights.rows().values()} == {"pending"}


def test_an_update_brings_it_up_to_date(nights: Nights, server: Ruled) -> None:
    nights.upload = {"on_change": "update"}
    nights.night(sessions(1))
    nights.night(sessions(1, user_id="u2"))
    assert only(nights) == ("changed", "updated")
    assert server.sessions[VERSION, "langfuse:t0"]["metadata"]["user_id"] == "u2"
    nights.night(sessions(1, user_id="u2"))
    assert only(nights) == ("skipped", None)


def test_an_update_that_fails_leaves_the_session_settled_and_is_tried_again(nights: Nights, server: Ruled) -> None:
    nights.upload = {"on_change": "update", "max_attempts": 2}
    nights.night(sessions(1))
    server.before = always(reply(500), method="PATCH")
    nights.night(sessions(1, user_id="u2"))
    assert only(nights)[0] == "unknown"  # a 500 may have been carried out
    server.before = lambda method, body: None
    nights.night(sessions(1, user_id="u2"))
    assert only(nights) == ("changed", "updated")
    assert len(server.posts()) == 1


def test_an_update_that_is_refused_for_good_is_a_reject_and_is_not_sent_again(nights: Nights, server: Ruled) -> None:
    nights.upload = {"on_change": "update"}
    nights.night(sessions(1))
    server.before = always(reply(413, "too long"), method="PATCH")
    first_night = nights.night(sessions(1, user_id="u2"))
    assert only(nights) == ("changed", "update_rejected")
    assert first_night.new_rejects == 1
    for _ in range(2):
        later = nights.night(sessions(1, user_id="u2"))
        assert only(nights) == ("changed", "update_rejected")
        assert (later.requests, later.new_rejects) == (0, 0)
    server.before = lambda method, body: None
    nights.night(sessions(1, user_id="u3"))
    assert only(nights) == ("changed", "updated")
    nights.night(sessions(1, user_id="u2"))
    assert only(nights) == ("changed", "updated")


def test_a_refused_update_is_sent_again_where_that_is_asked_for(nights: Nights, server: Ruled) -> None:
    nights.upload = {"on_change": "update"}
    nights.night(sessions(1))
    server.before = first(1, reply(413, "too long"), method="PATCH")
    nights.night(sessions(1, user_id="u2"))
    nights.upload = {"on_change": "update", "retry_rejected": True}
    nights.night(sessions(1, user_id="u2"))
    assert only(nights) == ("changed", "updated")


def test_fifty_updates_refused_alike_stop_the_run_and_are_pending_again(nights: Nights, server: Ruled) -> None:
    nights.upload = {"on_change": "update"}
    nights.night(sessions(60))
    server.before = always(reply(400, "You have no credits left"), method="PATCH")
    totals = nights.night(sessions(60, user_id="u2"))
    assert isinstance(nights.failure, FatalError)
    assert totals.outcomes == {"pending": 60}
    server.before = lambda method, body: None
    assert nights.night(sessions(60, user_id="u2")).outcomes == {"changed": 60}


def test_of_two_revisions_in_flight_the_newer_stands_in_the_end(nights: Nights, server: Ruled) -> None:
    server.latency_seconds = 1.0
    both = [
        make_session(make_trace("t0", user_id="old", revision="2026-01"), ordinal=1),
        make_session(make_trace("t0", user_id="new", revision="2026-02"), ordinal=2),
    ]
    nights.night(both, batch_size=1)
    assert only(nights) == ("created", None)
    assert server.sessions[VERSION, "langfuse:t0"]["metadata"]["user_id"] == "new"


def test_of_two_newer_revisions_on_a_later_night_the_newest_stands_in_the_end(nights: Nights, server: Ruled) -> None:
    nights.upload = {"on_change": "update"}
    nights.night([make_session(make_trace("t0", user_id="1", revision="1"))])
    server.latency_seconds = 1.0
    newer = [make_session(make_trace("t0", user_id=n, revision=n), ordinal=int(n)) for n in ("2", "3")]
    nights.night(newer, batch_size=1)
    assert only(nights) == ("changed", "updated")
    assert server.sessions[VERSION, "langfuse:t0"]["metadata"]["user_id"] == "3"


# --- look-ups first ---------------------------------------------------------------------------------------


def all_there(server: FakeServer, count: int) -> list[SessionImport]:
    made = sessions(count)
    for session in made:
        there(server, session, ledger_id="theirs")
    return made


def test_when_most_are_there_already_they_are_looked_up_before_they_are_posted(nights: Nights, server: Ruled) -> None:
    nights.upload = {"max_at_once": 4}
    totals = nights.night(all_there(server, 400))
    assert totals.outcomes == {"existing": 400}
    assert len(server.posts()) < 100


@pytest.mark.parametrize(
    "said", [RESET, reply(500), reply(422), reply(429), HTML], ids=["reset", "500", "422", "429", "403"]
)
def test_trouble_with_such_a_look_up_is_no_reason_to_stop(
    nights: Nights, server: Ruled, said: Answer | Exception
) -> None:
    nights.upload = {"max_at_once": 4}
    made = all_there(server, 300)
    trouble = first(10, said, method="GET")
    server.before = lambda method, body: trouble(method, body) if len(server.log) > 150 else None
    totals = nights.night(made)
    assert nights.failure is None
    assert set(totals.outcomes) <= {"existing", "unknown"}
    assert totals.outcomes["existing"] >= 250


# --- stopping ---------------------------------------------------------------------------------------------


def test_401_stops_at_once_and_rejects_nothing(nights: Nights, server: Ruled) -> None:
    server.before = always(reply(401, "Invalid API key"))
    nights.upload = {"max_at_once": 4}
    totals = nights.night(sessions(200))
    assert isinstance(nights.failure, FatalError)
    assert totals.outcomes == {"pending": len(nights.rows())}
    assert nights.counts.requests <= 4


def test_fifty_rejects_alike_stop_the_run_and_are_pending_again(nights: Nights, server: Ruled) -> None:
    server.before = lambda method, body: reply(400, f"credits exhausted for {body.get('customId')}")
    totals = nights.night(sessions(200))
    assert isinstance(nights.failure, FatalError)
    assert nights.failure.kind == "all_rejected_alike"
    assert set(totals.outcomes) == {"pending"}


def test_at_any_time(nights: Nights, server: Ruled) -> None:
    server.refuse = lambda body: 400 if int(body["customId"].split(":t")[1]) >= 100 else None
    totals = nights.night(sessions(200))
    assert isinstance(nights.failure, FatalError)
    assert totals.outcomes == {"created": 100, "pending": 100}


def test_fewer_than_fifty_are_rejects(nights: Nights, server: Ruled) -> None:
    server.refuse = lambda body: 400
    totals = nights.night(sessions(ALIKE_LIMIT - 1))
    assert nights.failure is None
    assert totals.outcomes == {"rejected": ALIKE_LIMIT - 1}


def test_fifty_rejects_among_good_ones_are_rejects(nights: Nights, server: Ruled) -> None:
    server.refuse = lambda body: 400 if int(body["customId"].split(":t")[1]) % 2 else None
    totals = nights.night(sessions(200))
    assert nights.failure is None
    assert totals.outcomes == {"created": 100, "rejected": 100}


def test_fifty_rejects_for_different_reasons_are_rejects(nights: Nights, server: Ruled) -> None:
    reasons = [f"reason {'x' * length}" for length in range(1, 41)]
    count = iter(range(10**6))
    server.before = lambda method, body: reply(422, reasons[next(count) % len(reasons)])
    totals = nights.night(sessions(120))
    assert nights.failure is None
    assert totals.outcomes == {"rejected": 120}


def test_an_answer_about_another_session_stops_the_run(nights: Nights, server: Ruled) -> None:
    server.before = always(Answer(201, JSON, b'{"id": "s1", "customId": "other", "versionId": "ver_1"}'))
    nights.night(sessions(3))
    assert isinstance(nights.failure, FatalError)
    assert nights.failure.kind == "identity_broken"


def test_nothing_accepted_for_long_stops_for_now(nights: Nights, server: Ruled, clock: FakeClock) -> None:
    server.before = always(reply(503))
    nights.upload = {"give_up_after_seconds": 60}
    totals = nights.night(sessions(100))
    assert isinstance(nights.failure, StoppedError)
    assert 60 < clock.now() < 70
    assert set(totals.outcomes) <= {"pending", "unknown"}


def test_a_first_trouble_after_a_long_silence_is_no_reason_to_give_up(
    nights: Nights, server: Ruled, clock: FakeClock
) -> None:
    server.before = first(1, reply(500))
    nights.upload = {"give_up_after_seconds": 60, "max_at_once": 1}

    slow = SlowReader(sessions(3), clock, seconds=300)
    nights.night(slow, batch_size=1)
    assert nights.failure is None
    assert {row[0] for row in nights.rows().values()} == {"created"}


class SlowReader(list[SessionImport]):
    """Each batch takes its time to be read."""

    def __init__(self, items: Sequence[SessionImport], clock: FakeClock, *, seconds: float) -> None:
        super().__init__(items)
        self._clock = clock
        self._seconds = seconds

    def __getitem__(self, key: Any) -> Any:
        self._clock.pass_time(self._seconds)
        return super().__getitem__(key)


def test_an_outage_of_minutes_loses_nothing_and_fails_few(nights: Nights, server: Ruled, clock: FakeClock) -> None:
    server.faults = replace(server.faults, outage=(1.0, 240.0))
    nights.upload = {"max_at_once": 16, "max_per_second": 50}
    totals = nights.night(sessions(300))
    assert nights.failure is None
    assert totals.outcomes == {"created": 300}


@pytest.mark.parametrize(
    "said",
    [reply(500), RESET, reply(429), reply(429, retry_after="5"), NotSentError("refused"), HTML],
    ids=["500", "reset", "429", "429 with Retry-After", "not sent", "an HTML 403"],
)
def test_after_a_stop_nothing_new_is_sent_not_even_again(
    nights: Nights, server: Ruled, said: Answer | Exception
) -> None:
    server.latency_seconds = 2.0
    server.before = always(said)
    nights.upload = {"max_at_once": 4}
    nights.night(sessions(50), stopped_after=1.0)
    assert nights.counts.requests == 4
    assert {row[0] for row in nights.rows().values()} == {"pending"}


def test_after_a_stop_nothing_is_looked_up(nights: Nights, server: Ruled, clock: FakeClock) -> None:
    there(server, sessions(1)[0], ledger_id="theirs", deletedAt="2026-08-01")
    server.latency_seconds = 2.0
    nights.night(sessions(1), stopped_after=1.0)
    assert only(nights)[0] == "pending"
    assert clock.now() < 5


def test_what_is_on_the_wire_is_waited_for(nights: Nights, server: Ruled) -> None:
    server.latency_seconds = 2.0
    nights.upload = {"max_at_once": 4}
    totals = nights.night(sessions(50), stopped_after=1.0)
    assert totals.outcomes["created"] == 4


def test_a_second_stop_waits_for_nothing(nights: Nights, server: Ruled, clock: FakeClock) -> None:
    server.latency_seconds = 20.0

    async def twice(uploader: Uploader, clock: FakeClock) -> None:
        await clock.sleep(1)
        uploader.stop()
        await clock.sleep(1)
        uploader.stop(at_once=True)

    nights.night(sessions(5), meanwhile=twice)
    assert clock.now() < 3
    nights.night(sessions(5))
    assert {row[0] for row in nights.rows().values()} == {"created"}
    assert len(server.sessions) == 5


def test_a_source_that_breaks_off_ends_the_run_in_order(nights: Nights, server: Ruled) -> None:
    """What is on its way is waited for and written down, and then the error is told."""

    class Torn(list[SessionImport]):
        def __getitem__(self, key: Any) -> Any:
            if key.start >= 40:
                raise UsageError("a.jsonl: cannot be read (gone)")
            return super().__getitem__(key)

    made = Torn(sessions(60))
    nights.upload = {"max_at_once": 4, "max_buffer_bytes": 10 * made[0:1][0].size}
    nights.night(made)
    assert isinstance(nights.failure, UsageError)
    created = [row for row in nights.rows().values() if row[0] == "created"]
    assert len(created) == len(server.sessions) > 0


def test_a_defect_in_a_helper_stops_the_run_and_does_not_hang_it(nights: Nights, server: Ruled) -> None:
    there(server, sessions(1)[0], ledger_id="theirs")
    server.before = always(ZeroDivisionError("a defect"), method="GET")
    nights.night(sessions(1))
    assert isinstance(nights.failure, FatalError)
    assert nights.failure.kind == "defect"


def test_the_probe_of_an_open_breaker_costs_its_session_nothing(
    nights: Nights, server: Ruled, clock: FakeClock
) -> None:
    """A storm of timeouts: probes of half a minute each would use up the deadline of whoever carries them."""
    real_send = Ruled.send

    async def slow(self: Ruled, *arguments: Any) -> Answer:
        if clock.now() < 500:
            await clock.sleep(30)
            raise RESET
        return await real_send(self, *arguments)

    nights.server = type("Slow", (Ruled,), {"send": slow})(clock, random.Random(0))
    nights.upload = {"max_at_once": 12, "record_deadline_seconds": 120}
    totals = nights.night(sessions(12))
    assert totals.outcomes == {"created": 12}


@pytest.mark.parametrize("hours", [-24, -1, 1, 24])
def test_a_clock_that_jumps_delays_and_loses_nothing(
    nights: Nights, server: Ruled, clock: FakeClock, hours: int
) -> None:
    """Only dates in Retry-After are read by the wall clock, and no pause is longer than it may be."""
    server.before = first(3, reply(429, retry_after="Sat, 22 Aug 2026 08:00:05 GMT"))

    async def jump(uploader: Uploader, clock: FakeClock) -> None:
        await clock.sleep(0.01)
        clock.wall_shift_seconds = 3600 * hours

    nights.upload = {"max_pause_seconds": 20, "max_at_once": 2}
    assert nights.night(sessions(20), meanwhile=jump).outcomes == {"created": 20}
    assert clock.now() < 100


def test_a_loop_that_stalls_for_seconds_loses_nothing(nights: Nights, server: Ruled, clock: FakeClock) -> None:
    server.before = first(5, RESET)

    async def stall(uploader: Uploader, clock: FakeClock) -> None:
        for _ in range(5):
            await clock.sleep(0.3)
            clock.pass_time(2.0)

    nights.upload = {"max_per_second": 20}
    assert nights.night(sessions(60), meanwhile=stall).outcomes == {"created": 60}
    assert len(server.sessions) == 60


# --- memory and the ledger --------------------------------------------------------------------------------


def test_no_more_is_held_in_memory_than_the_buffer_allows(nights: Nights, server: Ruled) -> None:
    made = sessions(100)
    nights.upload = {"max_at_once": 4, "max_buffer_bytes": 10 * made[0].size}
    most = [0]

    async def watch(uploader: Uploader, clock: FakeClock) -> None:
        while True:
            most[0] = max(most[0], uploader.held)
            await asyncio.sleep(0.01)

    assert nights.night(made, meanwhile=watch).outcomes == {"created": 100}
    assert most[0] <= 10


def test_one_session_that_is_larger_than_the_buffer_still_goes(nights: Nights, server: Ruled) -> None:
    nights.upload = {"max_buffer_bytes": 1}
    assert nights.night(sessions(5)).outcomes == {"created": 5}


def test_nothing_is_sent_that_the_ledger_does_not_intend(nights: Nights, server: Ruled) -> None:
    intended: list[str] = []

    def look(session: dict[str, Any]) -> None:
        from pipeline.ledger.database import open_database

        database = open_database(nights.state_dir)
        query = "SELECT state FROM session WHERE custom_id = ?"
        intended.append(database.connection.execute(query, (session["customId"],)).fetchone()[0])
        database.close()

    server.on_commit = look
    nights.night(sessions(30))
    assert intended == ["sent"] * 30


def test_the_traffic_is_kept_in_the_ledger(nights: Nights, server: Ruled) -> None:
    server.before = first(2, reply(429, retry_after="1"))
    totals = nights.night(sessions(10))
    assert (totals.requests, totals.throttled, totals.retries) == (12, 2, 2)
    assert totals.bytes_sent > 1_000


def test_nothing_is_rejected_for_the_reason_that_stopped_the_run_whatever_comes_in_after_it(
    nights: Nights, server: Ruled
) -> None:
    """One slow 201 comes between the refusals of those that were on the wire when the run stopped."""
    slow = {"langfuse:t3": 2.0, "langfuse:t4": 3.0, "langfuse:t5": 3.0}
    send = server.send

    async def late(method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        answer = await send(method, path, headers, body)
        await server.clock.sleep(slow.get(json.loads(body)["customId"], 0) if body else 0)
        return answer

    server.send = late  # type: ignore[method-assign]
    server.refuse = lambda body: None if body["customId"] == "langfuse:t3" else 400
    totals = nights.night(sessions(200))
    assert isinstance(nights.failure, FatalError)
    assert dict(totals.outcomes) == {"created": 1, "pending": 199}
