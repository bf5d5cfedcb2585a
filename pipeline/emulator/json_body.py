"""Bodies, read as strictly as Express and Postgres would: what they cannot hold is refused here."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson

from pipeline.emulator.options import Options
from pipeline.emulator.wire import RefusalError, Request

BIGGEST_EXACT_INTEGER = 2**53
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 16


def object_body(request: Request, options: Options) -> dict[str, Any]:
    """The body as an object; without a JSON content type it counts as empty, as in Express."""
    value = body_of(request, options)
    if not isinstance(value, dict):
        raise RefusalError(400, "The request body must be a JSON object.")
    return value


def body_of(request: Request, options: Options) -> Any:
    """The body, whatever JSON it is."""
    if request.is_too_large:
        raise RefusalError(options.too_large_status, "request entity too large")
    encoding = request.headers.get(b"content-encoding", b"identity")
    if encoding != b"identity":
        raise RefusalError(415, f'unsupported content encoding "{encoding.decode("latin-1")}"')
    content_type = request.headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if content_type != b"application/json" or not request.body:
        return {}
    value = request.content if request.content is not None else _decode(request.body)
    if options.nul == "reject" and b"\\u0000" in request.body and _has_nul(value):
        raise RefusalError(400, "unsupported Unicode escape sequence: \\u0000 cannot be converted to text.")
    if options.big_integers == "round" and _LONG_NUMBER in request.body.translate(_DIGITS_AS_ZEROS):
        return _rounded(value)
    return value


def read_quietly(body: bytes) -> Any:
    """The decoded body, or None; whether it had to be readable is decided later, by the route."""
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return None


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RefusalError(400, f"Invalid JSON in the request body: {error}") from error


def _has_nul(value: Any) -> bool:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if "\0" in value:
                return True
        elif isinstance(value, dict):
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False


def _rounded(value: Any) -> Any:
    """`value` as JavaScript would read it: every number a double."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, int) and abs(value) > BIGGEST_EXACT_INTEGER:
        rounded = int(Decimal(repr(float(value))))
        return rounded if abs(rounded) < 2**64 else float(value)
    return value
