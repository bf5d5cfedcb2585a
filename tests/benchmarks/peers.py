"""Other ways to create sessions from a JSONL of traces, each as people write it; `upload.py` puts them beside ours.

    python -m tests.benchmarks.peers NAME URL FILE COUNT AT_ONCE

prints CPU seconds and wall seconds of the sending alone: without imports, and where it says so without reading.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

HEADERS = {"Authorization": "Bearer gsk_benchmark", "Content-Type": "application/json"}


def payload(line: str | bytes) -> dict[str, Any]:
    """A trace row as the body of `POST /sessions`, as a script would have it."""
    row = json.loads(line)
    asked, answered = (json.loads(row[key]) for key in ("input", "output"))
    return {
        "versionId": "ver_123",
        "customId": f"langfuse:{row['id']}",
        "isProduction": False,
        "context": {"turns": [{"input": asked, "output": answered}]},
        "metadata": {key: row[key] for key in ("name", "user_id", "session_id", "tags", "environment", "metadata")},
        "status": "COMPLETED",
    }


def lines(file: Path, count: int) -> Iterator[str]:
    with file.open(encoding="utf-8") as opened:
        yield from islice(opened, count)


def _context(url: str) -> ssl.SSLContext | bool:
    return ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]) if url.startswith("https") else False


async def aiohttp_bodies(url: str, file: Path, count: int, at_once: int) -> Callable[[], Any]:
    """aiohttp on uvloop posts bodies that are ready; nothing is read, mapped, kept or accounted for."""
    import aiohttp

    bodies = iter([json.dumps(payload(line)).encode() for line in lines(file, count)])

    async def send() -> None:
        connector = aiohttp.TCPConnector(limit=at_once, ssl=_context(url))
        async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

            async def work() -> None:
                for body in bodies:
                    async with session.post(f"{url}/sessions", data=body) as response:
                        assert response.status == 201
                        await response.read()

            await asyncio.gather(*(work() for _ in range(at_once)))

    return send


async def httpx_gather(url: str, file: Path, count: int, at_once: int) -> Callable[[], Any]:
    """A plain httpx.AsyncClient and `gather`, so many at once; bodies are ready."""
    bodies = iter([json.dumps(payload(line)).encode() for line in lines(file, count)])

    async def send() -> None:
        async with httpx.AsyncClient(verify=_context(url), headers=HEADERS, timeout=30) as client:

            async def work() -> None:
                for body in bodies:
                    (await client.post(f"{url}/sessions", content=body)).raise_for_status()

            await asyncio.gather(*(work() for _ in range(at_once)))

    return send


async def cookbook(url: str, file: Path, count: int, at_once: int) -> Callable[[], Any]:
    """The loop of the cookbooks: a JSONL, a semaphore, httpx, batches that are waited for; no ledger, no retries."""

    async def send() -> None:
        free = asyncio.Semaphore(at_once)
        async with httpx.AsyncClient(verify=_context(url), headers=HEADERS, timeout=30) as client:

            async def create(line: str) -> None:
                async with free:
                    response = await client.post(f"{url}/sessions", json=payload(line))
                    response.raise_for_status()

            batch = []
            for line in lines(file, count):
                batch.append(create(line))
                if len(batch) == at_once:
                    await asyncio.gather(*batch)
                    batch.clear()
            await asyncio.gather(*batch)

    return send


def _galtea(url: str, file: Path, count: int, threads: int) -> Callable[[], None]:
    from galtea import Galtea

    client = Galtea(api_key="gsk_benchmark", base_url=url, suppress_updatable_version_message=True)

    def create(line: str) -> None:
        body = payload(line)
        client.sessions.create(
            version_id=body["versionId"],
            custom_id=body["customId"],
            is_production=False,
            context=json.dumps(body["context"]),
            metadata=body["metadata"],
        )

    def send() -> None:
        if threads == 1:
            for line in lines(file, count):
                create(line)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(create, lines(file, count)):
                pass

    return send


def galtea_loop(url: str, file: Path, count: int, _at_once: int) -> Callable[[], None]:
    """The official SDK, one session after the other."""
    return _galtea(url, file, count, 1)


def galtea_threads(url: str, file: Path, count: int, _at_once: int) -> Callable[[], None]:
    """The official SDK in 16 threads."""
    return _galtea(url, file, count, 16)


PEERS: dict[str, Callable[..., Any]] = {
    "aiohttp + uvloop, bodies ready": aiohttp_bodies,
    "httpx.AsyncClient, gather": httpx_gather,
    "cookbook loop (httpx, JSONL)": cookbook,
    "galtea SDK, a loop": galtea_loop,
    "galtea SDK, 16 threads": galtea_threads,
}


def main() -> None:
    name, url, file, count, at_once = sys.argv[1:]
    peer = PEERS[name]
    if asyncio.iscoroutinefunction(peer):
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop if "uvloop" in name else None) as runner:
            send = runner.run(peer(url, Path(file), int(count), int(at_once)))
            cpu, wall = time.process_time(), time.perf_counter()
            runner.run(send())
    else:
        send = peer(url, Path(file), int(count), int(at_once))
        cpu, wall = time.process_time(), time.perf_counter()
        send()
    print(time.process_time() - cpu, time.perf_counter() - wall, flush=True)
    os._exit(0)  # the SDK leaves threads and connections behind


if __name__ == "__main__":
    main()
