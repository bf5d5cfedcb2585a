"""What one call of a model says: the bodies of a request and its response become one turn.

A request repeats the whole history of its dialogue, so the turn is its end: from the last user message (several in
a row are one, as in conversation.py) to the response. Shapes, by the public API references of OpenAI (chat
completions, legacy completions, responses) and Anthropic (messages):

| body | becomes |
|---|---|
| messages; input (a text or a list of items); prompt (a text) | the messages |
| system; instructions; messages of the roles system and developer | system |
| messages before the last user message | earlier: as chat messages in OpenAI's shape |
| calls and results of tools after it | spans of the turn |
| choices[0].message, choices[0].text; content (Anthropic); output (responses) | output, see below |
| content that is one part of text, with nothing beside it | that text; other parts stay as they are |
| items of the responses API that are neither messages nor functions (reasoning, …) | request or response, `items` |
| all else in a body (temperature, tools, usage, finish_reason, other choices, …) | request, response |
| fields of messages, and of calls of tools, that are not modelled | message_fields, with the message's number |

The output is the text of the answer. Where it calls tools, it is an object with its content and tool_calls: the
call is all that this request answered. A body of any other shape (images, embeddings, Gemini, tools that Helicone
logged) is the input or the output as a whole; so is a request whose messages cannot be read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.conversation import ROLES, Conversation, read_messages
from pipeline.models import Span

_TEXT_PARTS = ("text", "input_text", "output_text")
_END: dict[str, Any] = {"role": "assistant", "content": ["the answer comes here"]}
"""Stands for the response, so that what was said before it becomes a span and not the output."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says."""

    input: Any = None
    system: str | None = None
    steps: tuple[Span, ...] = ()
    earlier: list[dict[str, Any]] = field(default_factory=list)
    message_fields: list[dict[str, Any]] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a response says; `is_answer` is False for a body that holds no answer of a model that we know."""

    output: Any = None
    is_answer: bool = False
    message_fields: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)


def read_request(body: Any) -> Asked:
    """The last turn of a request, or the whole body as input where it holds no dialogue."""
    if isinstance(body, dict) and "_type" not in body:
        try:
            return _asked(body)
        except RejectedError:
            pass  # its roles or parts are none that we know: nothing is lost where the body is the input
    return Asked(input=body)


def read_response(body: Any) -> Answered:
    """The answer in a response, or the whole body as output where it has another shape."""
    if isinstance(body, dict):
        choices, content, output = body.get("choices"), body.get("content"), body.get("output")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return _first_choice(body, choices)
        if body.get("type") == "message" and isinstance(content, list) and _are_objects(content):
            messages = _from_anthropic({"role": "assistant", "content": content})
            if len(messages) == 1:  # more would be results of tools, which no answer has
                return _answered(messages[0], _without(body, "content", "role", "type"))
        if isinstance(output, list) and output and _are_objects(output):
            return _output_items(body, output)
    return Answered(output=body)


# --- the request ------------------------------------------------------------------------------------------


def _asked(body: Mapping[str, Any]) -> Asked:
    rest = _without(body, "messages", "input", "prompt", "system", "instructions")
    messages: list[tuple[int, dict[str, Any]]] = []
    items: list[dict[str, Any]] = []
    key = next((key for key in ("messages", "input", "prompt") if not fields.is_empty(body.get(key))), "messages")
    listed = body.get(key)
    for other in ("messages", "input", "prompt"):
        if other != key and not fields.is_empty(body.get(other)):
            rest[other] = body[other]
    if isinstance(listed, str) and key != "messages":
        messages.append((0, {"role": "user", "content": listed}))
    elif isinstance(listed, list) and key != "prompt" and _are_objects(listed):
        for number, item in enumerate(listed):
            read = _from_anthropic(item) if key == "messages" else _from_item(item)
            messages += [(number, message) for message in read]
            if not read:
                items.append({"index": number, **item})
    else:
        raise RejectedError(f"{key} holds no messages", kind="no_messages")

    for key in ("system", "instructions"):
        # Joined as text they are the system prompt; what stands beside the texts would be lost.
        if isinstance(body.get(key), list) and not isinstance(_plain(body[key]), str):
            rest[key] = body[key]

    start = _start_of_last_turn([message for _, message in messages])
    earlier = [message for _, message in messages[:start] if _role(message) != "system"]
    systems = [(number, message) for number, message in messages[:start] if _role(message) == "system"]
    stated = [(0, {"role": "system", "content": _plain(body.get(key))}) for key in ("system", "instructions")]
    before, before_fields = _told([*stated, *systems])
    last, last_fields = _told(messages[start:])
    if items:
        rest["items"] = items
    return Asked(
        input=last.turns[-1].input,
        system="\n\n".join(text for text in (before.system, last.system) if text is not None) or None,
        steps=last.turns[-1].spans,
        earlier=earlier,
        message_fields=[*before_fields, *last_fields],
        rest=rest,
    )


def _told(messages: list[tuple[int, dict[str, Any]]]) -> tuple[Conversation, list[dict[str, Any]]]:
    """What these messages say, and their other fields under the numbers that the messages have in the request."""
    told = read_messages([*(message for _, message in messages), _END], "messages")
    return told, [{**more, "index": messages[more["index"]][0]} for more in told.message_fields]


def _start_of_last_turn(messages: list[dict[str, Any]]) -> int:
    """Where the last run of user messages begins; 0 where there is none."""
    start: int | None = None
    for number in range(len(messages) - 1, -1, -1):
        role = _role(messages[number])
        if role == "user":
            start = number
        elif start is not None and role != "system":
            break
    return start or 0


def _role(message: Mapping[str, Any]) -> str | None:
    stated = message.get("role")
    return ROLES.get(stated.strip().lower()) if isinstance(stated, str) else None


def _from_anthropic(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message as OpenAI would have it: Anthropic's calls and results of tools stand among the parts."""
    parts = message.get("content")
    if not isinstance(parts, list) or not _are_objects(parts):
        return [message]
    results = [part for part in parts if part.get("type") == "tool_result"]
    calls = [part for part in parts if part.get("type") == "tool_use"]
    others = [part for part in parts if part.get("type") not in ("tool_result", "tool_use")]
    if not results and not calls:
        return [{**message, "content": _plain(parts)}]
    read = [
        {
            "role": "tool",
            "tool_call_id": part.get("tool_use_id"),
            "content": _plain(part.get("content")),
            **_without(part, "type", "tool_use_id", "content"),
        }
        for part in results
    ]
    if others or calls:
        spoken = {**message, "content": _plain(others) if others else None}
        if calls:
            spoken["tool_calls"] = [_call(part.get("id"), part.get("name"), part.get("input")) for part in calls]
            more = [_without(part, "type", "name", "input") for part in calls]
            if any(set(extra) - {"id"} for extra in more):
                spoken["tool_use"] = more
        read.append(spoken)
    return read


def _from_item(item: dict[str, Any]) -> list[dict[str, Any]]:
    """An item of the responses API as a message; none where it is no part of the dialogue."""
    kind = item.get("type")
    if kind in (None, "message") and "role" in item:
        return [{**_without(item, "type"), "role": item["role"], "content": _plain(item.get("content"))}]
    if kind == "function_call":
        call = _call(item.get("call_id"), item.get("name"), item.get("arguments"))
        more = _without(item, "type", "call_id", "name", "arguments")
        return [{**more, "role": "assistant", "content": None, "tool_calls": [call]}]
    if kind == "function_call_output":
        more = _without(item, "type", "call_id", "output")
        return [{**more, "role": "tool", "tool_call_id": item.get("call_id"), "content": _plain(item.get("output"))}]
    return []


# --- the response -----------------------------------------------------------------------------------------


def _first_choice(body: dict[str, Any], choices: list[Any]) -> Answered:
    first: dict[str, Any] = choices[0]
    message = first.get("message")
    if not isinstance(message, dict):
        if not isinstance(first.get("text"), str):
            return Answered(output=body)
        message = {"content": first["text"]}
    others = [_without(first, "message", "text"), *choices[1:]]
    return _answered(message, _without(body, "choices") | {"choices": others})


def _output_items(body: dict[str, Any], output: list[dict[str, Any]]) -> Answered:
    rest = _without(body, "output")
    items: list[dict[str, Any]] = []
    said: list[Any] = []
    calls: list[Any] = []
    more: list[dict[str, Any]] = []
    for number, item in enumerate(output):
        (message,) = _from_item(item) or (None,)
        if message is None or message["role"] == "tool":
            items.append({"index": number, **item})
            continue
        is_call = item.get("type") == "function_call"
        if is_call:
            calls += message["tool_calls"]
        elif not fields.is_empty(message["content"]):
            said.append(message["content"])
        others = _without(message, "role", "content", *(["tool_calls"] if is_call else []))
        if others:
            more.append({"output": number, **others})
    if len(items) == len(output):
        return Answered(output=body)
    if items:
        rest["items"] = items
    answer: dict[str, Any] = {"content": said[0] if len(said) == 1 else said or None}
    if calls:
        answer["tool_calls"] = calls
    answered = _answered(answer, rest)
    return dataclasses.replace(answered, message_fields={"items": more}) if more else answered


def _answered(message: Mapping[str, Any], rest: dict[str, Any]) -> Answered:
    content = _plain(message.get("content"))
    more = _without(message, "role", "content")
    if more.keys() & {"tool_calls", "function_call"} or (fields.is_empty(content) and more.keys() - {"refusal"}):
        output = more if fields.is_empty(content) else {"content": content, **more}
        return Answered(output=output, is_answer=True, rest=rest)
    if fields.is_empty(content) and more:
        return Answered(output=more["refusal"], is_answer=True, rest=rest)
    return Answered(output=content, is_answer=True, message_fields=more, rest=rest)


# --- parts of both ----------------------------------------------------------------------------------------


def _without(row: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The other fields, those that say nothing left out."""
    return {key: value for key, value in row.items() if key not in keys and not fields.is_empty(value)}


def _are_objects(items: list[Any]) -> bool:
    return all(isinstance(item, dict) for item in items)


def _plain(content: Any) -> Any:
    """One part of text with nothing beside it is that text."""
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        return content
    part = content[0]
    is_plain = part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str)
    return part["text"] if is_plain and not _without(part, "type", "text") else content


def _call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
