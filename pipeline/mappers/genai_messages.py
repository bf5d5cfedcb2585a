"""Messages that OpenTelemetry spans hold in pieces, brought together: events, log records, numbered attributes.

Sources as in genai.py; the events of semantic conventions 1.28 to 1.36 are documented there as deprecated.

| generation | written as | becomes the attribute |
|---|---|---|
| to 1.27 | event gen_ai.content.prompt, gen_ai.content.completion | what it has: gen_ai.prompt, gen_ai.completion |
| 1.28 to 1.36 | event or log record gen_ai.{system,user,assistant,tool}.message | gen_ai.input.messages |
| | event or log record gen_ai.choice | gen_ai.output.messages |
| from 1.37 | attributes gen_ai.input.messages, … | they stand so already |
| | event or log record gen_ai.client.inference.operation.details | what it has |
| OpenLLMetry | gen_ai.prompt.0.role, gen_ai.completion.0.tool_calls.1.name, … | gen_ai.prompt, gen_ai.completion |
| OpenInference | llm.input_messages.0.message.content, retrieval.documents.0.… | openinference_lists.py |
| Logfire | attribute events: a JSON list of the events above | as these |
| AgentCore | log records whose body is {input: {messages}, output: {messages}} | gen_ai.input.messages, … |

An attribute that the span has already is not replaced: then the event, or the numbered attribute, stays what it is.
Of an event that became a message the time is not kept, nor of a log record its severity and scope.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.mappers import fields, openinference_lists
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.numbered import Branch, finished, is_index, keep, put
from pipeline.mappers.otlp_spans import Event

_INPUT, _OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
_ROLES = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}
_CHOICE = "gen_ai.choice"
_PLACES = {name: place for place, name in enumerate((*_ROLES, _CHOICE))}
_DETAILS = frozenset(
    ["gen_ai.client.inference.operation.details", "gen_ai.content.prompt", "gen_ai.content.completion"]
)
_NUMBERED = ("gen_ai.prompt.", "gen_ai.completion.")
_OPENINFERENCE = tuple(f"{name}." for name in openinference_lists.LISTS)
_NUMBER = re.compile(r"\.[0-9]{1,9}\.")
_DEEPEST = 20
"""Names between dots; a key with more of them is somebody's joke, and stays what it is."""


def is_genai(event: Event) -> bool:
    """Is this log record part of what a model was asked and answered?"""
    if event.name.startswith("gen_ai."):
        return True
    return _said_in_body(event.body) is not None or any(key.startswith("gen_ai.") for key in event.attributes)


def in_order(events: Iterable[Event]) -> list[Event]:
    """By time; what was noted at one moment in the order of a dialogue."""
    return sorted(events, key=lambda event: (event.time or "", _PLACES.get(event.name, len(_PLACES))))


def with_messages(attributes: dict[str, Any], events: Sequence[Event]) -> tuple[dict[str, Any], list[Event]]:
    """The attributes with the messages that stood elsewhere, and the events that are none."""
    if any(key.startswith((*_NUMBERED, *_OPENINFERENCE)) for key in attributes):
        attributes = _without_numbers(attributes)
    logged = unwrap(attributes.get("events"))
    if isinstance(logged, list) and logged and all(_is_logged_event(item) for item in logged):
        attributes = {key: value for key, value in attributes.items() if key != "events"}
        events = [*events, *(Event(item["event.name"], None, _without_name(item)) for item in logged)]
    if not events:
        return attributes, []
    attributes = dict(attributes)
    others: list[Event] = []
    for event in events:
        said = event.attributes if event.name in _DETAILS else _said_in_body(event.body)
        others += [event] if said is None else _opened(event, said, attributes)
    asked: list[dict[str, Any]] = []
    answered: list[dict[str, Any]] = []
    left: list[Event] = []
    has_input, has_output = _INPUT in attributes, _OUTPUT in attributes
    for event in others:
        if event.name in _ROLES and not has_input:
            asked.append(_message(_ROLES[event.name], event, attributes))
        elif event.name == _CHOICE and not has_output:
            answered.append(_answer(event, attributes))
        else:
            left.append(event)
    if asked:
        attributes[_INPUT] = asked
    if answered:
        attributes[_OUTPUT] = answered
    return attributes, left


# --- events -------------------------------------------------------------------------------------------------


def _is_logged_event(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("event.name"), str)


def _without_name(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "event.name"}


def _said(event: Event, attributes: dict[str, Any]) -> dict[str, Any]:
    """What the event says; what it repeats of its span (gen_ai.system) is taken out."""
    said = {
        key: value
        for key, value in event.attributes.items()
        if not key.startswith("gen_ai.") or key in (_INPUT, _OUTPUT) or attributes.setdefault(key, value) != value
    }
    body = unwrap(event.body, 1)
    if isinstance(body, dict):
        said |= body
    elif not fields.is_empty(body):
        said["content"] = body
    return said


def _message(role: str, event: Event, attributes: dict[str, Any]) -> dict[str, Any]:
    said = _said(event, attributes)
    if "content" in said:
        said["content"] = unwrap(said["content"], 1)
    return {"role": said.pop("role", None) or role, **said}


def _answer(event: Event, attributes: dict[str, Any]) -> dict[str, Any]:
    said = _said(event, attributes)
    message = unwrap(said.pop("message", None), 1)
    if isinstance(message, dict):
        return {"role": "assistant", **message, **said}
    if not fields.is_empty(message):
        said = {"content": message, **said}
    return {"role": "assistant", **said}


def _opened(event: Event, said: Mapping[str, Any], attributes: dict[str, Any]) -> list[Event]:
    """The event gives what it says to the span; what the span has otherwise stays in the event."""
    # Both may have the messages: on the span they are JSON in a text.
    others = {key: value for key, value in said.items() if unwrap(attributes.setdefault(key, value)) != unwrap(value)}
    if said is not event.attributes:
        event = event._replace(body=None)
        others |= event.attributes
    if others or not fields.is_empty(event.body):
        return [event._replace(attributes=others)]
    return []


def _said_in_body(body: Any) -> dict[str, Any] | None:
    if not isinstance(body, dict):
        return None
    sides = ((_INPUT, body.get("input")), (_OUTPUT, body.get("output")))
    said = {
        key: side["messages"]
        for key, side in sides
        if isinstance(side, dict) and isinstance(side.get("messages"), list) and side.keys() == {"messages"}
    }
    return said if said and len(said) == len(body) else None


# --- numbered attributes ------------------------------------------------------------------------------------


def _without_numbers(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """`gen_ai.prompt.0.role` and its like become one list under `gen_ai.prompt`."""
    found: dict[str, Any] = {}
    lists: dict[str, Branch] = {}
    openinference: dict[str, Any] = {}
    for key, value in attributes.items():
        if key.startswith(_OPENINFERENCE) and key.count(".") <= _DEEPEST:
            openinference[key] = value
            continue
        prefix = next((prefix for prefix in _NUMBERED if key.startswith(prefix)), None)
        if prefix is None or prefix[:-1] in attributes or not _NUMBER.match(key, len(prefix) - 1):
            found[key] = value
        else:
            path = [int(step) if is_index(step) else step for step in key[len(prefix) :].split(".")]
            if len(path) > _DEEPEST or not put(lists.setdefault(prefix[:-1], Branch()), path, value):
                found[key] = value
    for name, whole in openinference_lists.gathered(openinference).items():
        keep(found, name, whole)
    return found | {name: finished(branch) for name, branch in lists.items() if branch}
