"""What a route gets and what it gives: requests, answers, refusals, and how ids and times are written."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"


@dataclass(slots=True)
class Request:
    method: str
    path: str
    segments: tuple[str, ...]
    query: str
    headers: dict[bytes, bytes]
    body: bytes = b""
    content: Any = None
    """The decoded body; None where there is none or it is unreadable (routes ask `json_body` again)."""
    is_too_large: bool = False
    is_cut_off: bool = False
    """The client left before the end of its request."""
    visible_at: float = 0.0
    """What this request creates is shown from this time on."""
    keep_first: int | None = None
    """Of a batch, only so many are stored; the fault of the same name."""

    @property
    def id(self) -> str:
        """The `{id}` of `/things/{id}`."""
        return self.segments[1]

    @property
    def custom_id(self) -> str | None:
        """The custom id of the session that it names, where it does."""
        if not isinstance(self.content, dict):
            return None
        custom_id = self.content.get("customId") or self.content.get("sessionCustomId")
        return custom_id if isinstance(custom_id, str) else None


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    session_id: str | None = None
    """The session that the request was about, for the log."""
    stored: str | None = None
    """The session that the request created, for the log."""
    turn_ids: list[str] | None = None
    """The turns that it created, for the log."""
    spans: int | None = None
    """How many spans it created, for the log."""
    rejected_spans: int | None = None
    """How many it dropped."""


class RefusalError(Exception):
    """A request that is answered with an error: JSON `{"message": …}`, with `error` too where it is given."""

    def __init__(self, status: int, message: str, *, error: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error = error

    def answer(self) -> Answer:
        body = {"message": self.message} if self.error is None else {"error": self.error, "message": self.message}
        return Answer(self.status, orjson.dumps(body))


def json_answer(status: int, value: Any) -> Answer:
    return Answer(status, orjson.dumps(value))


def html_answer(status: int, text: str) -> Answer:
    """Express's error page, and near enough what a proxy sends."""
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
        f"<body>\n<pre>{text}</pre>\n</body>\n</html>\n"
    )
    return Answer(status, page.encode(), HTML)


def phrase(status: int) -> str:
    """The standard name of a status, also of those that have none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"


def iso(milliseconds: int | None) -> str | None:
    """Always milliseconds and Z, so that text order is time order."""
    if milliseconds is None:
        return None
    seconds, rest = divmod(milliseconds, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03d}Z"
