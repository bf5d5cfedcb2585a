"""A list of chat messages becomes turns, whatever tool wrote the list; nothing that was said is lost.

The role is `role`, `from` (ShareGPT) or `type` (LangChain).

| in a message | becomes |
|---|---|
| system, developer | the system prompt: all of them in order, a blank line between |
| user, human | begins a turn; several in a row are one input, see below |
| assistant, gpt, … with content | the last one of a turn is its output, earlier ones are GENERATION spans |
| the same before any user message | a turn without input |
| tool_calls, function_call | TOOL spans: name, arguments (decoded) as input, under the id of the call |
| tool, function, observation | the output of its call, see below; without one, a TOOL span of its own |
| timestamp, created_at, create_time | start and end of turns and spans, where it is a time |
| an answer that is only spoken (audio) | its transcript is the content |
| any other field that is not empty | `message_fields`: {"index": number of the message from 0, …} |
| calls of tools that hold more than name, arguments and id | `message_fields` too, whole |

Several user messages in a row: texts are joined by a blank line; where one of them is a list of parts
(images, audio), all become one list of parts. A result belongs to the call with its tool_call_id; without an
id to the first call of that name in the turn that has no answer yet.

Parts stay as they are, as JSON. A user message that nobody answered gives a turn whose output is None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.times import iso_utc
from pipeline.models import Span, Turn

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "function_call": "call",
    "tool_call": "call",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "function_response": "tool",
    "ipython": "tool",
}
_MODELLED = frozenset(["role", "from", "content", "value", "tool_calls", "function_call", "tool_call_id"])
_ARGUMENTS = ("arguments", "args", "input", "parameters")
_TIMES = ("timestamp", "created_at", "create_time")


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the messages of one conversation say."""

    system: str | None
    turns: tuple[Turn, ...]
    message_fields: list[dict[str, Any]]


def read_messages(messages: Any, place: str) -> Conversation:
    """Turns from messages in any chat shape. Raises RejectedError naming the message, as `place[3].role`."""
    messages = unwrap(messages)
    if not isinstance(messages, (list, tuple)):
        raise fields.bad_field(place, "a list of messages", messages)
    if not messages:
        raise RejectedError(f"{place} is an empty list; there is no conversation to import", kind="empty_conversation")
    builder = _Builder()
    for index, message in enumerate(messages):
        builder.add(index, message, f"{place}[{index}]")
    if not builder.turns:
        raise RejectedError(
            f"{place} holds only system messages; there is no conversation to import",
            kind="empty_conversation",
        )
    return Conversation(
        system="\n\n".join(builder.system) or None,
        turns=tuple(turn.finished() for turn in builder.turns),
        message_fields=builder.message_fields,
    )


def as_text(content: Any) -> str:
    """Content as one text: a list of text parts is joined, anything else is written as JSON."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    return fields.json_text(content)


@dataclass(slots=True)
class _Step:
    """A span in the making."""

    id: str
    name: str
    type: str
    input: Any = None
    output: Any = None
    started_at: str | None = None
    ended_at: str | None = None
    is_answered: bool = True


@dataclass(slots=True)
class _Draft:
    """A turn in the making."""

    inputs: list[Any] = field(default_factory=list)
    steps: list[_Step] = field(default_factory=list)
    blank_answer: Any = None
    is_answered: bool = False
    """Has anybody but the user said or done something?"""
    started_at: str | None = None
    ended_at: str | None = None

    def finished(self) -> Turn:
        said = [step for step in self.steps if step.type == "GENERATION"]
        last = said[-1] if said else None
        return Turn(
            input=_joined(self.inputs),
            output=self.blank_answer if last is None else last.output,
            started_at=self.started_at,
            ended_at=self.ended_at,
            spans=tuple(
                Span(
                    id=step.id,
                    name=step.name,
                    type=step.type,
                    started_at=step.started_at,
                    ended_at=step.ended_at,
                    input=step.input,
                    output=step.output,
                )
                for step in self.steps
                if step is not last
            ),
        )


class _Builder:
    def __init__(self) -> None:
        self.system: list[str] = []
        self.turns: list[_Draft] = []
        self.message_fields: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self._calls: dict[str, _Step] = {}

    def add(self, index: int, message: Any, place: str) -> None:
        if not isinstance(message, dict):
            raise fields.bad_field(place, "an object with role and content", message)
        role = ROLES.get(message["role"]) if message.get("role").__class__ is str else None
        role = role or _role(message, place)
        content = message.get("content")
        is_plain = content.__class__ is str and len(message) == 2  # nothing but role and a text, as most are
        moment: str | None = None
        if not is_plain:
            content = _content(message, place)
            moment = _moment(message)
            self._keep_fields(index, message)
        if role == "system":
            if not _is_blank(content):
                self.system.append(as_text(content))
            if isinstance(content, list) and any(isinstance(part, dict) and len(part) > 2 for part in content):
                self.message_fields.append({"index": index, "content": content})  # as text it says less
            return
        if role == "user":
            if not self.turns or self.turns[-1].is_answered:
                self.turns.append(_Draft(started_at=moment))
            self.turns[-1].inputs.append(content)
            return
        if not self.turns:
            self.turns.append(_Draft())
        turn = self.turns[-1]
        turn.is_answered = True
        turn.started_at = turn.started_at or moment
        turn.ended_at = moment or turn.ended_at
        if role == "tool":
            self._answer(turn, index, message, content, moment)
        elif role == "call":
            self._call(turn, index, unwrap(content), moment, 0)
        else:
            self._say(turn, index, content, moment)
            if not is_plain:
                self._call_tools(turn, index, message, moment, place)

    def _keep_fields(self, index: int, message: dict[str, Any]) -> None:
        role_key = _role_key(message)
        more = {
            key: value
            for key, value in message.items()
            if key != role_key and (key not in _MODELLED or _is_second(key, message))
        }
        more = {key: value for key, value in more.items() if not fields.is_empty(value)}
        more |= _unusual_calls(message)
        if more:
            self.message_fields.append({"index": index, **more})

    def _say(self, turn: _Draft, index: int, content: Any, moment: str | None) -> None:
        if not _is_blank(content):
            span_id = self._new_id(f"message-{index}")
            turn.steps.append(_Step(span_id, "assistant", "GENERATION", output=content, ended_at=moment))
        elif isinstance(content, str):
            turn.blank_answer = content

    def _call_tools(self, turn: _Draft, index: int, message: dict[str, Any], moment: str | None, place: str) -> None:
        calls = unwrap(message.get("tool_calls"))
        if calls is not None and not isinstance(calls, list):
            raise fields.bad_field(f"{place}.tool_calls", "a list", calls)
        for number, call in enumerate(calls or ()):
            if not isinstance(call, dict):
                raise fields.bad_field(f"{place}.tool_calls[{number}]", "an object", call)
            self._call(turn, index, call, moment, number)
        legacy = message.get("function_call")
        if _has_function(legacy):
            self._call(turn, index, unwrap(legacy), moment, len(calls or ()))

    def _call(self, turn: _Draft, index: int, call: Any, moment: str | None, number: int) -> None:
        asked = call if isinstance(call, dict) else {}
        function = next((asked[key] for key in ("function", "custom") if isinstance(asked.get(key), dict)), asked)
        others = {key: value for key, value in function.items() if key not in ("name", "id", "type")} or None
        arguments = next((function[key] for key in _ARGUMENTS if key in function), others)
        name = function.get("name")
        if not isinstance(name, str):
            name, arguments = "tool", call
        call_id = asked.get("id")
        wished = call_id if isinstance(call_id, str) and call_id else f"message-{index}-call-{number}"
        step = _Step(self._new_id(wished), name, "TOOL", input=unwrap(arguments), started_at=moment)
        step.is_answered = False
        if isinstance(call_id, str):
            self._calls[call_id] = step
        turn.steps.append(step)

    def _answer(self, turn: _Draft, index: int, message: dict[str, Any], content: Any, moment: str | None) -> None:
        call_id, name = message.get("tool_call_id"), message.get("name")
        step: _Step | None = None
        if isinstance(call_id, str) and call_id:
            step = self._calls.get(call_id)
        else:
            open_calls = [step for step in turn.steps if not step.is_answered]
            named = [step for step in open_calls if step.name == name] if isinstance(name, str) else open_calls
            step = named[0] if named else None
        if step is None or step.is_answered:
            own_id = call_id if isinstance(call_id, str) and call_id else f"message-{index}"
            step = _Step(self._new_id(own_id), name if isinstance(name, str) and name else "tool", "TOOL")
            turn.steps.append(step)
        step.output, step.ended_at, step.is_answered = content, moment, True

    def _new_id(self, wished: str) -> str:
        """Ids of calls repeat in synthetic data; a span's id must not."""
        span_id, number = wished, 1
        while span_id in self._ids:
            number += 1
            span_id = f"{wished}~{number}"
        self._ids.add(span_id)
        return span_id


def _role_key(message: dict[str, Any]) -> str:
    if message.get("role") is not None:
        return "role"
    if "from" in message:
        return "from"
    return "type" if is_role(message.get("type")) else "role"


def is_role(value: Any) -> bool:
    """Is this what somebody is called who speaks in a dialogue?"""
    return isinstance(value, str) and value.strip().lower() in ROLES


def role_of(message: dict[str, Any]) -> str | None:
    """Whose message it is, in our words; None for a role that we do not know."""
    return ROLES.get(str(message.get(_role_key(message))).strip().lower())


def _role(message: dict[str, Any], place: str) -> str:
    key = _role_key(message)
    stated = message.get(key)
    if stated is None:
        raise RejectedError(f"{place}.{key} is missing; {fields.WAY_OUT}", kind="bad_field")
    if not isinstance(stated, str):
        raise fields.bad_field(f"{place}.{key}", "a text", stated)
    role = ROLES.get(stated) or ROLES.get(stated.strip().lower())
    if role is None:
        known = "system, developer, user, human, assistant, gpt, tool, function, observation"
        raise RejectedError(
            f"{place}.{key} is {fields.quoted(stated)}, which is no role we know ({known} and the like); "
            f"{fields.WAY_OUT}",
            kind="unknown_role",
        )
    return role


def _content(message: dict[str, Any], place: str) -> Any:
    content = message.get("content")
    if content is None:
        content = message.get("value")
    if _is_blank(content) and isinstance(message.get("refusal"), str):
        return message["refusal"]
    audio = message.get("audio")
    if content is None and isinstance(audio, dict) and isinstance(audio.get("transcript"), str):
        return audio["transcript"]
    if content is None and not any(
        key in message for key in ("content", "value", "tool_calls", "function_call", "audio")
    ):
        raise RejectedError(f"{place} has neither content nor tool_calls; {fields.WAY_OUT}", kind="bad_field")
    return content


def _is_second(key: str, message: dict[str, Any]) -> bool:
    """Is this what the other vendors' name of the field says, besides?"""
    first = {"from": "role", "value": "content"}.get(key)
    return first is not None and message.get(first) is not None


def _unusual_calls(message: dict[str, Any]) -> dict[str, Any]:
    """Calls of tools that hold more than a span tells (a signature, say), and ids that are no texts."""
    found: dict[str, Any] = {}
    calls = unwrap(message.get("tool_calls"))
    if isinstance(calls, list):
        found["tool_calls"] = [call for call in calls if not _is_usual(call)]
    legacy = unwrap(message.get("function_call"))
    if isinstance(legacy, dict) and not legacy.keys() <= {"name", "arguments"}:
        found["function_call"] = legacy
    if not isinstance(message.get("tool_call_id", ""), str):
        found["tool_call_id"] = message["tool_call_id"]
    return {key: value for key, value in found.items() if not fields.is_empty(value)}


def _is_usual(call: Any) -> bool:
    if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
        return False
    said = {key for key, value in call.items() if not fields.is_empty(value)} - {"function", "type", "index", "id"}
    function = {key for key, value in call["function"].items() if not fields.is_empty(value)}
    is_function = call.get("type") in (None, "function") and function <= {"name", "arguments"}
    return is_function and not said and isinstance(call.get("id") or "", str)


def _has_function(legacy: Any) -> bool:
    """Parquet writes an absent function_call as an object of nulls."""
    if isinstance(legacy, dict):
        return any(value is not None for value in legacy.values())
    return not fields.is_empty(legacy)


def _is_blank(content: Any) -> bool:
    return fields.is_empty(content) or (isinstance(content, str) and content.isspace())


def _joined(inputs: list[Any]) -> Any:
    if len(inputs) < 2:
        return inputs[0] if inputs else None
    said = [content for content in inputs if not fields.is_empty(content)]
    if all(isinstance(content, str) for content in said):
        return "\n\n".join(said)
    parts: list[Any] = []
    for content in said:
        if isinstance(content, list):
            parts.extend(content)
        elif isinstance(content, str):
            parts.append({"type": "text", "text": content})
        else:
            parts.append(content)
    return parts


def _moment(message: dict[str, Any]) -> str | None:
    for key in _TIMES:
        if message.get(key) is not None:
            try:
                return iso_utc(message[key])
            except ValueError:
                return None  # it stays in message_fields as it is
    return None
