"""JSON that an export wrote inside a text, sometimes twice, becomes the value that was meant."""

from __future__ import annotations

from typing import Any

import msgspec

_decode = msgspec.json.decode  # keeps integers of any size, which orjson turns into floats
_STARTS = frozenset('{["')


def unwrap(value: Any, levels: int = 3) -> Any:
    """Decode a text that is JSON, up to `levels` times; whatever does not parse stays as it is.

    Only a text that starts with `{`, `[` or `"` counts as JSON, so that "12" and "null" stay what was said.
    """
    while levels and value.__class__ is str:
        start = value[:1]
        if start not in _STARTS and (not start.isspace() or value.lstrip()[:1] not in _STARTS):
            return value
        try:
            value = _decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return value
        levels -= 1
    return value
