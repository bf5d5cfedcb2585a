"""What a POST costs over each HTTP client, side by side: `.venv/bin/python tests/benchmarks/transports.py`.

A raw loopback server in its own process (cheap_api.py) echoes bodies of 2 KB; the cost is the client process's CPU
(all its threads). The server's CPU is not counted, but it shares the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import shutil
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
import uvloop

from pipeline.uploader.transport import Kind, open_transport
from tests.benchmarks.cheap_api import cheap_api, make_certificate

BODY = b'{"customId":"otel:1","context":"' + b"x" * 2000 + b'"}'
HEADERS = {
    "Authorization": "Bearer gsk_benchmark",
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": "trace-import/benchmark",
}
Post = Callable[[], Awaitable[int]]
"""Sends one body, returns the status once the answer was read."""


# --- the candidates ---


def _context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


@asynccontextmanager
async def httpx_default(url: str, ca_file: Path | None, at_once: int) -> AsyncIterator[Post]:
    async with httpx.AsyncClient(verify=_context(ca_file)) as client:

        async def post() -> int:
            return (await client.post(f"{url}/sessions", headers=HEADERS, content=BODY)).status_code

        yield post


@asynccontextmanager
async def httpx_one_connection_each(url: str, ca_file: Path | None, at_once: int) -> AsyncIterator[Post]:
    context = _context(ca_file)
    one = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    idle = [httpx.AsyncClient(verify=context, limits=one) for _ in range(at_once)]
    every = list(idle)

    async def post() -> int:
        client = idle.pop()
        try:
            return (await client.post(f"{url}/sessions", headers=HEADERS, content=BODY)).status_code
        finally:
            idle.append(client)

    yield post
    for client in every:
        await client.aclose()


@asynccontextmanager
async def bare_aiohttp(url: str, ca_file: Path | None, at_once: int) -> AsyncIterator[Post]:
    connector = aiohttp.TCPConnector(limit=at_once, ssl=_context(ca_file))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post() -> int:
            async with session.post(f"{url}/sessions", headers=HEADERS, data=BODY) as response:
                await response.read()
                return response.status

        yield post


def ours(kind: Kind) -> Candidate:
    @asynccontextmanager
    async def opened(url: str, ca_file: Path | None, at_once: int) -> AsyncIterator[Post]:
        transport = open_transport(url, timeout_seconds=30, max_at_once=at_once, ca_file=ca_file, kind=kind)

        async def post() -> int:
            return (await transport.send("POST", "/sessions", HEADERS, BODY)).status

        yield post
        await transport.close()

    return opened


Candidate = Callable[[str, Path | None, int], AbstractAsyncContextManager[Post]]
BASE = "aiohttp, uvloop"
CANDIDATES: dict[str, tuple[Candidate, bool]] = {  # and whether it runs on uvloop
    "httpx.AsyncClient, asyncio": (httpx_default, False),
    "httpx, one-connection clients, asyncio": (httpx_one_connection_each, False),
    "our HttpxTransport, asyncio": (ours("httpx"), False),
    "our HttpxTransport, uvloop": (ours("httpx"), True),
    BASE: (bare_aiohttp, True),
    "our PyreqwestTransport, asyncio": (ours("pyreqwest"), False),
    "our PyreqwestTransport, uvloop": (ours("pyreqwest"), True),
}


# --- measuring ---


@dataclass(frozen=True)
class Cost:
    cpu_us: float
    per_second: float


async def measure(candidate: Candidate, url: str, ca_file: Path | None, at_once: int, seconds: float) -> Cost:
    async with candidate(url, ca_file, at_once) as post:

        async def until(end: float) -> int:
            done = 0
            while time.perf_counter() < end:
                assert await post() == 201
                done += 1
            return done

        await asyncio.gather(*(until(time.perf_counter() + 0.2) for _ in range(at_once)))  # connections, caches
        gc.collect()
        cpu, started = time.process_time(), time.perf_counter()
        done = sum(await asyncio.gather(*(until(started + seconds) for _ in range(at_once))))
        return Cost((time.process_time() - cpu) / done * 1e6, done / (time.perf_counter() - started))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved; the median counts")
    parser.add_argument("--at-once", type=int, nargs="*", default=[8, 64, 128])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ways: list[Path | None] = [None]
        if shutil.which("openssl"):
            make_certificate(folder)
            ways.append(folder)
        for certificate in ways:
            with cheap_api(certificate) as url:
                for at_once in options.at_once:
                    table(url, certificate, at_once, options.seconds, options.rounds)


def table(url: str, certificate: Path | None, at_once: int, seconds: float, rounds: int) -> None:
    ca_file = certificate / "ca.pem" if certificate else None
    costs: dict[str, list[Cost]] = {name: [] for name in CANDIDATES}
    for _ in range(rounds):
        for name, (candidate, on_uvloop) in CANDIDATES.items():
            with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else None) as runner:
                costs[name].append(runner.run(measure(candidate, url, ca_file, at_once, seconds)))
    base = statistics.median(cost.cpu_us for cost in costs[BASE])
    print(f"\n{'TLS' if certificate else 'plain'}, {at_once} in flight")
    print(f"  {'':40}{'CPU µs/request':>15}{'requests/s':>12}{'x CPU of aiohttp':>18}")
    for name, several in costs.items():
        cpu = statistics.median(cost.cpu_us for cost in several)
        rate = statistics.median(cost.per_second for cost in several)
        print(f"  {name:40}{cpu:15.0f}{rate:12.0f}{cpu / base:18.2f}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
