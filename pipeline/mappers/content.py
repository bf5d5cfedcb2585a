"""A Trace becomes the turns, spans and end that its session is given (api-contract 4, 5 and 2.4).

A turn (`POST /inferenceResults`):

| field | from |
|---|---|
| input | a text as it is; a value in which a last user message can be read: that text, and as `{"user_message": text, |
| | "input": value}` where there is more in it; another object as it is; another value as `{"input": value}` |
| actualOutput | a text as it is; a value in which a last answer can be read: that text, and as `{"assistant_message": |
| | text, "content": [value]}` where there is more in it; a list as `{"content": list}`; another value its JSON |
| retrievalContext, error | the turn |
| status | FAILED in error, GENERATED with an output; without one SKIPPED, or PENDING while the trace has not ended |
| latency | the turn's, or its end less its start; of a single turn the trace's (whole ms: an old API takes no other) |
| inputTokens, outputTokens, cacheReadInputTokens, tokens, cost | the turn; of a single turn the trace |

Counts that the API has no field for, and the times of turns, stand in the session's metadata.

A span (`POST /traces`): name (its type, where it has none), type, startTime, endTime, latencyMs (not where it would be
negative), inputData, outputData, error, and metadata: its own, and `span_id`, `model`, `tokens`, `cost`, and
`parent_id` where the parent is not among the turn's spans, and the mark `trace_import`. One of its own of these names
becomes `metadata.<key>`.

Repeated history: where the messages before the last one repeat what the turns before said last, only what is new is
sent: the last message, and any that says more than its words (a call of a tool, say) and stood in no earlier turn.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pipeline import json_text
from pipeline.config import TurnsMode
from pipeline.mappers import messages
from pipeline.mappers.cutting import cut
from pipeline.models import Content, Span, SpanImport, Status, Trace, Turn, TurnImport
from pipeline.on_disk import Filling, beside, codec_of, filled
from pipeline.prints import Sha256, figures_print, sha256_of, turn_print

MAX_SPAN_VALUE_BYTES = 10_485_760
"""Of inputData, outputData and metadata, each (api-contract 5.1)."""
_TOKEN_FIELDS = {
    "inputTokens": ("input",),
    "outputTokens": ("output",),
    "cacheReadInputTokens": ("cache_read_input_tokens", "input_cache_read", "prompt_cache_read_tokens"),
    "tokens": ("total",),
}
_MARKERS = frozenset(["role", "type", "from"])
"""Keys that say who speaks, and not what."""
DIGEST_BYTES = 16
TURN_KEYS = ("turn_times", "turn_tokens")
"""Keys of a session's metadata."""
_MOST = 2**53 - 1
"""The largest figure that JavaScript, and so the API, counts exactly."""
_TURNS = codec_of(TurnImport)
_SPAN_KEYS = ("span_id", "parent_id", "model", "tokens", "cost", "trace_import")


class Mended(NamedTuple):
    """What had to be cut or replaced to send it."""

    cut: int
    repairs: Mapping[str, int]


def content_of(
    trace: Trace, *, with_spans: bool, mode: TurnsMode, stopping_reason: str, max_value_bytes: int
) -> tuple[Content, Mended]:
    """`mode`: see upload.turns in the configuration."""
    writer = _Writer(max_value_bytes)
    said = _Said() if len(trace.turns) > 1 else None
    finish = writer.finish(trace, stopping_reason)
    turns: Filling[TurnImport] = beside(trace.turns, _TURNS)
    sha256 = Sha256()
    sha256.add(finish or b"")
    prints = bytearray()
    spans = 0
    for turn in _with_figures(trace):
        written = writer.turn(turn, trace.status, said, with_spans=with_spans, mode=mode)
        turns.append(written)
        prints += written.print + written.figures
        spans += len(written.spans)
        sha256.add(written.body)
        for span in written.spans:
            sha256.add(span.seed)
    extent = "full" if with_spans else "turns"
    content = Content(extent, filled(turns), finish, sha256.hex(), bytes(prints), spans)
    return content, Mended(writer.cut, writer.repairs)


def _with_figures(trace: Trace) -> Sequence[Turn]:
    """What a trace of one turn has cost, that turn has."""
    if len(trace.turns) != 1:
        return trace.turns
    turn = trace.turns[0]
    return [
        Turn(
            input=turn.input,
            output=turn.output,
            started_at=turn.started_at or trace.started_at,
            ended_at=turn.ended_at or trace.ended_at,
            retrieval_context=turn.retrieval_context,
            error=turn.error if turn.error is not None else trace.error,
            latency_ms=turn.latency_ms,
            tokens=turn.tokens or trace.tokens,
            cost=turn.cost if turn.cost is not None else trace.cost,
            spans=turn.spans,
        )
    ]


class _Writer:
    """Writes values once, and counts what had to be cut or replaced."""

    def __init__(self, max_value_bytes: int) -> None:
        self._max_value_bytes = max_value_bytes
        self.cut = 0
        self.repairs: Counter[str] = Counter()

    def turn(self, turn: Turn, status: Status, said: _Said | None, *, with_spans: bool, mode: TurnsMode) -> TurnImport:
        asked, answered = _asked(turn.input, said), _answered(turn.output)
        if said is not None:
            said.add(turn, asked, answered)
        fields = {"input": asked, "status": _status(turn, status)} | _present(
            actualOutput=answered, error=turn.error, retrievalContext=turn.retrieval_context
        )
        figures = _figures(turn)
        is_plain = turn.error is None and (mode == "batch" or (mode == "auto" and not figures))
        text, repairs = json_text.encode_counted(fields)
        if len(text) > self._max_value_bytes:
            fields = self._kept(fields)
            text, repairs = json_text.encode_counted(fields)
        messages = self._messages(fields) if is_plain else None
        if messages is None and figures:
            fields |= figures
            text = json_text.encode(fields)
        self.repairs.update(repairs)
        return TurnImport(
            text,
            messages,
            turn_print(fields["input"], fields.get("actualOutput")),
            figures_print(fields),
            self._spans(turn.spans) if with_spans else (),
        )

    def _messages(self, fields: Mapping[str, Any]) -> bytes | None:
        """A batch takes texts, and refuses one without the other (api-contract 4.2)."""
        asked, answered = fields["input"], fields.get("actualOutput")
        if not (isinstance(asked, str) and isinstance(answered, str) and asked and answered):
            return None
        answer = {"role": "assistant", "content": answered}
        if "retrievalContext" in fields:
            answer["retrieval_context"] = fields["retrievalContext"]
        return b"%b,%b" % (json_text.encode({"role": "user", "content": asked}), json_text.encode(answer))

    def finish(self, trace: Trace, stopping_reason: str) -> bytes | None:
        """Ended well or in error, never both; what has not ended is not finished."""
        if trace.status is Status.PENDING:
            return None
        if trace.status is Status.FAILED:
            errors = [trace.error, *(turn.error for turn in reversed(trace.turns))]
            error = next((text for text in errors if text and not text.isspace()), "in error, without a message")
            return json_text.encode({"error": self._kept(error)})
        return json_text.encode({"stoppingReason": stopping_reason})

    def _spans(self, spans: Sequence[Span]) -> tuple[SpanImport, ...]:
        ordered = _parents_first(spans)
        places = {span.id: place for place, span in reversed(list(enumerate(ordered)))}
        written: list[SpanImport] = []
        seeds: Counter[bytes] = Counter()
        for place, span in enumerate(ordered):
            parent = places.get(span.parent_id) if span.parent_id is not None else None
            parent = parent if parent is not None and parent < place else None
            fields, metadata = self._span(span, is_child=parent is not None)
            said = fields + metadata
            seeds[said] += 1
            above = written[parent].seed if parent is not None else b""
            seed = _seed(span.id, said, seeds[said], above)
            # By this mark it is known again, whatever id it has there.
            marked = b'%b,"trace_import":"%b"}' % (metadata[:-1], seed.hex().encode())
            written.append(SpanImport(b'%b,"metadata":%b}' % (fields[:-1], marked), seed, parent))
        return tuple(written)

    def _span(self, span: Span, *, is_child: bool) -> tuple[bytes, bytes]:
        """Its fields, and its metadata, which always hold something."""
        fields: dict[str, Any] = {"name": span.name.strip() or span.type.lower() or "span", "type": span.type}
        if span.started_at is not None:
            fields["startTime"] = span.started_at
        if span.ended_at is not None:
            fields["endTime"] = span.ended_at
        latency = _milliseconds(span.started_at, span.ended_at)
        if latency is not None:
            fields["latencyMs"] = latency
        fields |= _present(inputData=span.input, outputData=span.output, error=span.error)
        metadata = _span_metadata(span, is_child=is_child)
        text, repairs = json_text.encode_counted([fields, metadata])
        if len(text) > self._max_value_bytes:
            for name in ("inputData", "outputData", "error"):
                if name in fields:
                    fields[name] = self._kept_whole(fields[name])
            metadata = self._kept_whole(metadata)
            _, repairs = json_text.encode_counted([fields, metadata])
        self.repairs.update(repairs)
        return json_text.encode(fields), json_text.encode(metadata)

    def _kept(self, value: Any) -> Any:
        value, count = cut(value, self._max_value_bytes)
        self.cut += count
        return value

    def _kept_whole(self, value: Any) -> Any:
        """The same, and no more than a span may hold: what is longer as a whole is a text that is cut."""
        value = self._kept(value)
        text = json_text.encode(value)
        if len(text) <= MAX_SPAN_VALUE_BYTES:
            return value
        self.cut += 1
        # A text that is JSON takes twice its length at most when it is written as a text.
        shown, _ = cut(text.decode(), min(self._max_value_bytes, MAX_SPAN_VALUE_BYTES // 2 - 1_000))
        return shown if not isinstance(value, dict) else {"cut": shown}


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _seed(id: str, body: bytes, number: int, above: bytes) -> bytes:
    return bytes.fromhex(sha256_of([id.encode("utf-8", "surrogatepass"), body, b"%d" % number, above])[:32])


def _status(turn: Turn, status: Status) -> str:
    if turn.error is not None:
        return "FAILED"
    if turn.output is not None:
        return "GENERATED"
    return "PENDING" if status is Status.PENDING else "SKIPPED"


def _figures(turn: Turn) -> dict[str, Any]:
    latency = turn.latency_ms if turn.latency_ms is not None else _milliseconds(turn.started_at, turn.ended_at)
    figures: dict[str, Any] = {} if latency is None or not 0 <= latency <= _MOST else {"latency": round(latency)}
    figures |= {name: turn.tokens[kind] for name, kind in _counted(turn.tokens).items()}
    if turn.cost is not None and turn.cost >= 0:
        figures["cost"] = turn.cost
    return figures


def _counted(tokens: Mapping[str, int]) -> dict[str, str]:
    """By field the kind of tokens that it takes."""
    if not tokens:
        return {}
    taken = {
        name: next((kind for kind in kinds if 0 <= tokens.get(kind, -1) <= _MOST), None)
        for name, kinds in _TOKEN_FIELDS.items()
    }
    return {name: kind for name, kind in taken.items() if kind is not None}


def _milliseconds(start: str | None, end: str | None) -> float | None:
    """Between two moments; None where there are not two, or they stand the wrong way round."""
    if start is None or end is None or end < start:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() * 1000


def _span_metadata(span: Span, *, is_child: bool) -> dict[str, Any]:
    metadata = {(f"metadata.{key}" if key in _SPAN_KEYS else key): value for key, value in span.metadata.items()}
    metadata["span_id"] = span.id
    if span.parent_id is not None and not is_child:
        metadata["parent_id"] = span.parent_id
    if span.model is not None:
        metadata["model"] = span.model
    if span.tokens:
        metadata["tokens"] = dict(span.tokens)
    if span.cost is not None:
        metadata["cost"] = span.cost
    return metadata


def _parents_first(spans: Sequence[Span]) -> list[Span]:
    """In their order, but none before its parent; a ring of parents is cut where it is entered."""
    by_id = {span.id: span for span in reversed(spans)}
    ordered: list[Span] = []
    placed: set[int] = set()
    """Also those that stand in line, by which a ring is known."""
    for span in spans:
        line: list[Span] = []
        one: Span | None = span
        while one is not None and id(one) not in placed:
            placed.add(id(one))
            line.append(one)
            one = by_id.get(one.parent_id) if one.parent_id is not None else None
        ordered += reversed(line)
    return ordered


# --- what was said ----------------------------------------------------------------------------------------


class _Said:
    """What the turns so far have said: by whom, in which words, and the messages as they stood."""

    def __init__(self) -> None:
        self._texts = bytearray()
        """DIGEST_BYTES of each: who said it, in which words."""
        self._messages: set[bytes] = set()
        """Their digests."""

    def add(self, turn: Turn, asked: Any, answered: Any) -> None:
        """Note a turn, and what is sent of it."""
        for role, value, key in (("user", asked, "user_message"), ("assistant", answered, "assistant_message")):
            text = value.get(key) if isinstance(value, dict) else value
            if text and isinstance(text, str):
                self._texts += _digest(role, text)
        for value in (turn.input, turn.output):
            self._messages.update(_digest("", json_text.encode(item)) for item in _list_of_messages(value)[1])

    def ends_with(self, texts: Sequence[tuple[str, Any]]) -> bool:
        """Were these, each with who said it, said last?"""
        if not all(isinstance(text, str) for _, text in texts):
            return False
        return self._texts.endswith(b"".join([_digest(role, text) for role, text in texts]))

    def holds(self, item: Any) -> bool:
        """Does a message that repeats what was said say no more than that?"""
        found = messages.messages_of([item])
        is_speech = len(found) == 1 and found[0].role in ("user", "assistant")
        is_known = is_speech and says_only(item, found[0].content)
        return is_known or _digest("", json_text.encode(item)) in self._messages


def _digest(role: str, text: str | bytes) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return hashlib.blake2b(b"%b\0%b" % (role.encode(), encoded), digest_size=DIGEST_BYTES).digest()


def _asked(value: Any, said: _Said | None) -> Any:
    if value is None or isinstance(value, str):
        return value or ""
    text = messages.last_user(value)
    if not isinstance(text, str):
        return value if isinstance(value, dict) else {"input": value}
    rest = _without_history(value, said) if said is not None else value
    return text if says_only(rest, text) else {"user_message": text, "input": rest}


def _answered(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and _is_envelope(value):
        return value
    text = messages.last_assistant(value)
    if not isinstance(text, str):
        return {"content": value} if isinstance(value, list) else json_text.encode(value).decode()
    return text if says_only(value, text) else {"assistant_message": text, "content": [value]}


def _is_envelope(value: dict[str, Any]) -> bool:
    message, parts = value.get("assistant_message"), value.get("content")
    is_well_formed = isinstance(message, str | None) and isinstance(parts, list | None)
    return is_well_formed and not (message is None and parts is None) and "role" not in value


def says_only(value: Any, text: Any) -> bool:
    """Is the text all that stands in it, beside who says it?"""
    return _times_said(value, text) == 1


def _times_said(value: Any, text: Any) -> int:
    """How often; many, where anything else is said."""
    if isinstance(value, dict):
        times = 0
        for key, item in value.items():
            if key not in _MARKERS or isinstance(item, (dict, list)):
                times += _times_said(item, text)
                if times > 1:
                    break
        return times
    if isinstance(value, list):
        times = 0
        for item in value:
            times += _times_said(item, text)
            if times > 1:
                break
        return times
    return 0 if value in (None, "") else 1 if value == text else 2


def _without_history(value: Any, said: _Said) -> Any:
    """The value with its list of messages cut to what is new, where those before the last repeat what was said."""
    key, listed = _list_of_messages(value)
    if len(listed) < 2 or messages.last_user(listed[-1:]) is None:
        return value
    before = [
        (message.role, message.content)
        for message in messages.messages_of(listed[:-1])
        if message.role in ("user", "assistant") and message.content not in (None, "", [])
    ]
    if not before or not said.ends_with(before):
        return value
    new = [*(item for item in listed[:-1] if not said.holds(item)), listed[-1]]
    return new if key is None else {**value, key: new}


def _list_of_messages(value: Any) -> tuple[str | None, list[Any]]:
    if isinstance(value, list):
        return None, value
    if isinstance(value, dict):
        for key in ("messages", "input", "contents"):
            if isinstance(value.get(key), list):
                return key, value[key]
    return None, []


def untold(trace: Trace) -> dict[str, Any]:
    """What no field of a turn takes, for the session's metadata, where the trace itself does not say as much."""
    is_single = len(trace.turns) == 1
    own = [trace.started_at, trace.ended_at] if is_single else [None, None]
    times: Filling[list[str | None]] = beside(trace.turns)
    tokens: Filling[dict[str, int]] = beside(trace.turns)
    has_times = has_tokens = False
    for turn in trace.turns:
        of_turn = [turn.started_at, turn.ended_at]
        uncounted = _uncounted(turn.tokens, trace.tokens if is_single else {})
        times.append(of_turn)
        tokens.append(uncounted)
        has_times = has_times or any(time not in (None, known) for time, known in zip(of_turn, own, strict=True))
        has_tokens = has_tokens or bool(uncounted)
    told = zip(TURN_KEYS, (times, tokens), (has_times, has_tokens), strict=True)
    return {key: values for key, values, has_any in told if has_any}


def _uncounted(tokens: Mapping[str, int], told: Mapping[str, int]) -> dict[str, int]:
    taken = _counted(tokens).values()
    return {kind: count for kind, count in tokens.items() if kind not in taken and told.get(kind) != count}
