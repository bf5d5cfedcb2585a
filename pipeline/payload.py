"""The bodies that are sent for a session, the mark they carry, and the hash that the mark carries.

The text is put together from parts that are JSON already: each value is serialised once, and the version,
which a retry may take from its intent, is known only when the body leaves. Source: create-session-reference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from pipeline import __version__, json_text
from pipeline.models import SessionImport, Status

NOTHING = b"null"
"""The context of a session that has none: it is not sent, and an update takes away what was there."""


def create_body(session: SessionImport, custom_id: str, *, version_id: str, ledger_id: str) -> bytes:
    """The JSON body of `POST /sessions`."""
    is_open = session.content is not None  # its turns are still to come
    head = b'{"versionId":%b,"customId":%b,"isProduction":false,"status":"%b",' % (
        orjson.dumps(version_id),
        orjson.dumps(custom_id),
        Status.PENDING.encode() if is_open else session.status.encode(),
    )
    context = () if session.context == NOTHING else (b'"context":', session.context, b",")
    return b"".join([head, *context, *_metadata(session, ledger_id), b"}"])


def update_body(session: SessionImport, *, ledger_id: str, status: str | None) -> bytes:
    """The JSON body of `PATCH /sessions/{id}`: sending it twice changes nothing more. `status` None: it stays."""
    state = b"" if status is None else b'"status":"%b",' % status.encode()
    if session.content is not None and status is Status.PENDING:
        state += b'"stoppingReason":null,"error":null,'  # how it ended is told anew
    return b"".join([b"{", state, b'"context":', session.context, b",", *_metadata(session, ledger_id), b"}"])


def payload_sha256(status: str, context: bytes, metadata: bytes) -> str:
    """Hash of what a session holds: without ids (they say where, not what) and without the mark."""
    whole = hashlib.sha256(b'"isProduction":false,"status":"%b","context":' % status.encode())
    for part in (context, b',"metadata":', metadata):
        whole.update(part)
    return whole.hexdigest()


def stored_sha256s(status: str, context: Any, metadata: Mapping[str, Any]) -> frozenset[str]:
    """The hashes that a session on the server may have been sent with.

    Two, where its context is `{"value": text}`: so the API returns a plain text, and so an object may look.
    """
    bare = {key: value for key, value in metadata.items() if key != "trace_import"}
    contexts = [context]
    if isinstance(context, dict) and list(context) == ["value"] and isinstance(context["value"], str):
        contexts.append(context["value"])
    encoded = json_text.encode(bare)
    return frozenset(payload_sha256(status, json_text.encode(value), encoded) for value in contexts)


def _metadata(session: SessionImport, ledger_id: str) -> Iterator[bytes | memoryview]:
    """In pieces: it may be long, and is copied once."""
    mark = orjson.dumps({"ledger": ledger_id, "sha256": session.payload_sha256, "version": __version__})
    comma = b"," if len(session.metadata) > 2 else b""
    yield b'"metadata":'
    yield memoryview(session.metadata)[:-1]
    yield b'%b"trace_import":%b}' % (comma, mark)
