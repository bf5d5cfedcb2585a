"""What was asked and answered in a turn, hashed: by it a turn on the server is known to be one of ours.

A turn has no key of its own (api-contract 4). What the API stores of it differs in form from what was sent: a text
that was asked becomes `{"user_message": text}`, the order of keys and 1.0 for 1 are a database's choice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, islice
from typing import Any

from pipeline import json_text
from pipeline.models import SpanImport, TurnImport

FIGURES = (
    "status",
    "error",
    "latency",
    "inputTokens",
    "outputTokens",
    "cacheReadInputTokens",
    "tokens",
    "cost",
)
_TEXTS = ("status", "error")
"""Those among them that are no numbers."""
COUNTED = ("latency", "inputTokens", "outputTokens", "cacheReadInputTokens", "tokens", "cost")
"""Those among them that a server may reckon by itself."""
PRINT_BYTES = 16
"""Of a turn: both of its prints."""
SAID_BYTES = 8
"""The first of them: what was said."""
_HAS_WHOLE_FLOAT = re.compile(rb"[0-9](\.0|e)").search
"""Or something that looks like one."""


def turn_print(asked: Any, answered: Any) -> bytes:
    """8 bytes of `input` and `actualOutput`, the same for what is sent and for what is stored of it."""
    text = b"%b\0%b" % (_normal_text(asked, "user_message"), _normal_text(answered, "assistant_message"))
    return hashlib.blake2b(text, digest_size=SAID_BYTES).digest()


def figures_print(fields: Mapping[str, Any]) -> bytes:
    """8 bytes of what else a turn says, and shows when it is read: how it ended, what it took and cost."""
    told = [_figure(name, fields.get(name)) for name in FIGURES]
    return hashlib.blake2b(json_text.encode(told), digest_size=8).digest()


def tell(fields: Mapping[str, Any], figures: bytes) -> bool:
    """Do these fields tell what was sent, where the server may have added counts, cost or latency of its own?"""
    added = [name for name in COUNTED if fields.get(name) is not None]
    return any(
        figures_print({**fields, **dict.fromkeys(left_out)}) == figures
        for count in range(len(added) + 1)
        for left_out in combinations(added, count)
    )


def said_of(prints: bytes) -> list[bytes]:
    """Of such prints, for each turn what was asked and answered."""
    return [prints[start : start + SAID_BYTES] for start in range(0, len(prints), PRINT_BYTES)]


def span_id(turn_id: str, span: SpanImport, generation: int = 0) -> str:
    """The id that a span gets, of the form that Galtea's SDK gives (api-contract 5.1).

    Made of its turn, of what it says and of where it hangs: sent again it is the same one. `generation`: where a span
    that was deleted holds that id, the next one is free.
    """
    number = b"%d" % generation if generation else b""
    return f"trace_{hashlib.blake2b(turn_id.encode() + span.seed + number, digest_size=8).hexdigest()}"


def spans_sha256(turns: Sequence[TurnImport], count: int | None = None) -> str:
    """Hash of all spans of the first `count` turns, or of all."""
    some = turns if count is None else islice(turns, count)
    return sha256_of(seed for turn in some for seed in (b"turn", *(span.seed for span in turn.spans)))


def sha256_of(parts: Iterable[bytes]) -> str:
    """Hash of several texts, each with its length, so that no two lists of them look alike."""
    whole = Sha256()
    for part in parts:
        whole.add(part)
    return whole.hex()


class Sha256:
    """The same, text by text."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()

    def add(self, part: bytes) -> None:
        """One more."""
        self._whole.update(len(part).to_bytes(8))
        self._whole.update(part)

    def hex(self) -> str:
        """Of those that were added."""
        return self._whole.hexdigest()


def _figure(name: str, value: Any) -> Any:
    if isinstance(value, str) and name not in _TEXTS:  # a database's way to show a decimal: "0.0010"
        try:
            value = float(value)
        except ValueError:
            return value
    return None if value is None else _normal(value)


def _normal_text(value: Any, key: str) -> bytes:
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get(key), str):
        value = value[key]
    if value is None or isinstance(value, str):
        return json_text.encode(value or "")
    text = json_text.encode(value)
    return json_text.encode(_normal(value)) if _HAS_WHOLE_FLOAT(text) else text


def _normal(value: Any) -> Any:
    """JSON knows one kind of number: 1.0 is 1.

    What is nested deeper than anything that is sent stays as it is, and is none of ours.
    """
    is_deep = isinstance(value, (dict, list, tuple)) and json_text.is_too_deep(value)
    return value if is_deep else _with_whole_numbers(value)


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _with_whole_numbers(item) for key, item in value.items()}
    return [_with_whole_numbers(item) for item in value] if isinstance(value, (list, tuple)) else value
