"""The lists and objects among OpenInference attributes, whole again, in whichever way they were taken apart.

| a list of messages stands there | as | written by |
|---|---|---|
| numbered | `"llm.input_messages.0.message.role": "user"` | OpenTelemetry, Phoenix's API and UI |
| with dotted keys | `"llm.input_messages": [{"message.role": "user"}]` | Phoenix's data frame |
| nested | `"llm": {"input_messages": [{"message": {"role": "user"}}]}` | Phoenix's database |

All become `[{"role": "user"}]`, without the names that only say what is in the list. Objects (metadata,
tool.parameters, …) stand there dotted, whole, or as JSON in a text.

Sources: openinference-semantic-conventions 0.1.42 (trace/__init__.py: the names), arize-phoenix 20.26
(trace/attributes.py: only what has something below it is numbered, and which texts are JSON).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.numbered import Branch, finished, is_index, keep, put

LISTS = (
    "llm.input_messages",
    "llm.output_messages",
    "retrieval.documents",
    "llm.prompts",
    "llm.choices",
    "llm.tools",
    "reranker.input_documents",
    "reranker.output_documents",
    "embedding.embeddings",
    *(f"{side}.{what}" for side in ("input", "output") for what in ("images", "documents")),
    *(f"{of}{what}" for of in ("", "trace.", "session.") for what in ("annotations", "evaluations")),
)
_OBJECTS = ("metadata", "llm.prompt_template.variables", "tool.parameters")
_JSON = frozenset([*_OBJECTS, "llm.invocation_parameters", "embedding.invocation_parameters", "llm.function_call"])
_JSON_IN_LISTS = {"llm.tools": "json_schema", **{name: "metadata" for name in LISTS if not name.startswith("llm.")}}
_WHOLE = frozenset(LISTS) | _JSON
_ROOTS = frozenset(
    [*(name.partition(".")[0] for name in _WHOLE), "session", "user", "tag", "openinference", "decision"]
)
"""Where the attributes are nested, as Phoenix stores them, they stand under these."""
_INNER = ("tool_calls", "contents")
_MEDIA = ("image", "audio", "video", "document")
_WRAPPERS = frozenset([*_MEDIA, "message", "tool_call", "message_content", "embedding", "prompt", "completion", "tool",
                       "annotation", "evaluation"])  # fmt: skip
"""The names that OpenInference puts before each key of an item, by the kind of list."""


def gathered(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Each attribute by its name, without those that say nothing."""
    said: dict[str, Any] = {}
    scattered: dict[str, Branch] = {}
    for key, value in attributes.items():
        if not value and value.__class__ in fields.EMPTY:
            continue
        name, path = _place(key)
        if path:
            if not put(scattered.setdefault(name, Branch()), path, value):
                keep(said, key, value)
        elif name in _WHOLE:
            whole = unwrap(value, 1) if value.__class__ is str else value
            keep(said, name, fields.without_nulls(whole) if name in _JSON else plain_items(whole))
        elif value.__class__ is dict:
            flat = dict(_flattened(key, value))
            for inner, found in (gathered(flat) if key in _ROOTS else flat).items():
                keep(said, inner, found)
        else:
            keep(said, name, fields.without_nulls(value) if value.__class__ is list else value)
    for name, branch in scattered.items():
        keep(said, name, finished(branch))
    for name, inner in _JSON_IN_LISTS.items():
        items = said.get(name)
        for item in items if items.__class__ is list else ():
            if item.__class__ is dict and item.get(inner).__class__ is str:
                item[inner] = unwrap(item[inner], 1)
    return said


@lru_cache(maxsize=8_192)
def _place(key: str) -> tuple[str, tuple[str | int, ...]]:
    """The name of an attribute, and the way from there into a list or object; () where it is whole."""
    for name in LISTS:
        if key.startswith(f"{name}."):
            path = _path(key[len(name) + 1 :], is_item=False)
            if path[0].__class__ is int and len(path) > 1:
                return name, path
    for name in _OBJECTS:
        if key.startswith(f"{name}."):
            return name, _path(key[len(name) + 1 :], is_item=None)
    return key, ()


def _path(text: str, *, is_item: bool | None) -> tuple[str | int, ...]:
    """The steps of a dotted text; only what has something below it is an index. `is_item` None: the user's own keys."""
    *parts, last = text.split(".")
    steps: list[str | int] = []
    is_users = is_item is None
    before: str | int = 0 if is_item else ""
    for part in parts:
        step = int(part) if is_index(part) else part
        if is_users or step not in _WRAPPERS or not (before.__class__ is int or before == step):
            steps.append(step)
        is_users = is_users or step == "metadata"
        before = step
    return (*steps, last)


def plain_items(value: Any) -> Any:
    """A list whose items have dotted keys, or are nested, in plain words."""
    return [_item(item) for item in value] if value.__class__ is list else fields.without_nulls(value)


def _item(item: Any) -> Any:
    if item.__class__ is not dict:
        return fields.without_nulls(item)
    if len(item) == 1:
        (name, inner) = next(iter(item.items()))
        if name in _WRAPPERS and isinstance(inner, dict):
            return _item(inner)
    branch = Branch()
    for key, value in item.items():
        if value is None:
            continue
        path = _item_path(key)
        plain = value if value.__class__ is str else _inside(path[-1], value)
        if not put(branch, path, plain):
            keep(branch, key, plain)
    return finished(branch)


def _inside(name: str | int, value: Any) -> Any:
    if name in _INNER:
        return plain_items(value)
    return _item(value) if name in _MEDIA else fields.without_nulls(value)


@lru_cache(maxsize=1_024)
def _item_path(key: str) -> tuple[str | int, ...]:
    return _path(key, is_item=True) if key.partition(".")[0] in _WRAPPERS else (key,)


def _flattened(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """An object as Phoenix flattens it: dotted, and lists of objects numbered."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flattened(f"{key}.{name}", inner)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, inner in enumerate(value):
            yield from _flattened(f"{key}.{index}", inner)
    elif not fields.is_empty(value):
        yield key, value
