"""The way of a request: limits → faults → key → route → commit → log → answer.

An ASGI application by hand, without a framework, because the emulator is the server in benchmarks.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson

from pipeline.emulator import auth, control, versions
from pipeline.emulator.broken_answers import (
    Receive,
    Scope,
    Send,
    disconnected,
    fault_answer,
    reset,
    send_answer,
    send_broken,
)
from pipeline.emulator.faults import Faults, Rule
from pipeline.emulator.json_body import read_quietly
from pipeline.emulator.options import Options
from pipeline.emulator.rate_limit import Queue, RateLimit
from pipeline.emulator.routes import WITHOUT_KEY, route_of
from pipeline.emulator.session_life import AutoClose
from pipeline.emulator.store import Store
from pipeline.emulator.wire import Answer, RefusalError, Request, html_answer

COMPRESSED_FROM_BYTES = 1024
SHORT_PAUSE_SECONDS = 0.5


class Emulator:
    """The application, with its state."""

    def __init__(
        self,
        options: Options,
        store: Store,
        *,
        api_key: str | None,
        faults: Faults,
        latency_ms: float,
        seed: Callable[[Store], None],
        random_seed: int,
    ) -> None:
        self.options = options
        self.store = store
        self.faults = faults
        self.latency_ms = latency_ms
        self.random_seed = random_seed
        self.limit: RateLimit | None = None
        self.queue = Queue(options.queue_per_second) if options.queue_per_second else None
        self.auto_close = AutoClose(options)
        self.closing = asyncio.Event()
        """Set when the server ends: whoever waits on purpose stops waiting."""
        self._api_key = api_key
        self._seed = seed
        self._max_per_second: float | None = None
        self._burst: float | None = None
        self._resets = 0
        self._seed(store)
        store.commit()

    def set_limit(self, max_per_second: float | None, burst: float | None) -> None:
        """From now on; a new bucket starts full."""
        self._max_per_second, self._burst = max_per_second, burst
        self.limit = RateLimit(self.options, max_per_second, burst) if max_per_second else None

    def reset(self) -> None:
        """As at the start with an empty store, also of what has yet to be stored; the fault script begins anew."""
        self._resets += 1
        self.store.clear()
        self._seed(self.store)
        self.store.commit()
        self.faults.restart()
        self.auto_close.forget()
        self.set_limit(self._max_per_second, self._burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["path"].startswith(control.PREFIX):
            request = await self._request(scope, receive)
            await send_answer(await control.answer(self, request), send)
        else:
            await self._serve(scope, receive, send)

    async def pause(self, seconds: float) -> None:
        if 0 < seconds < SHORT_PAUSE_SECONDS:
            await asyncio.sleep(seconds)  # cheap, for a latency on every answer
        elif seconds > 0:
            try:
                await asyncio.wait_for(self.closing.wait(), seconds)
            except TimeoutError:
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        number, arrived, resets = self.store.next_request_number(), time.time(), self._resets
        decision = self.limit.take() if self.limit else None
        queued_seconds = self.queue.wait_seconds() if self.queue else 0.0
        request = await self._request(scope, receive)
        rule: Rule | None = None
        answer: Answer | None = None
        if request.is_cut_off:
            self._log(number, arrived, request, None, None)
            return
        if self.limit and decision and not decision.is_allowed:
            answer = self.limit.refusal(decision)
        else:
            rule = self.faults.strike(request.method, request.path, request.custom_id)
            if rule is None:
                answer = self.answer(request)
            else:
                answer = await self._answer_with_fault(request, rule, number, arrived)
            if self.limit and decision and answer:
                answer.headers = [*answer.headers, *self.limit.headers(decision)]
        if resets == self._resets:
            self._log(number, arrived, request, answer, rule)
        await self.store.settled()
        await self.pause(queued_seconds + (self.latency_ms + (rule.do.delay_ms if rule else 0.0)) / 1000)
        if answer is not None and self.options.compress_responses:
            _compress(answer, request)
        if rule is None:
            assert answer is not None
            await send_answer(answer, send)
        elif answer is not None and rule.do.is_answered:
            await send_broken(answer, rule.do, scope=scope, receive=receive, send=send, pause=self.pause)
        elif rule.do.hang:
            await self._hang(receive)
        else:
            await reset(scope, receive)

    def answer(self, request: Request) -> Answer:
        """What the API says, without faults and limits; what it changes is not yet committed."""
        self.auto_close.look(self.store)
        route = route_of(request)
        if route is None:
            return html_answer(self.options.unknown_route_status, f"Cannot {request.method} {request.path}")
        if self.options.max_query_bytes and len(request.query) > self.options.max_query_bytes:
            return html_answer(self.options.long_query_status, "Request blocked.")
        try:
            if route not in WITHOUT_KEY:
                auth.check_key(request, self._api_key, self.options)
            return route(self.store, self.options, request)
        except RefusalError as refusal:
            return refusal.answer()

    async def _answer_with_fault(self, request: Request, rule: Rule, number: int, arrived: float) -> Answer | None:
        """None: nothing is done, and nothing answered."""
        do, resets = rule.do, self._resets
        if do.commit_after_ms:
            self._log(number, arrived, request, None, rule)
            await self.store.settled()
            await self.pause(do.commit_after_ms / 1000)
            if resets != self._resets:
                return None
        request.visible_at = (self.store.now_ms() + do.visible_after_ms) / 1000 if do.visible_after_ms else 0.0
        request.keep_first = do.keep_first
        answer = self.answer(request) if do.commits else None
        return fault_answer(do, answer) if answer is not None or do.is_answered else None

    def _log(self, number: int, arrived: float, request: Request, answer: Answer | None, rule: Rule | None) -> None:
        """The last word on a request; without an answer it has no status."""
        is_answered = answer is not None and (rule is None or rule.do.is_answered)
        self.store.log(
            (
                number,
                arrived,
                request.method,
                request.path,
                request.query,
                len(request.body),
                request.custom_id,
                answer.status if answer and is_answered else None,
                rule.name if rule else None,
                answer.session_id if answer else None,
                answer.stored if answer else None,
                orjson.dumps(answer.turn_ids).decode() if answer and answer.turn_ids else None,
                answer.spans if answer else None,
                answer.rejected_spans if answer else None,
            )
        )

    async def _request(self, scope: Scope, receive: Receive) -> Request:
        path = scope["raw_path"].decode("ascii")
        request = Request(
            method=scope["method"],
            path=path,
            segments=tuple(unquote(segment) for segment in path[1:].split("/")),
            query=scope["query_string"].decode("ascii"),
            headers=dict(scope["headers"]),
        )
        length = request.headers.get(b"content-length", b"0")
        chunks: list[bytes] = []
        size = 0
        request.is_too_large = int(length) > self.options.max_body_bytes
        while not request.is_too_large:
            message = await receive()
            request.is_cut_off = message["type"] == "http.disconnect"
            chunk = message.get("body", b"")
            size += len(chunk)
            request.is_too_large = size > self.options.max_body_bytes
            chunks.append(chunk)
            if not message.get("more_body"):
                break
        request.body = b"".join(chunks)
        request.content = read_quietly(request.body)
        return request

    async def _hang(self, receive: Receive) -> None:
        """Until the client gives up, or the server ends."""
        waiting = [asyncio.ensure_future(disconnected(receive)), asyncio.ensure_future(self.closing.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        self.store.close()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(
    options: Options | None = None,
    *,
    data: Path | None = None,
    api_key: str | None = None,
    max_per_second: float | None = None,
    burst: float | None = None,
    latency_ms: float = 0.0,
    faults: Any = (),
    seed: int = 0,
    version_ids: Sequence[str] = (),
    product_ids: Sequence[str] = (),
    product_without_version: bool = False,
) -> Emulator:
    """The emulator as an ASGI application; `data` is the SQLite file that keeps its state beyond its end.

    `faults` is a decoded fault script (faults.py). Without `api_key`, every key that starts with `gsk_` or
    `gsk-` is valid.
    """

    def add_seeds(store: Store) -> None:
        versions.add_seeds(store, chosen, version_ids, product_ids, bare_products=product_without_version)

    chosen = options or Options()
    emulator = Emulator(
        chosen,
        Store(data),
        api_key=api_key,
        faults=Faults(faults, seed),
        latency_ms=latency_ms,
        seed=add_seeds,
        random_seed=seed,
    )
    emulator.set_limit(max_per_second, burst)
    return emulator


def _compress(answer: Answer, request: Request) -> None:
    if len(answer.body) >= COMPRESSED_FROM_BYTES and b"gzip" in request.headers.get(b"accept-encoding", b""):
        answer.body = gzip.compress(answer.body, 1)
        answer.headers = [*answer.headers, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
