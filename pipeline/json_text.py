"""JSON text to values and back, as traces need it: nothing real is refused, no digit of an id is lost.

The strict parser comes first; what it refuses but is JSON for most tools (NaN, 1e400, a lone surrogate) is
read again leniently, and what had to be replaced is counted by kind:

| kind | replaced | by |
|---|---|---|
| nan_to_null | NaN, Infinity, a float beyond the range of a double | null |
| lone_surrogate | half of a surrogate pair | U+FFFD |
| nul | U+0000, which databases behind JSON APIs refuse | U+FFFD |
| big_integer | an integer beyond ±(2^53 - 1), which JavaScript rounds; when JSON is written | a string |

Measured (3 KB trace record, one core, µs): orjson.loads 3.9, msgspec 4.0, pydantic_core.from_json 5.4,
json.loads 15; decode() 5.6. orjson turns integers of more than 64 bits into floats: it cannot be the parser.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import orjson

from pipeline.on_disk import OnDisk

MAX_DEPTH = 254
"""Arrays and objects inside each other. It is orjson's own limit, so that its speed serves all we accept, and
far from Python's recursion limit, so that whoever walks a value may recurse."""

NO_REPAIRS: Mapping[str, int] = MappingProxyType({})


class NotJsonError(ValueError):
    """The bytes are no JSON text; `kind` is not_json, not_utf8 or too_deep; `column` from 1 (0: unknown)."""

    def __init__(self, reason: str, *, kind: str = "not_json", column: int = 0, line: int = 1) -> None:
        where = f" at line {line} column {column}" if line > 1 else f" at column {column}" if column else ""
        what = {"not_json": f"not JSON ({reason})", "not_utf8": f"not UTF-8 ({reason})"}.get(kind, reason)
        super().__init__(what + where)
        self.reason = reason
        self.kind = kind
        self.column = column
        self.line = line


class Decoded(NamedTuple):
    """A value and what was replaced to get it, counted by kind."""

    value: Any
    repairs: Mapping[str, int]


# --- from JSON --------------------------------------------------------------------------------------------

_decode_strictly = msgspec.json.Decoder().decode
_BOM = b"\xef\xbb\xbf"


def decode(raw: bytes) -> Decoded:
    """The value of one JSON text; integers keep all digits. Raises NotJsonError."""
    # The first search is a memchr, ten times faster than the second, and often enough.
    backslash = raw.find(b"\\")
    if backslash >= 0 and raw.find(b"\\u0000", backslash) >= 0:
        return _decode_leniently(raw)
    try:
        value = _decode_strictly(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_leniently(raw)
    # "More than MAX_DEPTH brackets open?" in three passes of memchr, 0.6 µs where counting them takes 2.
    if b"{" in raw.replace(b"[", b"{").replace(b"{", b" ", MAX_DEPTH) and is_too_deep(value):
        raise _too_deep()
    return Decoded(value, NO_REPAIRS)


def is_too_deep(value: Any) -> bool:
    """Are there more than MAX_DEPTH arrays and objects inside each other?"""
    try:
        orjson.dumps(value)  # four times faster than a walk; it refuses what is too deep, and big integers
    except TypeError:
        level = [value]
        for _ in range(MAX_DEPTH):
            level = [
                child
                for parent in level
                for child in (parent.values() if isinstance(parent, dict) else parent)
                if isinstance(child, dict | list)
            ]
        return bool(level)
    return False


def _too_deep() -> NotJsonError:
    return NotJsonError(f"nested deeper than {MAX_DEPTH} levels", kind="too_deep")


def _decode_leniently(raw: bytes) -> Decoded:
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise NotJsonError(f"byte 0x{raw[error.start]:02x}", kind="not_utf8", column=error.start + 1) from None
    if _is_text_too_deep(text):
        raise _too_deep()
    repairs: dict[str, int] = {}
    try:
        value = _LenientDecoder(repairs).decode(text)
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:].removesuffix(" at").removesuffix(" starting")
        raise NotJsonError(reason, column=error.colno, line=error.lineno) from None
    # The parser has unescaped the text, so only now surrogates without a partner and NULs can be seen.
    value = _Cleaner(repairs).clean(value)
    return Decoded(value, repairs or NO_REPAIRS)


class _LenientDecoder(json.JSONDecoder):
    def __init__(self, repairs: dict[str, int]) -> None:
        def to_null(_text: str) -> float | None:
            _count(repairs, "nan_to_null")
            return None

        def to_float(text: str) -> float | None:
            number = float(text)
            return number if math.isfinite(number) else to_null(text)

        def to_int(text: str) -> int | str:
            if len(text) <= _MAX_INT_DIGITS:
                return int(text)
            _count(repairs, "big_integer")
            return text

        super().__init__(parse_float=to_float, parse_int=to_int, parse_constant=to_null)


_MAX_INT_DIGITS = 4300
"""Python's own limit for int(text): beyond it, reading takes quadratic time."""

_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)|[\[{]|([\]}])', re.DOTALL)


def _is_text_too_deep(text: str) -> bool:
    """Whether brackets open more than MAX_DEPTH times, whatever else is wrong with the text."""
    depth = 0
    if text.count("[") + text.count("{") > MAX_DEPTH:
        for found in _STRING_OR_BRACKET.finditer(text):
            if found[1]:
                depth -= 1
            elif text[found.start()] != '"':
                depth += 1
                if depth > MAX_DEPTH:
                    return True
    return False


# --- from other values ------------------------------------------------------------------------------------


def clean(value: Any) -> tuple[Any, Mapping[str, int]]:
    """A value of Python's richer types as JSON values, and what was replaced.

    Times become ISO 8601 in UTC with microseconds (naive ones are UTC already), durations seconds, decimals
    integers where they are whole, bytes text where they are UTF-8 and base64 otherwise.
    """
    repairs: dict[str, int] = {}
    return _Cleaner(repairs).clean(value), repairs or NO_REPAIRS


_UNCLEAN = re.compile("[\0\ud800-\udfff]")


class _Cleaner:
    def __init__(self, repairs: dict[str, int]) -> None:
        self._repairs = repairs

    def clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.key(key): self.clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean(item) for item in value]
        return self.scalar(value)

    def text(self, value: str) -> str:
        return _UNCLEAN.sub(self._replace, value) if _UNCLEAN.search(value) else value

    def _replace(self, found: re.Match[str]) -> str:
        _count(self._repairs, "nul" if found[0] == "\0" else "lone_surrogate")
        return "\ufffd"

    def key(self, value: Any) -> str:
        if isinstance(value, str):
            return self.text(value)
        cleaned = self.clean(value)
        return cleaned if isinstance(cleaned, str) else encode(cleaned).decode()

    def scalar(self, value: Any) -> Any:
        match value:
            case None | bool() | int():
                return value
            case float():
                return self._finite(value)
            case datetime():
                return _iso_utc(value)
            case date() | time():
                return value.isoformat()
            case timedelta():
                return value.total_seconds()
            case Decimal():
                return self._number(value)
            case bytes() | bytearray() | memoryview():
                return self._bytes(bytes(value))
            case UUID():
                return str(value)
            case Enum():
                return self.clean(value.value)
            case set() | frozenset():
                return sorted((self.clean(item) for item in value), key=encode)
        return self.text(str(value))

    def _finite(self, value: float) -> float | None:
        if math.isfinite(value):
            return float(value)
        _count(self._repairs, "nan_to_null")
        return None

    def _number(self, value: Decimal) -> Any:
        if not value.is_finite():
            return self._finite(math.nan)
        if value.adjusted() > _MAX_INT_DIGITS:
            return str(value)
        if value == value.to_integral_value():
            return int(value)
        return float(value) if Decimal(repr(float(value))) == value else str(value)

    def _bytes(self, value: bytes) -> str:
        try:
            return self.text(value.decode("utf-8"))
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()


def _iso_utc(value: datetime) -> str:
    try:
        utc = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:  # within a day of the years 1 and 9999
        return value.isoformat(timespec="microseconds")
    return utc.isoformat(timespec="microseconds") + "Z"


def _count(repairs: dict[str, int], kind: str) -> None:
    repairs[kind] = repairs.get(kind, 0) + 1


# --- to JSON ----------------------------------------------------------------------------------------------

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_DATETIME


def encode(value: Any) -> bytes:
    """Canonical JSON: sorted keys, compact, UTF-8. The same value always gives the same bytes."""
    return encode_counted(value)[0]


def encode_counted(value: Any) -> tuple[bytes, Mapping[str, int]]:
    """Canonical JSON, and what had to be replaced to write it (big_integer above all)."""
    try:
        out = orjson.dumps(value, option=_OPTIONS)
    except TypeError:
        return _encode_piecewise(value)
    backslash = out.find(b"\\")
    if backslash >= 0 and out.find(b"\\u0000", backslash) >= 0:
        return _encode_piecewise(value)
    # A copy: orjson leaves its result in a block of many times its size, and ours are kept until they are sent.
    return bytes(memoryview(out)), NO_REPAIRS


INSIDE = 3
"""Levels around an input or output, where it is sent and where it is hashed: turns are in a list in a trace."""


def pieces_of(value: Any, write: Callable[[Any], bytes], most: int | None = None) -> Iterator[bytes]:
    """The same text that `write` makes of the whole, piece by piece where a sequence on disk stands in it.

    What is on disk is found as the value itself, or in an object that is; of each, the first `most` items are written.
    """
    if isinstance(value, OnDisk):
        yield b"["
        for number, item in enumerate(islice(value, most)):
            yield b",%b" % write(item) if number else write(item)
        yield b"]"
    elif isinstance(value, Mapping) and any(isinstance(item, OnDisk) for item in value.values()):
        for number, key in enumerate(sorted(value)):
            yield b"%b%b:" % (b"," if number else b"{", write(key))
            yield from pieces_of(value[key], write, most)
        yield b"}"
    else:
        yield write(value)


class InexactError(ValueError):
    """Something in a value has to be replaced to write it."""


def encode_exactly(value: Any) -> bytes:
    """Canonical JSON of a value that stands inside `INSIDE` others. Raises InexactError."""
    try:
        out = orjson.dumps([[[value]]], option=_OPTIONS)[INSIDE:-INSIDE]  # also the copy, see above
    except TypeError as error:
        raise InexactError from error
    backslash = out.find(b"\\")
    if backslash >= 0 and out.find(b"\\u0000", backslash) >= 0:
        raise InexactError
    return out


class _Piece(bytes):
    """Bytes of the output, among values that are still to be written."""


def _encode_piecewise(value: Any) -> tuple[bytes, Mapping[str, int]]:
    """Descend only where orjson fails, with a stack of our own: any depth can be written."""
    repairs: dict[str, int] = {}
    cleaner = _Cleaner(repairs)
    out: list[bytes] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, _Piece):
            out.append(item)
        elif isinstance(item, dict):
            entries = {cleaner.key(key): child for key, child in item.items()}
            stack.append(_Piece(b"}"))
            for number, key in reversed(list(enumerate(sorted(entries)))):
                stack.append(_whole_or_not(entries[key]))
                stack.append(_Piece((b"," if number else b"{") + orjson.dumps(key) + b":"))
            if not entries:
                stack.append(_Piece(b"{"))
        elif isinstance(item, list | tuple):
            stack.append(_Piece(b"]"))
            for number in range(len(item) - 1, -1, -1):
                stack.append(_whole_or_not(item[number]))
                stack.append(_Piece(b"," if number else b"["))
            if not item:
                stack.append(_Piece(b"["))
        elif isinstance(item, int) and not isinstance(item, bool) and abs(item) > _MAX_SAFE_INTEGER:
            _count(repairs, "big_integer")
            out.append(b'"%b"' % _digits(item))
        else:
            out.append(orjson.dumps(cleaner.clean(item)))
    return b"".join(out), repairs or NO_REPAIRS


_MAX_SAFE_INTEGER = 2**53 - 1


def _whole_or_not(value: Any) -> Any:
    """The value as bytes where orjson writes it as it is, else the value itself."""
    try:
        out = orjson.dumps(value, option=_OPTIONS)
    except TypeError:
        return value
    return value if b"\\u0000" in out else _Piece(out)


def _digits(number: int) -> bytes:
    try:
        return str(number).encode()
    except ValueError:  # more than 4300 digits, made by a mapper's arithmetic: still no reason to fail
        return hex(number).encode()
