"""What a trace states, hashed: tells whether two traces are the same, and whether one only adds to the other.

Ledgers keep these hashes for ever. A trace whose hash changes looks changed: its text must stay as it is.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from heapq import merge
from operator import attrgetter
from typing import Any

import orjson
from isal.isal_zlib import crc32  # the same numbers as zlib's, and four times faster over a long text
from msgspec.structs import asdict
from orjson import Fragment

from pipeline import json_text
from pipeline.models import Span, Status, Trace, Turn, plain
from pipeline.on_disk import OnDisk

UNKNOWN_FACTS = b"\xff\xff\xff\xff"
"""Of a trace that nobody knows any more: nothing can be said to contain it."""
WrittenTurn = tuple[bytes, bytes]
"""Input and output of a turn as JSON."""
_NOT_WRITTEN = (None, None)
_SORTED_AT_ONCE = 50_000

_HASHED = tuple(name for name in Trace.__struct_fields__ if name not in ("revision", "partial"))
_TURNS_AT = _HASHED.index("turns")
_before_turns = attrgetter(*_HASHED[:_TURNS_AT])
_after_turns = attrgetter(*_HASHED[_TURNS_AT + 1 :])
TRACES = "traces"
"""Under this key the metadata of a conversation hold what each of its traces was."""
_NO_FACTS = frozenset(["tokens", "cost", "ended_at", "system"])
"""Of a trace in there: what grows as its spans arrive, and what was not kept from the first."""
_TEXTS = ("conversation_id", "name", "started_at", "user_id", "environment", "release", "version", "system")
_texts = attrgetter(*_TEXTS)
_SEEDS = tuple(crc32(name.encode()) for name in _TEXTS)
_dumps, _SORTED = orjson.dumps, orjson.OPT_SORT_KEYS


def write_turns(trace: Trace) -> list[WrittenTurn]:
    """Each input and output written once, for all who need them. Raises InexactError."""
    write = json_text.encode_exactly
    return [(write(turn.input), write(turn.output)) for turn in trace.turns]


def trace_sha256(trace: Trace, written: Sequence[WrittenTurn] | None = None) -> str:
    """Hash of the trace, without its revision: a re-export that only touched `updatedAt` is the same trace."""
    if type(trace.turns) is OnDisk:
        return _sha256_in_pieces(trace)
    try:
        if written is None:
            written = [(_sorted(turn.input), _sorted(turn.output)) for turn in trace.turns]
        turns = [Fragment(_turn_text(turn, pair)) for turn, pair in zip(trace.turns, written, strict=True)]
        text = _dumps([*_before_turns(trace), turns, *_after_turns(trace)], None, _SORTED)
    except TypeError:  # integers beyond 64 bits: the slow way knows them
        text = json_text.encode([plain(getattr(trace, name)) for name in _HASHED])
    return sha256(text).hexdigest()


def _sha256_in_pieces(trace: Trace) -> str:
    """The same of a trace whose turns are on disk."""
    for write_turn, write in (_write_fast, _sorted_text), (_write_any, _write_any):
        whole = sha256()
        try:
            for number, name in enumerate(_HASHED):
                whole.update(b"," if number else b"[")
                for piece in json_text.pieces_of(getattr(trace, name), write_turn if name == "turns" else write):
                    whole.update(piece)
        except TypeError:
            continue
        whole.update(b"]")
        return whole.hexdigest()
    raise AssertionError("the slow way writes all")


def _write_fast(turn: Turn) -> bytes:
    return _turn_text(turn, (_sorted(turn.input), _sorted(turn.output)))


def _write_any(value: Any) -> bytes:
    return json_text.encode(plain(value))


def _sorted_text(value: Any) -> bytes:
    return _dumps(value, None, _SORTED)


def _turn_text(turn: Turn, written: WrittenTurn) -> bytes:
    values = {
        "input": Fragment(written[0]),
        "output": Fragment(written[1]),
        "started_at": turn.started_at,
        "ended_at": turn.ended_at,
        "retrieval_context": turn.retrieval_context,
        "error": turn.error,
        "latency_ms": turn.latency_ms,
        "tokens": Fragment(_sorted(turn.tokens)) if turn.tokens else {},
        "cost": turn.cost,
        "spans": [Fragment(_span_text(span)) for span in turn.spans],
    }
    return _dumps(values)


def _span_text(span: Span) -> bytes:
    """The fields in the order of the class, and all inside them sorted."""
    values = asdict(span)
    for name in ("input", "output", "tokens", "metadata"):
        value = values[name]
        if value and value.__class__ is not str:
            values[name] = Fragment(_dumps([[[[[value]]]]], None, _SORTED)[5:-5])  # as deep as it stands in the trace
    return _dumps(values)


def _sorted(value: Any) -> bytes:
    """As deep as it stands in the trace, for no value may be nested too deep for its hash."""
    return _dumps([[[value]]], None, _SORTED)[json_text.INSIDE : -json_text.INSIDE]


def facts(trace: Trace, written: Sequence[WrittenTurn] | None = None) -> bytes:
    """What the trace states, each statement hashed to 4 bytes; what is absent or unfinished states nothing.

    Sums (tokens, cost) are left out: they grow as spans arrive.
    """
    try:
        return _facts(trace, written, str.encode)
    except UnicodeEncodeError:
        return _facts(trace, written, _encode_anything)


def _facts(trace: Trace, written: Sequence[WrittenTurn] | None, encode: Callable[[str], bytes]) -> bytes:
    is_long = type(trace.turns) is OnDisk
    found: list[int] | array[int] = array("I") if is_long else []
    if trace.partial is None:
        _add_own_facts(found, trace, encode)
    for number, turn in enumerate(trace.turns):
        if trace.partial is None:
            _add_facts_of_turn(found, turn, number, written[number] if written is not None else _NOT_WRITTEN, encode)
        for span in turn.spans:
            span_id = encode(span.id)
            found.append(crc32(span_id, _SPAN))
            if span.ended_at is not None or span.type == "EVENT":  # which has no end
                stated = [span.name, span.type, span.input, span.output, span.error]
                found.append(crc32(json_text.encode(stated), crc32(span_id)))
    return (_distinct(found) if is_long else array("I", sorted(set(found)))).tobytes()


def _distinct(found: Sequence[int]) -> array[int]:
    """Sorted, each once, in the memory of some of them."""
    distinct = array("I")
    starts = range(0, len(found), _SORTED_AT_ONCE)
    for fact in merge(*[array("I", sorted(found[start : start + _SORTED_AT_ONCE])) for start in starts]):
        if not distinct or distinct[-1] != fact:
            distinct.append(fact)
    return distinct


def _add_own_facts(found: list[int] | array[int], trace: Trace, encode: Callable[[str], bytes]) -> None:
    """Beside its turns. Of a partial trace they are a guess by what is there of it, and state nothing."""
    found.extend(
        [crc32(encode(text), seed) for text, seed in zip(_texts(trace), _SEEDS, strict=True) if text is not None]
    )
    if TRACES in trace.metadata:  # a conversation: it ends anew with each trace that is added
        found.extend(_STATUS.values())
    elif trace.status is not Status.PENDING:
        found.append(_STATUS[trace.status])
    found.extend([crc32(encode(tag), _TAG) for tag in trace.tags])
    for key, value in trace.metadata.items():
        if value.__class__ is str:
            found.append(crc32(encode(value), _metadata_seed(key)))
        elif isinstance(value, (list, OnDisk)):
            items = map(_without_sums, value) if key == TRACES else value
            found.extend(_fact(item, _seed(f"metadata.{key}.{number}"), encode) for number, item in enumerate(items))
        else:
            found.append(_fact(value, _metadata_seed(key), encode))


def _add_facts_of_turn(
    found: list[int] | array[int],
    turn: Turn,
    number: int,
    written: WrittenTurn | tuple[None, None],
    encode: Callable[[str], bytes],
) -> None:
    of_input, of_output, of_error, of_context = _turn_seeds(number)
    if turn.input is not None:
        found.append(_fact(turn.input, of_input, encode, written[0]))
    if turn.output is not None:
        found.append(_fact(turn.output, of_output, encode, written[1]))
    if turn.error is not None:
        found.append(crc32(encode(turn.error), of_error))
    if turn.retrieval_context is not None:
        found.append(crc32(encode(turn.retrieval_context), of_context))


def _without_sums(summary: Any) -> Any:
    return (
        {key: value for key, value in summary.items() if key not in _NO_FACTS} if isinstance(summary, dict) else summary
    )


def _fact(value: Any, seed: int, encode: Callable[[str], bytes], written: bytes | None = None) -> int:
    if value.__class__ is str:
        return crc32(encode(value), seed)
    return crc32(json_text.encode(value) if written is None else written, seed)


def _encode_anything(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@lru_cache(4096)
def _seed(name: str) -> int:
    return crc32(_encode_anything(name))


@lru_cache(4096)
def _metadata_seed(key: str) -> int:
    return _seed(f"metadata.{key}")


@lru_cache(4096)
def _turn_seeds(number: int) -> tuple[int, int, int, int]:
    input, output, error, context = [
        _seed(f"{number}.{name}") for name in ("input", "output", "error", "retrieval_context")
    ]
    return input, output, error, context


_TAG, _SPAN = _seed("tag"), _seed("span")
_STATUS = {status: crc32(status.encode(), _seed("status")) for status in Status}


def contains(new: bytes, old: bytes) -> bool:
    """Does the trace with the facts `new` state everything that the one with `old` did?"""
    left = iter(_unpack(new))  # both are sorted
    return old != UNKNOWN_FACTS and all(fact in left for fact in _unpack(old))


def _unpack(blob: bytes) -> Sequence[int]:
    numbers = array("I")
    numbers.frombytes(blob)
    return numbers
