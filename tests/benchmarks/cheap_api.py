"""As little of Galtea's API as an import needs, in a process of its own: it takes everything and costs little.

It echoes each session whole, as the API does, so that reading the answer costs what it costs in earnest.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import re
import ssl
import subprocess
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar, cast

import orjson
import uvloop

TURNS_PAGE = 500
_HEAD = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_VERSION = b'{"id":"ver_123","name":"1","productId":"prod_1","createdAt":"2026-08-22T08:00:00.000Z","deletedAt":null}'
_PRODUCT = b'{"id":"prod_1","closedSessionInferenceCreationPolicy":"REOPEN_AND_REEVALUATE"}'
_CLOSED = b'{"id":"session_1","status":"COMPLETED"}'
_STAMP = b'","createdAt":"2026-08-22T08:00:00.000Z","testCaseId":null,"userId":"user_1","isSeed":false,'


class Answering(asyncio.Protocol):
    """As little HTTP as will do."""

    count = 0
    turns: ClassVar[dict[bytes, list[bytes]]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by inheritance
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end].lower()
            at = head.find(b"content-length:")
            whole = end + 4 + (int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0)
            if len(data) < whole:
                break
            self.transport.write(_answer(head, data[end + 4 : whole]))
            data = data[whole:]
        self.rest = data


def _answer(head: bytes, body: bytes) -> bytes:
    path = head[: head.find(b"\r")]
    if b" /inferenceresults" in path or b" /traces" in path or b"/finish" in path:
        return _answer_content(path, body)
    if head.startswith(b"post"):
        Answering.count += 1
        content = b'{"id":"session_%d%b%b' % (Answering.count, _STAMP, body[1:])
        return _HEAD % (b"201 Created", len(content)) + content
    shown = {b"/versions/": _VERSION, b"/products/": _PRODUCT, b"sdk-version": b"{}"}
    content = next((content for part, content in shown.items() if part in path), b"[]")
    return _HEAD % (b"200 OK", len(content)) + content


def _answer_content(path: bytes, body: bytes) -> bytes:
    """Turns (which are shown when they are asked for, once), spans, and the end of a session."""
    if path.startswith(b"get"):
        ids = re.findall(rb"sessionids=([^& ]+)", path)
        offset = int(re.search(rb"offset=([0-9]+)", path)[1])  # type: ignore[index]
        shown = [turn for one in ids for turn in Answering.turns.get(one, [])]
        content = b"[%b]" % b",".join(shown[offset : offset + TURNS_PAGE])
        if len(shown) <= TURNS_PAGE:
            for one in ids:
                Answering.turns.pop(one, None)
        return _HEAD % (b"200 OK", len(content)) + content
    if b"/finish" in path:
        return _HEAD % (b"200 OK", len(_CLOSED)) + _CLOSED
    if b"/batch" in path and b"/inferenceresults" in path:
        sent = orjson.loads(body)
        pairs = zip(sent["conversationTurns"][::2], sent["conversationTurns"][1::2], strict=True)
        turns = [_turn(sent["sessionId"], asked["content"], answered["content"]) for asked, answered in pairs]
        Answering.turns.setdefault(sent["sessionId"].encode(), []).extend(turns)
        content = b"[%b]" % b",".join(turns)
    elif b" /traces" in path:
        content = b'{"spans":' + body[len(b'{"traces":') :]
    else:
        Answering.count += 1
        content = b'{"id":"ir_%d",%b' % (Answering.count, body[1:])
        session_id = body[len(b'{"sessionId":"') : body.find(b'",')]
        Answering.turns.setdefault(session_id, []).append(content)
    return _HEAD % (b"201 Created", len(content)) + content


def _turn(session_id: str, asked: str, answered: str) -> bytes:
    Answering.count += 1
    turn = {"id": f"ir_{Answering.count}", "sessionId": session_id, "index": Answering.count}
    return orjson.dumps(turn | {"input": {"user_message": asked}, "actualOutput": answered, "status": "GENERATED"})


def _serve(certificate: Path | None, say_port: Connection) -> None:
    async def main() -> None:
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "server.pem", certificate / "server.key")
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, ssl=context)
        say_port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


@contextlib.contextmanager
def cheap_api(certificate: Path | None) -> Iterator[str]:
    """Its address, while it runs; with a `certificate` (make_certificate), over TLS."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(certificate, there), daemon=True)
    process.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def make_certificate(folder: Path) -> None:
    """ca.pem, and server.pem with server.key, for 127.0.0.1."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Benchmark CA")
    (folder / "server.ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    openssl("req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "server.ext")
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *sign)
