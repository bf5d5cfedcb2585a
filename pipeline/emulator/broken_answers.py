"""Answers that go wrong on the socket: reset, never, cut off, dripping, closed without a word."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from pipeline.emulator.faults import Do
from pipeline.emulator.wire import HTML, JSON, Answer, phrase

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Pause = Callable[[float], Awaitable[None]]

TRANSPORT = "transport"
"""Where in the ASGI state the server puts the connection's transport."""
UNFINISHED = b'{"id": "session_'
_CLOSE_WITH_RST = struct.pack("ii", 1, 0)


def fault_answer(do: Do, answer: Answer | None) -> Answer:
    """What is answered instead of `answer`, which is None where nothing was done."""
    if do.status is None:
        assert answer is not None
        if do.garbage:
            answer.body = UNFINISHED
        return answer
    content = do.body if do.body is not None else {"message": _message(do.status)}
    body = content.encode() if isinstance(content, str) else orjson.dumps(content)
    content_type = JSON if not isinstance(content, str) else HTML if content.lstrip().startswith("<") else "text/plain"
    headers = [(name.lower().encode(), str(value).encode("latin-1")) for name, value in (do.headers or {}).items()]
    given = dict(headers).get(b"content-type")
    return Answer(
        do.status,
        UNFINISHED if do.garbage else body,
        given.decode() if given else content_type,
        [header for header in headers if header[0] != b"content-type"],
        session_id=answer.session_id if answer else None,
        stored=answer.stored if answer else None,
        turn_ids=answer.turn_ids if answer else None,
        spans=answer.spans if answer else None,
        rejected_spans=answer.rejected_spans if answer else None,
    )


async def send_answer(answer: Answer, send: Send) -> None:
    await send(_start(answer))
    await send({"type": "http.response.body", "body": answer.body})


async def send_broken(answer: Answer, do: Do, *, scope: Scope, receive: Receive, send: Send, pause: Pause) -> None:
    if do.truncate:
        await send(_start(answer))
        await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})
        _transport(scope).close()
        await disconnected(receive)
    elif do.wrong_length:
        _transport(scope).write(_with_length(answer, len(answer.body) // 2))
        _transport(scope).close()
        await disconnected(receive)
    elif do.drip:
        milliseconds = 1000.0 if do.drip is True else float(do.drip)
        await send(_start(answer))
        for position in range(len(answer.body)):
            await send(
                {
                    "type": "http.response.body",
                    "body": answer.body[position : position + 1],
                    "more_body": True,
                }
            )
            await pause(milliseconds / 1000)
        await send({"type": "http.response.body", "body": b""})
    else:
        await send_answer(answer, send)
    if do.close_after:
        _transport(scope).close()


async def reset(scope: Scope, receive: Receive) -> None:
    """A real RST: the kernel throws away what is not sent, and the peer reads ECONNRESET."""
    transport = _transport(scope)
    # The transport's own socket object may be a shadow of the real one; the linger time belongs to both.
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_WITH_RST)
    transport.abort()
    await disconnected(receive)


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _transport(scope: Scope) -> asyncio.Transport:
    transport: asyncio.Transport = scope["state"][TRANSPORT]
    return transport


def _start(answer: Answer) -> dict[str, Any]:
    headers = [*answer.headers]
    if answer.status not in (204, 304):
        headers.append((b"content-type", answer.content_type.encode()))
        headers.append((b"content-length", b"%d" % len(answer.body)))
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


def _with_length(answer: Answer, length: int) -> bytes:
    """As bytes: the HTTP library would not write what contradicts itself."""
    start = _start(answer)
    lines = [b"HTTP/1.1 %d %b" % (answer.status, phrase(answer.status).encode())]
    for name, value in start["headers"]:
        lines.append(b"%b: %b" % (name, b"%d" % length if name == b"content-length" else value))
    return b"\r\n".join(lines) + b"\r\n\r\n" + answer.body


def _message(status: int) -> str:
    return "Something went wrong" if status >= 500 else phrase(status)
