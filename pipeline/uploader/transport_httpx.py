"""The portable transport: httpx, one connection to a pool and as many pools as requests at once.

httpx looks through its whole pool at every request; with 64 connections in it, it does little else.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from pipeline.errors import AmbiguousError, NotSentError, TransientError, UsageError
from pipeline.uploader.transport import (
    IDLE_SECONDS,
    MAX_ANSWER_BYTES,
    OVERALL_FACTOR,
    TOO_LONG,
    USER_AGENT,
    Answer,
    check_headers,
    connect_seconds,
)

_OUR_HEADERS = {"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "gzip, deflate"}

NewConnection = Callable[[], httpx.AsyncBaseTransport]


def connections(*, ca_file: Path | None, proxy: str | None) -> NewConnection:
    """How to make one more connection; `lambda: httpx.MockTransport(answer)` stands in for it in tests."""
    try:
        context = httpx.create_ssl_context()  # SSL_CERT_FILE, or the authorities of certifi
    except OSError as error:
        raise UsageError(f"SSL_CERT_FILE or SSL_CERT_DIR leads to no usable certificate: {error}") from error
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_SECONDS)

    def new_connection() -> httpx.AsyncBaseTransport:
        try:
            return httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits, retries=0, proxy=proxy)
        except (ImportError, ValueError, httpx.InvalidURL):  # socks without its package, an unknown scheme
            raise UsageError("the proxy that the environment names cannot be used") from None  # its password

    return new_connection


class HttpxTransport:
    """A stack of idle connections; the one used last is used next."""

    def __init__(
        self, base_url: str, *, timeout_seconds: float, max_at_once: int, new_connection: NewConnection
    ) -> None:
        self._base_url = base_url
        self._overall_seconds = OVERALL_FACTOR * timeout_seconds
        self._connect_seconds = connect_seconds(timeout_seconds)
        phases = httpx.Timeout(timeout_seconds, connect=self._connect_seconds, pool=self._connect_seconds)
        self._extensions = {"timeout": phases.as_dict()}
        self._new_connection = new_connection
        self._idle = [new_connection()]
        self._all = list(self._idle)
        self._free = asyncio.Semaphore(max_at_once)
        self._last_headers: Mapping[str, str] = {}
        self._all_headers = httpx.Headers(_OUR_HEADERS)

    async def send(self, method: str, path_and_query: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """See Transport."""
        if headers != self._last_headers:
            check_headers(headers)
            self._all_headers = httpx.Headers(_OUR_HEADERS)
            self._all_headers.update(headers)
            self._last_headers = dict(headers)
        request = httpx.Request(
            method,
            self._base_url + path_and_query,
            headers=self._all_headers,
            content=body,
            extensions=self._extensions,
        )
        try:
            async with asyncio.timeout(self._connect_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise NotSentError("no connection became free", kind="no_free_connection") from error
        try:
            async with asyncio.timeout(self._overall_seconds), self._connection() as connection:
                return await _exchange(connection, request)
        except TimeoutError as error:
            raise AmbiguousError("no complete answer in time", kind="timeout") from error
        except httpx.RequestError as error:
            raise _as_ours(error) from error
        finally:
            self._free.release()

    async def close(self) -> None:
        """See Transport."""
        self._idle.clear()
        for connection in self._all:
            await connection.aclose()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpx.AsyncBaseTransport]:
        if not self._idle:
            self._idle.append(self._new_connection())
            self._all.append(self._idle[-1])
        connection = self._idle.pop()
        try:
            yield connection
        finally:
            self._idle.append(connection)


async def _exchange(connection: httpx.AsyncBaseTransport, request: httpx.Request) -> Answer:
    response = await connection.handle_async_request(request)
    try:
        chunks: list[bytes] = []
        size = 0
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for chunk in response.stream:
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise _too_large(response)
            chunks.append(chunk)
    finally:
        await response.aclose()
    return Answer(response.status_code, dict(response.headers), _decoded(b"".join(chunks), response))


def _decoded(body: bytes, response: httpx.Response) -> bytes:
    """Decompress; httpx's own decoders have no bound, and take a truncated stream for a whole one."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise _broken(f"it is encoded as {encoding[:20]!r}, which was not asked for", response)
    raw_deflate = encoding == "deflate" and body[0] & 0x0F != 8  # some servers leave out zlib's header
    decoder = zlib.decompressobj(-15 if raw_deflate else 47)
    try:
        plain = decoder.decompress(body, MAX_ANSWER_BYTES + 1)
    except zlib.error as error:
        raise _broken(str(error), response) from error
    if len(plain) > MAX_ANSWER_BYTES:
        raise _too_large(response)
    if not decoder.eof:
        raise _broken("its compressed body ends too early", response)
    return plain


def _too_large(response: httpx.Response) -> AmbiguousError:
    text = f"the answer is longer than {MAX_ANSWER_BYTES} bytes"
    return AmbiguousError(text, kind=TOO_LONG, status=response.status_code)


def _broken(why: str, response: httpx.Response) -> AmbiguousError:
    return AmbiguousError(f"the answer is broken: {why}", kind="broken_answer", status=response.status_code)


def _as_ours(error: httpx.RequestError) -> TransientError:
    reason = (str(error) or type(error).__name__)[:200]
    if isinstance(error, httpx.PoolTimeout):
        return NotSentError("no connection became free", kind="no_free_connection")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        kind = "certificate" if "CERTIFICATE" in reason else "connect"
        return NotSentError(f"no connection: {reason}", kind=kind)
    if isinstance(error, httpx.TimeoutException):
        return AmbiguousError("no answer in time", kind="timeout")
    if isinstance(error, httpx.RemoteProtocolError | httpx.DecodingError):
        return AmbiguousError(f"the answer is broken or missing: {reason}", kind="broken_answer")
    return AmbiguousError(f"the connection broke before the answer came: {reason}", kind="disconnected")
