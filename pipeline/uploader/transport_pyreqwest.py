"""The fast transport: pyreqwest, that is hyper and rustls on a thread of their own.

Facts this file stands on; the tests hold the first two. The *class* of pyreqwest's exceptions does not tell the
phase: an answer that never came is a ConnectTimeoutError, a reset after the request was read is a ConnectError.
The second of its causes does: hyper-util's "client error (Connect)" stands for everything before a connection is
ready. hyper sends a request again by itself only where a kept-alive connection was found closed before the first
byte of it was written. Cancelling a task leaves its request running, connection and all, until it times out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    BuilderError,
    ClientClosedError,
    DecodeError,
    PoolTimeoutError,
    RequestError,
    RequestTimeoutError,
)
from pyreqwest.http import HeaderMap
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.response import Response

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

_SENSITIVE = {"authorization", "proxy-authorization", "cookie", "x-api-key"}


class PyreqwestTransport:
    """A pool of HTTP/1.1 connections inside one pyreqwest client."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: float,
        max_at_once: int,
        ca_file: Path | None,
        proxy: str | None,
    ) -> None:
        self._base_url = base_url
        self._client = _build_client(timeout_seconds, max_at_once, ca_file, proxy)
        self._last_headers: Mapping[str, str] = {}
        self._last_header_map = HeaderMap()

    async def send(self, method: str, path_and_query: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """See Transport."""
        request = self._client.request(method, self._base_url + path_and_query).headers(self._header_map(headers))
        if body is not None:
            request = request.body_bytes(body)
        try:
            async with request.build_streamed() as response:
                return Answer(response.status, _headers(response.headers), await _read_body(response))
        except RequestError as error:
            raise _as_ours(error) from error

    async def close(self) -> None:
        """See Transport."""
        await self._client.close()

    def _header_map(self, headers: Mapping[str, str]) -> HeaderMap:
        """Built anew only when the headers differ from the last ones: on the hot path they never do."""
        if headers != self._last_headers:
            check_headers(headers)
            header_map = HeaderMap()
            for name, value in headers.items():
                header_map.append(name, value, is_sensitive=name.lower() in _SENSITIVE)
            self._last_headers, self._last_header_map = dict(headers), header_map
        return self._last_header_map


def _build_client(timeout_seconds: float, max_at_once: int, ca_file: Path | None, proxy: str | None) -> Client:
    def configured() -> ClientBuilder:
        builder = (
            ClientBuilder()
            .user_agent(USER_AGENT)
            .http1_only()
            .follow_redirects(False)
            .referer(False)
            .max_connections(max_at_once)
            .pool_max_idle_per_host(max_at_once)
            .pool_idle_timeout(timedelta(seconds=IDLE_SECONDS))
            .pool_timeout(timedelta(seconds=connect_seconds(timeout_seconds)))
            .connect_timeout(timedelta(seconds=connect_seconds(timeout_seconds)))
            .read_timeout(timedelta(seconds=timeout_seconds))  # until the headers it runs from the very start
            .timeout(timedelta(seconds=OVERALL_FACTOR * timeout_seconds))
            .no_proxy()  # the library's own reading of the environment; see proxy_for
        )
        if ca_file is not None:
            builder = builder.add_root_certificate_pem(ca_file.read_bytes())
        if proxy is not None:
            try:
                builder = builder.proxy(ProxyBuilder.all(proxy))
            except ValueError:
                raise UsageError("the proxy that the environment names cannot be used") from None  # its password
        return builder

    try:
        return configured().build()
    except BuilderError as error:
        if "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ:
            raise UsageError("SSL_CERT_FILE or SSL_CERT_DIR leads to no usable certificate authority") from error
    import certifi  # noqa: PLC0415  (a machine without authorities of its own, as slim containers are)

    return configured().add_root_certificate_pem(Path(certifi.where()).read_bytes()).build()


def _headers(headers: HeaderMap) -> dict[str, str]:
    try:
        return dict(headers)
    except ValueError:  # one of the values is not ASCII: no reason to lose the answer
        readable = {}
        for name in headers:
            try:
                readable[name] = headers[name]
            except ValueError:
                continue
        return readable


async def _read_body(response: Response) -> bytes:
    reader = response.body_reader
    chunks: list[bytes] = []
    size = 0
    while (chunk := await reader.read_chunk()) is not None:
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise AmbiguousError(
                f"the answer is longer than {MAX_ANSWER_BYTES} bytes",
                kind=TOO_LONG,
                status=response.status,
            )
        chunks.append(chunk.to_bytes())
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _as_ours(error: RequestError) -> TransientError:
    causes = [cause["message"] for cause in error.details["causes"] or ()]
    reason = (causes[-1] if causes else error.message)[:200]
    if isinstance(error, PoolTimeoutError):
        return NotSentError("no connection became free", kind="no_free_connection")
    if causes[1:2] == ["client error (Connect)"]:
        kind = "certificate" if "certificate" in reason else "connect"
        return NotSentError(f"no connection: {': '.join(causes[2:])[:200]}", kind=kind)
    if isinstance(error, RequestTimeoutError):
        return AmbiguousError("no answer in time", kind="timeout")
    if isinstance(error, ClientClosedError):
        return AmbiguousError("the transport was closed before the answer came", kind="closed")
    if isinstance(error, DecodeError):
        return AmbiguousError(f"the answer is broken: {reason}", kind="broken_answer")
    return AmbiguousError(f"the connection broke before the answer came: {reason}", kind="disconnected")
