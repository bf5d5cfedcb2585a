"""JSON that an export wrote inside a text, sometimes twice, becomes the value that was meant."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline import json_text

_decode = msgspec.json.decode  # keeps integers of any size, which orjson turns into floats
_STARTS = frozenset('{["')


def unwrap(value: Any, levels: int = 3) -> Any:
    """Decode a text that is JSON, up to `levels` times; whatever does not parse stays as it is.

    Only a text that starts with `{`, `[` or `"` counts as JSON, so that "12" and "null" stay what was said; and none
    that is nested deeper than a record may be.
    """
    while levels and value.__class__ is str:
        start = value[:1]
        if start not in _STARTS and (not start.isspace() or value.lstrip()[:1] not in _STARTS):
            return value
        try:
            decoded = _decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return value
        if value.count("{") + value.count("[") > json_text.MAX_DEPTH and json_text.is_too_deep(decoded):
            return value
        value = decoded
        levels -= 1
    return value
