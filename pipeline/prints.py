"""What was asked and answered in a turn, hashed: by it a turn on the server is known to be one of ours.

A turn has no key of its own (api-contract 4). What the API stores of it differs in form from what was sent: a text
that was asked becomes `{"user_message": text}`, the order of keys and 1.0 for 1 are a database's choice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
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
PRINT_BYTES = 16
_HAS_WHOLE_FLOAT = re.compile(rb"[0-9](\.0|e)").search
"""Or something that looks like one."""


def turn_print(asked: Any, answered: Any) -> bytes:
    """8 bytes of `input` and `actualOutput`, the same for what is sent and for what is stored of it."""
    text = b"%b\0%b" % (_normal_text(asked, "user_message"), _normal_text(answered, "assistant_message"))
    return hashlib.blake2b(text, digest_size=8).digest()


def figures_print(fields: Mapping[str, Any]) -> bytes:
    """8 bytes of what else a turn says, and shows when it is read: how it ended, what it took and cost."""
    told = [_figure(name, fields.get(name)) for name in FIGURES]
    return hashlib.blake2b(json_text.encode(told), digest_size=8).digest()


def prints_of(turns: Sequence[TurnImport]) -> bytes:
    """For the ledger: both prints of each turn, PRINT_BYTES a turn."""
    return b"".join([turn.print + turn.figures for turn in turns])


def span_id(turn_id: str, span: SpanImport, generation: int = 0) -> str:
    """The id that a span gets, of the form that Galtea's SDK gives (api-contract 5.1).

    Made of its turn, of what it says and of where it hangs: sent again it is the same one. `generation`: where a span
    that was deleted holds that id, the next one is free.
    """
    number = b"%d" % generation if generation else b""
    return f"trace_{hashlib.blake2b(turn_id.encode() + span.seed + number, digest_size=8).hexdigest()}"


def spans_sha256(turns: Sequence[TurnImport]) -> str:
    """Hash of all spans of these turns."""
    return sha256_of(seed for turn in turns for seed in (b"turn", *(span.seed for span in turn.spans)))


def sha256_of(parts: Iterable[bytes]) -> str:
    """Hash of several texts, each with its length, so that no two lists of them look alike."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8))
        whole.update(part)
    return whole.hexdigest()


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
    """JSON knows one kind of number: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _normal(item) for key, item in value.items()}
    return [_normal(item) for item in value] if isinstance(value, (list, tuple)) else value
