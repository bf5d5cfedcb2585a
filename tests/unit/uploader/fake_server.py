"""Galtea's API as a function from request to answer, in virtual time, with faults drawn from a seed.

It is told how badly to behave (`Faults`), keeps what it stored and a log of what it saw, and knows nothing of
the code under test: the tests compare what it holds with what the ledger says.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pipeline.errors import AmbiguousError, NotSentError
from pipeline.uploader.transport import Answer
from tests.fake_clock import FakeClock

JSON = {"content-type": "application/json; charset=utf-8"}
RETRY_AFTERS = (None, "0", "1", "2.5", "-3", "soon", "nan", "Sat, 22 Aug 2026 08:00:30 GMT")


@dataclass(frozen=True)
class Faults:
    """Shares of all requests, from 0 to 1, unless said otherwise."""

    not_sent: float = 0.0
    reset_before: float = 0.0
    reset_after: float = 0.0
    timeout_after_commit: float = 0.0
    status_500: float = 0.0
    status_500_after_commit: float = 0.0
    garbage_after_commit: float = 0.0
    refused: float = 0.0
    lookup_trouble: float = 0.0
    """GETs that end in a 500 or a reset."""
    show_after_seconds: float = 0.0
    """A commit is visible to GET at some moment up to so much later."""
    outage: tuple[float, float] | None = None
    """From when to when every request is answered with 503, without Retry-After."""
    per_second: float | None = None
    """The rate limit: a token bucket with one second of burst."""


class Seen(NamedTuple):
    """One request, as the server saw it."""

    at: float
    method: str
    custom_id: str | None
    what: str


@dataclass
class FakeServer:
    """A Transport. `refuse` gives the status for a POST that this server finds wrong, and None for a good one."""

    clock: FakeClock
    chance: random.Random
    faults: Faults = Faults()
    latency_seconds: float = 0.05
    refuse: Callable[[dict[str, Any]], int | None] = lambda body: None
    sessions: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    log: list[Seen] = field(default_factory=list)
    on_commit: Callable[[dict[str, Any]], None] = lambda session: None
    gone_versions: set[str] = field(default_factory=set)
    """Deleted, with all that they held."""
    gone_status: int = 404

    def __post_init__(self) -> None:
        self._tokens = self.faults.per_second or 0.0
        self._filled_at = self.clock.now()

    async def send(self, method: str, path_and_query: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        parts = urlsplit(path_and_query)
        sent = json.loads(body) if body is not None else {}
        custom_id = sent.get("customId")
        if self._hits(self.faults.not_sent):
            await self.clock.sleep(self.latency_seconds)
            raise NotSentError("connection refused", kind="connect")
        await self.clock.sleep(self.latency_seconds / 2)
        before = self._before(method)
        if before is None:
            answer = self._answer(method, parts.path, parse_qs(parts.query), sent)
            what = str(answer.status)
        else:
            answer, what = before, before if isinstance(before, str) else str(before.status)
        self.log.append(Seen(self.clock.now(), method, custom_id, what))
        if isinstance(answer, str):
            raise AmbiguousError("connection reset", kind="reset")
        if method == "POST" and answer.status == 201:
            answer = await self._spoilt(answer)
        await self.clock.sleep(self.latency_seconds / 2)
        return answer

    async def close(self) -> None:
        """Nothing is open."""

    # --- faults -------------------------------------------------------------------------------------------

    def _hits(self, share: float) -> bool:
        return share > 0 and self.chance.random() < share

    def _before(self, method: str) -> Answer | str | None:
        """What goes wrong before anything is done: an answer, "reset", or nothing."""
        faults, now = self.faults, self.clock.now()
        if faults.outage is not None and faults.outage[0] <= now < faults.outage[1]:
            return _error(503, "Service Unavailable")
        if not self._takes_token() or self._hits(faults.refused):
            wait = self.chance.choice(RETRY_AFTERS) if faults.refused else None
            return _error(429, "slow down", **({} if wait is None else {"retry-after": wait}))
        if method == "GET":
            return "reset" if self._hits(faults.lookup_trouble) else None
        if self._hits(faults.reset_before):
            return "reset"
        return _error(500, "Something went wrong") if self._hits(faults.status_500) else None

    def _takes_token(self) -> bool:
        rate = self.faults.per_second
        if rate is None:
            return True
        now = self.clock.now()
        self._tokens = min(max(rate, 1.0), self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def _spoilt(self, answer: Answer) -> Answer:
        """What goes wrong once the session is stored."""
        faults = self.faults
        if self._hits(faults.reset_after):
            raise AmbiguousError("connection reset", kind="reset")
        if self._hits(faults.timeout_after_commit):
            await self.clock.sleep(30)
            raise AmbiguousError("no answer in time", kind="timeout")
        if self._hits(faults.status_500_after_commit):
            return _error(500, "Something went wrong")
        if self._hits(faults.garbage_after_commit):
            return Answer(201, JSON, answer.body[: len(answer.body) // 2])
        return answer

    # --- what it does -------------------------------------------------------------------------------------

    def _answer(self, method: str, path: str, query: dict[str, list[str]], sent: dict[str, Any]) -> Answer:
        if method == "GET" and path.startswith("/versions/"):
            return self._version(path.rsplit("/", 1)[-1])
        if method == "GET":
            return self._list(query)
        if method == "PATCH":
            return self._patch(path.rsplit("/", 1)[-1], sent)
        if sent["versionId"] in self.gone_versions:
            return _error(self.gone_status, f"Version {sent['versionId']} not found")
        status = self.refuse(sent)
        if status is not None:
            return _error(status, f"{sent['customId']} is not acceptable")
        return self.create(sent)

    def create(self, sent: dict[str, Any]) -> Answer:
        """POST /sessions, without faults: also how a test puts something there beforehand."""
        key = (sent["versionId"], sent["customId"])
        if key in self.sessions:
            return _error(400, f"A Session with the same customId: '{key[1]}' already exists for '{key[0]}'.")
        context = sent.get("context")
        session = {
            "testCaseId": None,
            **sent,
            "id": f"session_{len(self.sessions) + 1}",
            "context": {"value": context} if isinstance(context, str) else context,
            "createdAt": self.clock.wall().isoformat(),
        }
        self.sessions[key] = session
        session["_visible_at"] = self.clock.now() + self.chance.uniform(0, self.faults.show_after_seconds)
        self.on_commit(session)
        return _json(201, _shown(session))

    def _version(self, version_id: str) -> Answer:
        if version_id in self.gone_versions:
            return _error(404, f"Version {version_id} not found")
        return _json(200, {"id": version_id})

    def _patch(self, session_id: str, sent: dict[str, Any]) -> Answer:
        for session in self.sessions.values():
            if session["id"] == session_id:
                session.update(sent)
                return _json(200, _shown(session))
        return _error(404, "Session not found")

    def _list(self, query: dict[str, list[str]]) -> Answer:
        found = [
            _shown(session)
            for (version_id, custom_id), session in self.sessions.items()
            if version_id in query["versionIds"]
            and version_id not in self.gone_versions
            and custom_id in query["customIds"]
            and not session.get("deletedAt")
            and session["_visible_at"] <= self.clock.now()
        ]
        return _json(200, found)

    @staticmethod
    def parsed(body: bytes) -> dict[str, Any]:
        """A body as the server reads it."""
        value: dict[str, Any] = json.loads(body)
        return value

    # --- what a test asks ---------------------------------------------------------------------------------

    def posts(self, custom_id: str | None = None) -> list[Seen]:
        """POSTs that reached the server."""
        return [seen for seen in self.log if seen.method == "POST" and custom_id in (None, seen.custom_id)]


def _shown(session: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in session.items() if not key.startswith("_")}


def _json(status: int, value: Any) -> Answer:
    return Answer(status, JSON, json.dumps(value).encode())


def _error(status: int, message: str, **headers: str) -> Answer:
    return Answer(status, {**JSON, **headers}, json.dumps({"message": message}).encode())
