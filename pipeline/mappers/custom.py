"""`format: custom`: the configuration says where things are in a record, in JMESPath.

| key of mapping.trace | what its expression must give |
|---|---|
| id, conversation_id, user_id | a string or an integer; without an id the custom id comes from the content. A file |
| | in which the expression for the id finds none is not read |
| name, environment, release, version, system | a text or a number |
| started_at, ended_at | ISO 8601, or a number since 1970 (s, ms, µs or ns, told apart by size) |
| status | COMPLETED, FAILED or PENDING, or a usual word for one of them; see STATUS_WORDS |
| error | a text, or any JSON. With an error and no status expression (or a null one) the trace is FAILED |
| tags, model | a text or a list of texts |
| tokens | counts by kind, or one number, which is the total |
| cost | a number (USD) |
| metadata | an object |
| revision | a time, a text that sorts, or a whole number: the newest of two records with one id counts |
| input, output | any JSON: one turn |
| messages | a list in any chat shape (conversation.py); with `output`, that is one more assistant message |
| turns | a list of objects with input, output, and maybe started_at, ended_at, error, retrieval_context, |
| | latency_ms, tokens, cost |

One of input (with or without output), output, messages or turns is needed, and of them only one. Null means
"not there" everywhere. What no expression takes is left out: this mapper takes what it is told to take.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import RejectedError, UsageError
from pipeline.mappers import fields
from pipeline.mappers.conversation import Conversation, read_messages
from pipeline.mappers.mapper import Detection, Mapper
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.times import iso_utc
from pipeline.models import Status, Trace, Turn

WAY_OUT = "correct the record, or the expression in mapping.trace"

Expression = Callable[[Any], Any]

KEYS = [
    "id",
    "conversation_id",
    "name",
    "started_at",
    "ended_at",
    "user_id",
    "tags",
    "environment",
    "release",
    "version",
    "status",
    "error",
    "system",
    "input",
    "output",
    "messages",
    "turns",
    "model",
    "tokens",
    "cost",
    "metadata",
    "revision",
]
_KEYS_SHOWN = 20
STATUS_WORDS = {
    Status.COMPLETED: [
        "completed",
        "complete",
        "success",
        "successful",
        "succeeded",
        "ok",
        "okay",
        "done",
        "finished",
        "default",
        "stop",
    ],
    Status.FAILED: [
        "failed",
        "failure",
        "fail",
        "error",
        "errored",
        "exception",
        "timeout",
        "timed_out",
        "cancelled",
        "canceled",
        "aborted",
    ],
    Status.PENDING: [
        "pending",
        "running",
        "in_progress",
        "in-progress",
        "started",
        "queued",
        "open",
        "active",
        "unfinished",
    ],
}
_STATUSES = {word: status for status, words in STATUS_WORDS.items() for word in words}
_TURN_KEYS = [
    "input",
    "output",
    "started_at",
    "ended_at",
    "error",
    "retrieval_context",
    "latency_ms",
    "tokens",
    "cost",
]
_GOING_DEEPER = frozenset(
    ["subexpression", "index_expression", "projection", "value_projection", "filter_projection", "flatten", "pipe"]
)
"""Nodes of JMESPath's tree of which only the first child sees what the node itself sees."""
_PLAIN_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)


def custom_mapper(expressions: Mapping[str, str]) -> Mapper:
    """A mapper from `mapping.trace`. Raises UsageError that names the key, the expression and the way out."""
    for key in expressions:
        if key not in KEYS:
            nearest = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(KEYS)}"
            raise UsageError(f"mapping.trace.{key}: unknown key; {hint}")
    _require_one_conversation(expressions)
    readers = {key: compile_expression(text, f"mapping.trace.{key}") for key, text in expressions.items()}
    places = {key: f"mapping.trace.{key} ({text})" for key, text in expressions.items()}

    def map_trace(record: Any) -> Trace:
        try:
            return _Reading(record, readers, places).trace()
        except RejectedError as error:  # who is told to map the file does so already
            raise RejectedError(str(error).replace(fields.WAY_OUT, WAY_OUT), kind=error.kind) from error

    def detect(sample: Sequence[Any]) -> Detection:
        return _detect(sample, readers.get("id"), places.get("id", ""))

    return Mapper(name="custom", family="custom", detect=detect, map_trace=map_trace)


def compile_expression(text: str, where: str, *, names: Sequence[str] | None = None) -> Expression:
    """A JMESPath as a function from value to value.

    Raises UsageError, which names `where`, for one that does not compile, or that asks for a field that is not among
    `names`, all that a value can have. The function raises RejectedError where the expression cannot be evaluated over
    a value (`length(@)` of null).
    """
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f'{where}: must be a JMESPath expression such as "request.id", not {fields.found(text)}')
    if _PLAIN_PATH.fullmatch(text.strip()):
        path = text.strip().split(".")
        _require_known_names(path[:1], names, text, where)
        return _plain_path(path)
    import jmespath  # noqa: PLC0415  (only who writes expressions pays for it)
    from jmespath.exceptions import JMESPathError, JMESPathTypeError  # noqa: PLC0415

    try:
        compiled = jmespath.compile(text)
    except JMESPathError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{where}: {text!r} is not a JMESPath expression ({reason}); see jmespath.org") from error
    _require_known_functions(compiled.parsed, text, where)
    _require_known_names(_asked_of(compiled.parsed), names, text, where)

    def evaluate(value: Any) -> Any:
        try:
            return compiled.search(value)
        except JMESPathTypeError as error:  # its own text quotes the record, which must not get into messages
            expected = " or ".join(error.expected_types)
            reason = f"{error.function_name}() takes {expected}, and got {error.actual_type}"
            raise _not_evaluated(where, text, reason) from error
        except JMESPathError as error:
            raise _not_evaluated(where, text, type(error).__name__) from error
        except (ArithmeticError, TypeError, ValueError, RecursionError) as error:
            raise _not_evaluated(where, text, f"{type(error).__name__} inside it") from error

    return evaluate


class _Reading:
    """One record, seen through the expressions."""

    def __init__(self, record: Any, readers: Mapping[str, Expression], places: Mapping[str, str]) -> None:
        self._values = {key: read(record) for key, read in readers.items()}
        self._places = places

    def trace(self) -> Trace:
        conversation = self._conversation()
        system = self._read("system", fields.text_of)
        if conversation.system is not None:
            system = conversation.system if system is None else f"{system}\n\n{conversation.system}"
        error = self._read("error", _error_of)
        metadata = self._read("metadata", _object_of) or {}
        if conversation.message_fields:
            metadata = fields.beside(metadata, "message_fields", conversation.message_fields)
        return Trace(
            id=self._read("id", fields.id_of),
            conversation_id=self._read("conversation_id", fields.id_of),
            name=self._read("name", fields.text_of),
            started_at=self._read("started_at", fields.time_of),
            ended_at=self._read("ended_at", fields.time_of),
            user_id=self._read("user_id", fields.id_of),
            tags=self._read("tags", fields.tags_of) or (),
            environment=self._read("environment", fields.text_of),
            release=self._read("release", fields.text_of),
            version=self._read("version", fields.text_of),
            status=self._read("status", _status_of) or (Status.COMPLETED if error is None else Status.FAILED),
            error=error,
            system=system,
            turns=conversation.turns,
            models=tuple(dict.fromkeys(self._read("model", fields.tags_of) or ())),
            tokens=self._read("tokens", _tokens_of) or {},
            cost=self._read("cost", fields.number_of),
            metadata=metadata,
            origin={"format": "custom"},
            revision=self._read("revision", _revision_of),
        )

    def _read(self, key: str, reader: Callable[[Any, str], Any]) -> Any:
        value = self._values.get(key)
        return None if value is None else reader(value, self._places[key])

    def _conversation(self) -> Conversation:
        turns, messages = self._values.get("turns"), self._values.get("messages")
        if turns is not None:
            return Conversation(None, _turns_of(turns, self._places["turns"]), [])
        output = self._values.get("output")
        if messages is not None:
            messages = unwrap(messages)
            if output is not None and isinstance(messages, (list, tuple)):
                messages = [*messages, {"role": "assistant", "content": output}]
            return read_messages(messages, f"{self._places['messages']}: messages")
        first = self._values.get("input")
        if first is None and output is None:
            asked = " and ".join(
                place for key, place in self._places.items() if key in ("input", "output", "messages", "turns")
            )
            raise RejectedError(
                f"{asked} found nothing in this record; correct the expression or the record",
                kind="empty_conversation",
            )
        return Conversation(None, (Turn(input=first, output=output),), [])


def _require_one_conversation(expressions: Mapping[str, str]) -> None:
    given = [key for key in ("input", "output", "messages", "turns") if key in expressions]
    if not given:
        raise UsageError(
            "mapping.trace: nothing says where the conversation is; give input and output, or messages, or turns"
        )
    if ("turns" in given and len(given) > 1) or ("messages" in given and "input" in given):
        raise UsageError(
            f"mapping.trace: {' and '.join(given)} say the same thing twice; give input and output, "
            "or messages (and output), or turns"
        )


def _detect(sample: Sequence[Any], read_id: Expression | None, place: str) -> Detection:
    """Of a file for which it is configured: an expression for the id that finds none is one for something else."""
    if read_id is None or not sample:
        return Detection(1.0, "as configured")
    for record in sample:
        try:
            if not fields.is_empty(read_id(record)):
                return Detection(1.0, "as configured")
        except RejectedError:  # the record will be rejected with that
            return Detection(1.0, "as configured")
    keys = list(dict.fromkeys(key for record in sample if isinstance(record, dict) for key in record))
    has = f"they have {', '.join(keys[:_KEYS_SHOWN])}" if keys else "they are no objects"
    return Detection(
        0.0, f"{place} finds nothing in the first {len(sample)} records ({has}); correct it, or leave id out"
    )


# --- values -----------------------------------------------------------------------------------------------


def _status_of(value: Any, place: str) -> Status | None:
    if not isinstance(value, str):
        raise fields.bad_field(place, "a text such as COMPLETED, FAILED or PENDING", value)
    word = value.strip().lower()
    if not word:
        return None
    status = _STATUSES.get(word)
    if status is None:
        raise RejectedError(
            f"{place} is {fields.quoted(value)}, which is no status we know (COMPLETED, FAILED, PENDING, or "
            "words like success, ok, error, running); translate it in the expression",
            kind="bad_field",
        )
    return status


def _error_of(value: Any, place: str) -> str | None:
    if value is False or fields.is_empty(value):
        return None
    return value if isinstance(value, str) else fields.json_text(value)


def _object_of(value: Any, place: str) -> dict[str, Any]:
    value = unwrap(value)
    if isinstance(value, dict):
        return value
    raise fields.bad_field(place, "an object", value)


def _tokens_of(value: Any, place: str) -> dict[str, int]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = {"total": value}
    return fields.tokens_of(unwrap(value), place)


def _revision_of(value: Any, place: str) -> str | None:
    """A text that sorts: a time as ISO UTC, a whole number filled up with zeros, any other text as it is."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**20:
        return f"{value:020d}"
    if isinstance(value, str):
        try:
            return iso_utc(value)
        except ValueError:
            return value
    raise fields.bad_field(place, "a time, a text or a whole number from 0 on", value)


def _turns_of(value: Any, place: str) -> tuple[Turn, ...]:
    value = unwrap(value)
    if not isinstance(value, (list, tuple)):
        raise fields.bad_field(place, "a list of objects with input and output", value)
    if not value:
        raise RejectedError(
            f"{place} gave an empty list; there is no conversation to import", kind="empty_conversation"
        )
    return tuple(_turn_of(turn, f"{place}: turns[{index}]") for index, turn in enumerate(value))


def _turn_of(value: Any, place: str) -> Turn:
    if not isinstance(value, dict):
        raise fields.bad_field(place, "an object with input and output", value)
    unknown = [key for key in value if key not in _TURN_KEYS]
    if unknown or not ("input" in value or "output" in value):
        what = f"has {fields.quoted(unknown[0])}" if unknown else "has neither input nor output"
        raise RejectedError(
            f"{place} {what}, and a turn has {', '.join(_TURN_KEYS)}; name them in the expression: "
            "items[].{input: question, output: answer}",
            kind="bad_field",
        )
    return Turn(
        input=value.get("input"),
        output=value.get("output"),
        started_at=fields.time_of(value.get("started_at"), f"{place}.started_at"),
        ended_at=fields.time_of(value.get("ended_at"), f"{place}.ended_at"),
        retrieval_context=_context_of(value.get("retrieval_context")),
        error=_error_of(value.get("error"), f"{place}.error"),
        latency_ms=fields.number_of(value.get("latency_ms"), f"{place}.latency_ms"),
        tokens=_tokens_of(value.get("tokens"), f"{place}.tokens"),
        cost=fields.number_of(value.get("cost"), f"{place}.cost"),
    )


def _context_of(value: Any) -> str | None:
    if fields.is_empty(value):
        return None
    return value if isinstance(value, str) else fields.json_text(value)


# --- expressions ------------------------------------------------------------------------------------------


def _plain_path(names: list[str]) -> Expression:
    """`a.b.c` without jmespath: the same answer, twenty times faster."""

    def evaluate(value: Any) -> Any:
        for name in names:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return evaluate


def _not_evaluated(where: str, text: str, reason: str) -> RejectedError:
    return RejectedError(
        f"{where}: {text} cannot be evaluated over this record ({reason}); make the expression allow for it",
        kind="bad_expression",
    )


def _require_known_functions(parsed: Any, text: str, where: str) -> None:
    """jmespath itself notices an unknown function only when a record gets that far."""
    from jmespath.functions import Functions  # noqa: PLC0415

    nodes = [parsed]
    while nodes:
        node = nodes.pop()
        nodes.extend(child for child in node["children"] if isinstance(child, dict))
        if node["type"] != "function_expression":
            continue
        known = Functions.FUNCTION_TABLE
        if node["value"] not in known:
            nearest = difflib.get_close_matches(node["value"], known, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise UsageError(f"{where}: {text!r} uses the unknown function {node['value']}(){hint}")
        signature = known[node["value"]]["signature"]
        is_variadic = bool(signature) and bool(signature[-1].get("variadic"))
        given = len(node["children"])
        if given < len(signature) or (given > len(signature) and not is_variadic):
            raise UsageError(f"{where}: {text!r}: {node['value']}() takes {len(signature)} arguments, not {given}")


def _require_known_names(asked: Iterable[str], names: Sequence[str] | None, text: str, where: str) -> None:
    for name in asked:
        if names is not None and name not in names:
            nearest = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(names)}"
            raise UsageError(f"{where}: {text!r} asks for {name}, which no trace has; {hint}")


def _asked_of(node: Any) -> Iterator[str]:
    """The fields that an expression asks of the value itself, and not of what it found there."""
    if node["type"] == "field":
        yield node["value"]
    children = [child for child in node["children"] if isinstance(child, dict)]
    for child in children[:1] if node["type"] in _GOING_DEEPER else children:
        if node["type"] != "expref":
            yield from _asked_of(child)
