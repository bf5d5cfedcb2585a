"""Which sessions does the API show? Asked in groups, patiently."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from pydantic import SecretStr

from pipeline.errors import AmbiguousError, FatalError, RejectedError, TransientError
from pipeline.uploader.breaker import THRESHOLD as BREAKER_THRESHOLD
from pipeline.uploader.client import MAX_QUERY_BYTES, Client, StoredSession
from pipeline.uploader.counts import Counts
from pipeline.uploader.lookups import Lookups
from pipeline.uploader.pacing import Pace
from pipeline.uploader.transport import Answer
from tests.fake_clock import FakeClock, in_virtual_time

T = TypeVar("T")
Serve = Callable[[float, list[str]], Answer]


class Desk:
    """Lookups over a server that is a function from (time, custom ids) to an answer; `asked` is its log."""

    def __init__(self, serve: Serve, clock: FakeClock) -> None:
        self.clock = clock
        self.serve = serve
        self.asked: list[tuple[float, list[str]]] = []
        self.paths: list[str] = []
        self.pace = Pace(clock, random.Random(0), max_per_second=None, max_at_once=8, max_pause_seconds=300)
        self.counts = Counts()
        client = Client(self, SecretStr("k"), self.counts)
        self.lookups = Lookups(client, self.pace, clock, random.Random(0), self.counts)

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        ids = parse_qs(urlsplit(path).query)["customIds"]
        self.asked.append((self.clock.now(), ids))
        self.paths.append(path)
        await self.clock.sleep(0.01)
        return self.serve(self.clock.now(), ids)

    async def close(self) -> None: ...

    async def find(self, custom_id: str, patience: float = 90) -> StoredSession | None:
        return await self.lookups.find(custom_id, "ver_1", patience_seconds=patience)


def at_the_desk(serve: Serve, story: Callable[[Desk], Coroutine[Any, Any, T]]) -> T:
    async def play(clock: FakeClock) -> T:
        desk = Desk(serve, clock)
        working = asyncio.create_task(desk.lookups.run())
        try:
            return await story(desk)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    return in_virtual_time(play)


def shown(*ids: str, **fields: Any) -> Answer:
    rows = [{"id": f"s-{number}", "customId": id, "versionId": "ver_1", **fields} for number, id in enumerate(ids)]
    return Answer(200, {}, orjson.dumps(rows))


def test_many_questions_are_asked_in_groups_of_thirty() -> None:
    async def story(desk: Desk) -> list[int]:
        await asyncio.gather(*(desk.find(f"langfuse:{number}") for number in range(75)))
        return [len(ids) for _, ids in desk.asked]

    assert at_the_desk(lambda now, ids: shown(*ids), story) == [30, 30, 15]


def test_a_query_stays_short_enough_for_the_proxy() -> None:
    async def story(desk: Desk) -> int:
        await asyncio.gather(*(desk.find(f"{number}{'é' * 50}") for number in range(40)))
        return max(len(path) for path in desk.paths)

    assert at_the_desk(lambda now, ids: shown(*ids), story) <= MAX_QUERY_BYTES


def test_whoever_watches_is_told_how_many_are_asked_for_again() -> None:
    async def story(desk: Desk) -> list[int]:
        told = []
        finding = asyncio.gather(*(desk.find(id) for id in ("a", "b", "c")), desk.find("d", patience=0))
        for seconds in (0.5, 10, 90):
            await desk.clock.sleep(seconds)
            told.append(desk.counts.looked_for)
        await finding
        return told

    def serve(now: float, ids: list[str]) -> Answer:
        return shown(*(id for id in ids if id == "a" or (id == "b" and now > 5)))

    assert at_the_desk(serve, story) == [2, 1, 0]


def test_each_gets_its_own() -> None:
    async def story(desk: Desk) -> list[str | None]:
        found = await asyncio.gather(desk.find("b"), desk.find("a"))
        return [session.customId if session else None for session in found]

    assert at_the_desk(lambda now, ids: shown(*reversed(ids)), story) == ["b", "a"]


def test_of_two_the_one_made_first_counts() -> None:
    async def story(desk: Desk) -> str:
        found = await desk.find("a")
        assert found is not None
        return found.id

    def serve(now: float, ids: list[str]) -> Answer:
        rows = [
            {"id": id, "customId": "a", "versionId": "ver_1", "createdAt": day}
            for id, day in (("second", "2026-08-02"), ("first", "2026-08-01"), ("third", "2026-08-03"))
        ]
        return Answer(200, {}, orjson.dumps(rows))

    assert at_the_desk(serve, story) == "first"


def test_an_empty_answer_is_asked_again_until_the_session_shows() -> None:
    async def story(desk: Desk) -> int:
        assert await desk.find("a") is not None
        return len(desk.asked)

    assert at_the_desk(lambda now, ids: shown(*ids) if now > 60 else shown(), story) > 3


def test_after_the_patience_it_is_not_there() -> None:
    async def story(desk: Desk) -> tuple[StoredSession | None, float]:
        return await desk.find("a", patience=90), desk.clock.now()

    found, seconds = at_the_desk(lambda now, ids: shown(), story)
    assert found is None
    assert 90 <= seconds < 100


def test_without_patience_one_answer_is_enough() -> None:
    async def story(desk: Desk) -> int:
        assert await desk.find("a", patience=0) is None
        return len(desk.asked)

    assert at_the_desk(lambda now, ids: shown(), story) == 1


def test_a_later_is_waited_for_and_costs_no_patience_of_anybody() -> None:
    def serve(now: float, ids: list[str]) -> Answer:
        return shown(*ids) if now > 100 else Answer(429, {"retry-after": "101"}, b"")

    async def story(desk: Desk) -> StoredSession | None:
        return await desk.find("a", patience=5)

    assert at_the_desk(serve, story) is not None


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [(403, "text/html", b"<html>"), (414, "text/html", b"<html>"), (414, "application/json", b"{}")],
)
def test_a_query_that_a_proxy_refuses_is_asked_in_halves(status: int, content_type: str, body: bytes) -> None:
    def serve(now: float, ids: list[str]) -> Answer:
        return shown(*ids) if len(ids) <= 4 else Answer(status, {"content-type": content_type}, body)

    async def story(desk: Desk) -> list[StoredSession | None]:
        return await asyncio.gather(*(desk.find(f"id-{number}") for number in range(20)))

    assert None not in at_the_desk(serve, story)


def test_who_asks_for_too_long_an_id_is_told() -> None:
    async def story(desk: Desk) -> None:
        with pytest.raises(TransientError):
            await desk.find("a")

    at_the_desk(lambda now, ids: Answer(403, {"content-type": "text/html"}, b"<html>"), story)


def test_trouble_is_asked_again() -> None:
    def serve(now: float, ids: list[str]) -> Answer:
        return shown(*ids) if now > 20 else Answer(500, {}, b"")

    async def story(desk: Desk) -> StoredSession | None:
        return await desk.find("a", patience=90)

    assert at_the_desk(serve, story) is not None


def test_an_outage_longer_than_the_patience_is_no_answer() -> None:
    """Patience is for empty answers: what nobody answered is not known."""

    def serve(now: float, ids: list[str]) -> Answer:
        return shown(*ids) if now > 200 else Answer(503, {}, b"")

    async def story(desk: Desk) -> StoredSession | None:
        return await desk.find("a", patience=90)

    assert at_the_desk(serve, story) is not None


def test_after_such_an_outage_one_empty_answer_is_not_the_end() -> None:
    """Its patience is over by the clock, and nobody has looked yet: a reader that just came up may lag."""

    def serve(now: float, ids: list[str]) -> Answer:
        return Answer(503, {}, b"") if now < 200 else shown(*ids) if now > 206 else shown()

    async def story(desk: Desk) -> StoredSession | None:
        return await desk.find("a", patience=90)

    assert at_the_desk(serve, story) is not None


def test_a_block_by_the_proxy_that_passes_is_waited_out() -> None:
    def serve(now: float, ids: list[str]) -> Answer:
        return shown(*ids) if now > 20 else Answer(403, {"content-type": "text/html"}, b"<html>")

    async def story(desk: Desk) -> StoredSession | None:
        return await desk.find("a", patience=90)

    assert at_the_desk(serve, story) is not None


def test_trouble_without_end_is_told() -> None:
    async def story(desk: Desk) -> None:
        with pytest.raises(AmbiguousError):
            await desk.find("a", patience=0)

    at_the_desk(lambda now, ids: Answer(500, {}, b""), story)


def test_a_refused_question_concerns_its_group_only() -> None:
    def serve(now: float, ids: list[str]) -> Answer:
        return Answer(422, {}, b"{}") if "bad" in ids else shown(*ids)

    async def story(desk: Desk) -> StoredSession | None:
        with pytest.raises(RejectedError):
            await desk.find("bad")
        return await desk.find("good")

    assert at_the_desk(serve, story) is not None


def test_one_refused_question_spoils_no_other_of_its_group() -> None:
    def serve(now: float, ids: list[str]) -> Answer:
        return Answer(400, {}, b"{}") if "bad" in ids else shown(*ids)

    async def story(desk: Desk) -> list[StoredSession | BaseException | None]:
        ids = [f"id-{number}" for number in range(9)]
        return await asyncio.gather(*(desk.find(id) for id in ("bad", *ids)), return_exceptions=True)

    bad, *good = at_the_desk(serve, story)
    assert isinstance(bad, RejectedError)
    assert all(isinstance(found, StoredSession) for found in good)


def test_a_key_that_is_not_accepted_is_fatal() -> None:
    async def story(desk: Desk) -> None:
        with pytest.raises(FatalError):
            await desk.find("a")

    at_the_desk(lambda now, ids: Answer(401, {}, b"{}"), story)


@pytest.mark.parametrize("status", [422, 401, 403])
def test_any_answer_to_the_breakers_probe_closes_the_breaker(status: int) -> None:
    async def story(desk: Desk) -> bool:
        for _ in range(BREAKER_THRESHOLD):
            async with desk.pace.turn():
                desk.pace.troubled(was_probe=False, is_lookup=True)
        assert desk.pace.is_waiting
        with pytest.raises((RejectedError, FatalError, TransientError)):
            await desk.find("a")
        return desk.pace.is_waiting

    reply = Answer(status, {"content-type": "text/html" if status == 403 else "application/json"}, b"<html>")
    assert at_the_desk(lambda now, ids: reply, story) is False


def test_groups_that_a_proxy_made_small_grow_again() -> None:
    async def story(desk: Desk) -> int:
        await asyncio.gather(*(desk.find(f"a{number}") for number in range(30)))
        asked_before = len(desk.asked)
        await asyncio.gather(*(desk.find(f"b{number}") for number in range(90)))
        return len(desk.asked) - asked_before

    blocked = Answer(403, {"content-type": "text/html"}, b"<html>no")
    assert at_the_desk(lambda now, ids: blocked if now < 5 else shown(*ids), story) < 12


def test_who_finds_sessions_gets_on_although_the_last_post_failed() -> None:
    async def story(desk: Desk) -> float:
        desk.pace.troubled(was_probe=False)
        await desk.clock.sleep(10)
        await desk.find("a")
        return desk.pace.trouble_seconds

    assert at_the_desk(lambda now, ids: shown(*ids), story) == 0


def test_who_finds_nothing_while_posts_fail_does_not_get_on() -> None:
    async def story(desk: Desk) -> float:
        desk.pace.troubled(was_probe=False)
        await desk.clock.sleep(10)
        await desk.find("a", patience=0)
        return desk.pace.trouble_seconds

    assert at_the_desk(lambda now, ids: shown(), story) >= 10
