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

Kinds of tokens that the API has no field for, and the times of turns, stand in the session's metadata.

A span (`POST /traces`): name (its type, where it has none), type, startTime, endTime, latencyMs (not where it would be
negative), inputData, outputData, error, and metadata: its own, and `span_id`, `model`, `tokens`, `cost`, and
`parent_id` where the parent is not among the turn's spans. One of its own of these names becomes `metadata.<key>`.

Repeated history: where the messages before the last one repeat what the turns before have said, only the new message is
sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pipeline import json_text
from pipeline.mappers import messages
from pipeline.mappers.cutting import cut
from pipeline.models import Content, Span, SpanImport, Status, Trace, Turn, TurnImport
from pipeline.prints import figures_print, sha256_of, turn_print

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
TURN_KEYS = ("turn_times", "turn_tokens")
"""Keys of a session's metadata."""
_SPAN_KEYS = ("span_id", "parent_id", "model", "tokens", "cost")


class Mended(NamedTuple):
    """What had to be cut or replaced to send it."""

    cut: int
    repairs: Mapping[str, int]


def content_of(
    trace: Trace, *, with_spans: bool, in_batches: bool | None, stopping_reason: str, max_value_bytes: int
) -> tuple[Content, Mended]:
    """`in_batches`: send turns as plain messages, also those with figures, which are left out; None: only others."""
    writer = _Writer(max_value_bytes)
    said: list[str] = []
    turns = [
        writer.turn(turn, trace.status, said, with_spans=with_spans, in_batches=in_batches)
        for turn in _with_figures(trace)
    ]
    finish = _finish(trace, stopping_reason)
    sha256 = sha256_of(
        [finish or b"", *(part for turn in turns for part in (turn.body, *(span.seed for span in turn.spans)))]
    )
    return Content("full" if with_spans else "turns", tuple(turns), finish, sha256), Mended(writer.cut, writer.repairs)


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


def _finish(trace: Trace, stopping_reason: str) -> bytes | None:
    """Ended well or in error, never both; what has not ended is not finished."""
    if trace.status is Status.PENDING:
        return None
    if trace.status is Status.FAILED:
        errors = [trace.error, *(turn.error for turn in reversed(trace.turns))]
        return json_text.encode({"error": next((text for text in errors if text), "in error, without a message")})
    return json_text.encode({"stoppingReason": stopping_reason})


class _Writer:
    """Writes values once, and counts what had to be cut or replaced."""

    def __init__(self, max_value_bytes: int) -> None:
        self._max_value_bytes = max_value_bytes
        self.cut = 0
        self.repairs: Counter[str] = Counter()

    def turn(
        self, turn: Turn, status: Status, said: list[str], *, with_spans: bool, in_batches: bool | None
    ) -> TurnImport:
        asked = self._kept(_asked(turn.input, said))
        answered = self._kept(_answered(turn.output))
        context = self._kept(turn.retrieval_context)
        figures = _figures(turn)
        is_plain = in_batches or (in_batches is None and not figures and turn.error is None)
        messages = self._messages(asked, answered, context) if is_plain else None
        fields: dict[str, Any] = {"input": asked, "status": _status(turn, status)}
        if messages is None:
            fields |= figures
        if answered is not None:
            fields["actualOutput"] = answered
        if turn.error is not None:
            fields["error"] = self._kept(turn.error)
        if context is not None:
            fields["retrievalContext"] = context
        spoken = (_text_said(asked, "user_message"), _text_said(answered, "assistant_message"))
        said += [text for text in spoken if text]
        return TurnImport(
            self._written(fields),
            messages,
            turn_print(asked, answered),
            figures_print(fields),
            self._spans(turn.spans) if with_spans else (),
        )

    def _messages(self, asked: Any, answered: Any, context: str | None) -> bytes | None:
        """A batch takes texts, and refuses one without the other (api-contract 4.2)."""
        if not (isinstance(asked, str) and isinstance(answered, str) and asked and answered):
            return None
        answer = {"role": "assistant", "content": answered}
        if context is not None:
            answer["retrieval_context"] = context
        return b"%b,%b" % (self._written({"role": "user", "content": asked}), self._written(answer))

    def _spans(self, spans: Sequence[Span]) -> tuple[SpanImport, ...]:
        ordered = _parents_first(spans)
        places = {span.id: place for place, span in reversed(list(enumerate(ordered)))}
        written = []
        seeds: Counter[bytes] = Counter()
        for place, span in enumerate(ordered):
            parent = places.get(span.parent_id) if span.parent_id is not None else None
            parent = parent if parent is not None and parent < place else None
            body = self._span(span, is_child=parent is not None)
            seeds[body] += 1
            written.append(SpanImport(body, _seed(span.id, body, seeds[body]), parent))
        return tuple(written)

    def _span(self, span: Span, *, is_child: bool) -> bytes:
        fields: dict[str, Any] = {"name": span.name.strip() or span.type.lower(), "type": span.type}
        if span.started_at is not None:
            fields["startTime"] = span.started_at
        if span.ended_at is not None:
            fields["endTime"] = span.ended_at
        latency = _milliseconds(span.started_at, span.ended_at)
        if latency is not None:
            fields["latencyMs"] = latency
        if span.input is not None:
            fields["inputData"] = self._kept_whole(span.input)
        if span.output is not None:
            fields["outputData"] = self._kept_whole(span.output)
        if span.error is not None:
            fields["error"] = self._kept(span.error)
        fields["metadata"] = self._kept_whole(_span_metadata(span, is_child=is_child))
        return self._written(fields)

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
        shown, _ = cut(text.decode(), self._max_value_bytes)
        return shown if not isinstance(value, dict) else {"cut": shown}

    def _written(self, value: Any) -> bytes:
        text, repairs = json_text.encode_counted(value)
        self.repairs.update(repairs)
        return text


def _seed(id: str, body: bytes, number: int) -> bytes:
    return bytes.fromhex(sha256_of([id.encode("utf-8", "surrogatepass"), body, b"%d" % number])[:32])


def _status(turn: Turn, status: Status) -> str:
    if turn.error is not None:
        return "FAILED"
    if turn.output is not None:
        return "GENERATED"
    return "PENDING" if status is Status.PENDING else "SKIPPED"


def _figures(turn: Turn) -> dict[str, Any]:
    latency = turn.latency_ms if turn.latency_ms is not None else _milliseconds(turn.started_at, turn.ended_at)
    figures: dict[str, Any] = {} if latency is None or latency < 0 else {"latency": round(latency)}
    for name, kinds in _TOKEN_FIELDS.items():
        count = next((turn.tokens[kind] for kind in kinds if kind in turn.tokens), None)
        if count is not None and count >= 0:
            figures[name] = count
    if turn.cost is not None and turn.cost >= 0:
        figures["cost"] = turn.cost
    return figures


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
    for span in spans:
        line = [span]
        seen = {id(span)}
        while (parent := by_id.get(line[-1].parent_id or "")) is not None and id(parent) not in seen | placed:
            line.append(parent)
            seen.add(id(parent))
        for one in reversed(line):
            if id(one) not in placed:
                placed.add(id(one))
                ordered.append(one)
    return ordered


# --- what was said ----------------------------------------------------------------------------------------


def _asked(value: Any, said: Sequence[str]) -> Any:
    if value is None or isinstance(value, str):
        return value or ""
    text = messages.last_user(value)
    if not isinstance(text, str):
        return value if isinstance(value, dict) else {"input": value}
    rest = _without_history(value, said)
    return text if _says_only(rest, text) else {"user_message": text, "input": rest}


def _answered(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and _is_envelope(value):
        return value
    text = messages.last_assistant(value)
    if not isinstance(text, str):
        return {"content": value} if isinstance(value, list) else json_text.encode(value).decode()
    return text if _says_only(value, text) else {"assistant_message": text, "content": [value]}


def _is_envelope(value: dict[str, Any]) -> bool:
    message, parts = value.get("assistant_message"), value.get("content")
    is_well_formed = isinstance(message, str | None) and isinstance(parts, list | None)
    return is_well_formed and not (message is None and parts is None) and "role" not in value


def _says_only(value: Any, text: str) -> bool:
    """Is the text all that stands in it, beside who says it?"""
    leaves = [leaf for leaf in _leaves(value) if leaf not in (None, "")]
    return leaves == [text]


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in _MARKERS or isinstance(item, (dict, list)):
                yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _without_history(value: Any, said: Sequence[str]) -> Any:
    """The value with its list of messages cut to the last one, where those before repeat what was said before."""
    key, listed = _list_of_messages(value)
    if not said or len(listed) < 2:
        return value
    before = [message.content for message in messages.messages_of(listed[:-1]) if message.role in ("user", "assistant")]
    if not before or before != list(said[-len(before) :]) or messages.last_user(listed[-1:]) is None:
        return value
    systems = [item for item in listed[:-1] if messages.messages_of([item])[:1] and _is_system(item)]
    cut_list = [*systems, listed[-1]]
    return cut_list if key is None else {**value, key: cut_list}


def _is_system(item: Any) -> bool:
    return all(message.role == "system" for message in messages.messages_of([item]))


def _list_of_messages(value: Any) -> tuple[str | None, list[Any]]:
    if isinstance(value, list):
        return None, value
    if isinstance(value, dict):
        for key in ("messages", "input", "contents"):
            if isinstance(value.get(key), list):
                return key, value[key]
    return None, []


def _text_said(value: Any, key: str) -> str | None:
    text = value.get(key) if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def untold(trace: Trace) -> dict[str, Any]:
    """What no field of a turn takes, for the session's metadata, where the trace itself does not say as much."""
    if len(trace.turns) < 2:
        return {}
    times = [[turn.started_at, turn.ended_at] for turn in trace.turns]
    known = {kind for kinds in _TOKEN_FIELDS.values() for kind in kinds}
    tokens = [{kind: count for kind, count in turn.tokens.items() if kind not in known} for turn in trace.turns]
    has_any = (any(start or end for start, end in times), any(tokens))
    return {key: value for key, value, has in zip(TURN_KEYS, (times, tokens), has_any, strict=True) if has}
