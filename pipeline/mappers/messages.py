"""What the messages around a call of a model say: the last question, the last answer, the system prompt.

Any of the shapes that vendors write is read, and what has another shape says nothing (None, never an error):

| shape | by |
|---|---|
| `{"messages": […]}`, `{"input": […]}`, `{"choices": [{"message": …}]}`, `{"output": [items]}` | OpenAI |
| `{"role", "content": [{"type": "text", "text"}]}`, `system` beside the messages | Anthropic |
| `{"contents": [{"role", "parts": [{"text"}]}]}`, `{"candidates": [{"content": …}]}` | Gemini, Google ADK |
| `{"lc": 1, "id": […, "HumanMessage"], "kwargs": {"content"}}`, `{"type": "human", "data"}`, in lists | LangChain |
| `{"generations": [[{"text", "message"}]]}` | LangChain's LLMResult |
| `{"role", "parts": [{"type": "text", "content"}]}` | OpenTelemetry's gen_ai.*.messages (semantic conventions 1.37) |
| `{"message.role", "message.content"}`, `{"message": {…}}` | OpenInference |
| `{"prompt": text}`, a text alone | completions |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.mappers import fields
from pipeline.mappers.conversation import ROLES
from pipeline.mappers.nested_json import unwrap

_LISTS = ("messages", "contents", "input_messages", "output_messages", "input", "output", "choices", "candidates")
_SYSTEM_KEYS = ("system", "instructions", "system_instruction", "systemInstruction", "system_prompt")
_NOT_SAID = frozenset(["reasoning", "thinking", "tool_call", "tool_use", "function_call", "redacted_thinking"])
_DEEPEST = 6


class Message(NamedTuple):
    """Who said what. `role` is one of ours: system, user, assistant, tool, call; "" where the export tells none."""

    role: str
    content: Any
    """A text where it is one; else the parts as they stand."""


def messages_of(value: Any) -> list[Message]:
    """The messages in what went into a call of a model, or came out of it, in their order."""
    return _messages(value, 0)


def last_user(value: Any) -> Any:
    """What the user said last; a text alone is what they said. None where nothing is found."""
    text = unwrap(value)
    if isinstance(text, str):
        return text or None
    messages = messages_of(text)
    asked = next((message.content for message in reversed(messages) if message.role == "user"), None)
    if asked is None and isinstance(text, dict):
        asked = next(
            (text[key] for key in ("prompt", "query", "question", "input") if isinstance(text.get(key), str)), None
        )
    return asked or None


def last_assistant(value: Any) -> Any:
    """What the model answered last: its last message that says anything; a text alone is its answer."""
    text = unwrap(value)
    if isinstance(text, str):
        return text or None
    for message in reversed(messages_of(text)):
        if message.role in ("assistant", "") and not fields.is_empty(message.content):
            return message.content
    if isinstance(text, dict):
        keys = ("text", "completion", "response", "answer", "content", "output")
        return next((text[key] for key in keys if isinstance(text.get(key), str) and text[key]), None)
    return None


def system_of(value: Any) -> str | None:
    """The system prompt: messages of the system and what some APIs have beside the messages, a blank line between."""
    value = unwrap(value)
    if not isinstance(value, (dict, list)):
        return None
    beside: list[Any] = []
    if isinstance(value, dict):
        config = value.get("config")
        for place in (value, config if isinstance(config, dict) else {}):
            beside += [_said(unwrap(place[key], 1)) for key in _SYSTEM_KEYS if not fields.is_empty(place.get(key))]
    said = [message.content for message in messages_of(value) if message.role == "system"]
    texts = [text if isinstance(text, str) else fields.json_text(text) for text in (*beside, *said) if text]
    return "\n\n".join(dict.fromkeys(texts)) or None


# --- shapes -----------------------------------------------------------------------------------------------


def _messages(value: Any, depth: int) -> list[Message]:
    value = unwrap(value)
    if depth > _DEEPEST:
        return []
    if isinstance(value, list):
        return [message for item in value for message in _messages(item, depth + 1)]
    if not isinstance(value, dict):
        return []
    message = _message(value)
    if message is not None:
        return [message]
    for key in ("generations", *_LISTS):
        inner = unwrap(value.get(key), 1)
        if isinstance(inner, (list, dict)) and inner:
            found = _messages(inner, depth + 1)
            if found:
                return found
    for key in ("message", "content", "delta", "data"):  # a choice, a candidate, a generation
        if isinstance(value.get(key), dict):
            found = _messages(value[key], depth + 1)
            if found:
                return found
    return [Message("", value["text"])] if isinstance(value.get("text"), str) and "type" not in value else []


def _message(value: Mapping[str, Any]) -> Message | None:
    """One message, in whatever shape; None where this is none."""
    if "kwargs" in value and isinstance(value.get("id"), list) and value["id"]:  # LangChain's constructors
        inner = value["kwargs"]
        name = str(value["id"][-1]).removesuffix("Chunk").removesuffix("Message").lower()
        return Message(ROLES.get(name, name), _said(inner.get("content"))) if isinstance(inner, dict) else None
    if isinstance(value.get("data"), dict) and isinstance(value.get("type"), str) and "content" in value["data"]:
        return Message(_role(value["type"]), _said(value["data"]["content"]))
    if "message.role" in value:
        content = value.get("message.content")
        return Message(
            _role(value["message.role"]), _said(value.get("message.contents") if content is None else content)
        )
    role = value.get("role", value.get("from"))
    if isinstance(role, str):
        content = next((value[key] for key in ("content", "parts", "value", "contents") if key in value), None)
        return Message(_role(role), _said(content))
    if isinstance(value.get("type"), str) and "content" in value and value["type"].lower() in ROLES:
        return Message(_role(value["type"]), _said(value["content"]))  # LangGraph: {"type": "human", "content"}
    return None


def _role(stated: Any) -> str:
    text = str(stated).strip().lower()
    return ROLES.get(text, text)


def _said(content: Any) -> Any:
    """The text of a message, where all that is said is text: what it thought and called is not said."""
    content = content if isinstance(content, str) else unwrap(content, 1)
    if isinstance(content, dict):
        content = content.get("parts", [content])
    if not isinstance(content, list):
        return content
    spoken = [part for part in content if not (isinstance(part, dict) and str(part.get("type")) in _NOT_SAID)]
    spoken = [
        part for part in spoken if not (isinstance(part, dict) and part.keys() & {"functionCall", "function_call"})
    ]
    texts = [_text_of(part) for part in spoken]
    return "".join(text for text in texts if text is not None) if None not in texts else spoken


def _text_of(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return None
    inner = part.get("message_content", part)  # OpenInference's contents
    if not isinstance(inner, dict) or inner.get("type", "text") not in ("text", "input_text", "output_text"):
        return None
    text = inner.get("text", inner.get("content"))
    return text if isinstance(text, str) else None
