"""What the OpenInference attributes of one span say: a flat {dotted key: value} becomes the fields of a Span.

Sources: openinference-semantic-conventions 0.1.42 (trace/__init__.py: the names), arize-phoenix 20.26 (trace/
attributes.py: how lists are numbered, and which texts are JSON; server/api/routers/v1/spans.py), files exported from
a running Phoenix of that version with spans of openinference-instrumentation-openai 0.1.66; formats.md section 4.

| attribute | becomes |
|---|---|
| openinference.span.kind | type: LLM is GENERATION; RERANKER, PROMPT, DECISION and unknown ones SPAN, and kept |
| input.value, output.value | input, output; decoded once where the mime type says JSON |
| llm.input_messages, llm.output_messages | input, output of an LLM span, before the values; elsewhere after them |
| retrieval.documents | output of a RETRIEVER, before the value |
| llm.messages (2023: [[role, text]]) | as llm.input_messages |
| llm.prompts, llm.choices, reranker.query, reranker.output_documents | input, output, where there is nothing else |
| llm.model_name, …; see _MODELS | model, the first that is there |
| llm.token_count.prompt, completion, total | tokens input, output, total; details by their own name |
| llm.cost.total | cost, USD; without it prompt and completion |
| session.id, user.id | session_id, user_id |
| tag.tags | tags |
| metadata | own |
| all else, and what cannot be read as the above | rest, by its key |

Not kept: mime types that say JSON or plain text. Lists stand there in one of three ways, which all become
`[{"role": …, "content": …}]`, without the names that only say what is in the list: numbered
(`llm.input_messages.0.message.role`), with dotted keys in a data frame (`[{"message.role": …}]`), or nested
(`[{"message": {"role": …}}]`). Objects (metadata, tool.parameters, …) stand there dotted, whole, or as JSON in a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap

KIND = "openinference.span.kind"
_TYPES = {
    "LLM": "GENERATION",
    **{same: same for same in ("CHAIN", "AGENT", "TOOL", "RETRIEVER", "EMBEDDING", "GUARDRAIL", "EVALUATOR")},
}
_IN = "llm.input_messages"
_OUT = "llm.output_messages"
_DOCUMENTS = "retrieval.documents"
_MODELS = (
    "llm.model_name",
    "llm.response.model_name",
    "llm.request.model_name",
    "embedding.model_name",
    "reranker.model_name",
    "decision.model_name",
    "decision.response.model_name",
)
_LISTS = (
    _IN,
    _OUT,
    _DOCUMENTS,
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
_JSON_IN_LISTS = {"llm.tools": "json_schema", **{name: "metadata" for name in _LISTS if not name.startswith("llm.")}}
_WHOLE = frozenset(_LISTS) | _JSON
_ROOTS = frozenset(name.partition(".")[0] for name in (*_WHOLE, *_MODELS, KIND, "session.id", "user.id", "tag.tags"))
"""Where the attributes are nested, as Phoenix stores them, they stand under these."""
_INNER = ("tool_calls", "contents")
_MEDIA = ("image", "audio", "video", "document")
_WRAPPERS = frozenset([*_MEDIA, "message", "tool_call", "message_content", "embedding", "prompt", "completion", "tool",
                       "annotation", "evaluation"])  # fmt: skip
"""The names that OpenInference puts before each key of an item, by the kind of list."""


class Said(NamedTuple):
    """What the attributes say; `rest` holds what has no field here."""

    type: str = "SPAN"
    input: Any = None
    output: Any = None
    model: str | None = None
    tokens: Mapping[str, int] = {}
    cost: float | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: tuple[str, ...] = ()
    own: Mapping[str, Any] = {}
    """The user's own metadata."""
    rest: Mapping[str, Any] = {}


def read_attributes(attributes: Mapping[str, Any], kind: str = "") -> Said:
    """All that they say; `kind` is what the span says beside them. Never an error: what is odd stays in `rest`."""
    rest = _gathered(attributes)
    stated = _kind(rest, kind)
    type_ = _TYPES.get(stated.upper(), "SPAN")
    if type_ == "SPAN" and stated.upper() not in ("", "UNKNOWN"):
        _keep(rest, KIND, stated)
    own = rest.pop("metadata", None)
    if not isinstance(own, dict):
        if own is not None:
            rest["metadata"] = own
        own = {}
    tokens = _tokens(rest)
    return Said(
        type=type_,
        input=_input(rest, type_),
        output=_output(rest, type_),
        model=_model(rest),
        tokens=tokens,
        cost=_cost(rest),
        session_id=_id(rest, "session.id"),
        user_id=_id(rest, "user.id"),
        tags=_tags(rest),
        own=own,
        rest=rest,
    )


# --- lists and objects, whole again -----------------------------------------------------------------------


class _Branch(dict[str | int, Any]):
    """An object or a list in the making; a plain dict is a value that somebody wrote."""


def _gathered(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Each attribute by its name, without those that say nothing."""
    said: dict[str, Any] = {}
    scattered: dict[str, _Branch] = {}
    for key, value in attributes.items():
        if not value and value.__class__ in fields.EMPTY:
            continue
        name, path = _place(key)
        if path:
            if not _put(scattered.setdefault(name, _Branch()), path, value):
                _keep(said, key, value)
        elif name in _WHOLE:
            whole = unwrap(value, 1) if value.__class__ is str else value
            _keep(said, name, fields.without_nulls(whole) if name in _JSON else _items(whole))
        elif value.__class__ is dict:
            flat = dict(_flattened(key, value))
            for inner, found in (_gathered(flat) if key in _ROOTS else flat).items():
                _keep(said, inner, found)
        else:
            _keep(said, name, fields.without_nulls(value) if value.__class__ is list else value)
    for name, branch in scattered.items():
        _keep(said, name, _finished(branch))
    for name, inner in _JSON_IN_LISTS.items():
        items = said.get(name)
        for item in items if items.__class__ is list else ():
            if item.__class__ is dict and item.get(inner).__class__ is str:
                item[inner] = unwrap(item[inner], 1)
    return said


def _keep(said: dict[Any, Any], name: str, value: Any) -> None:
    while name in said:  # said in two ways: both count
        name += ".*"
    said[name] = value


@lru_cache(maxsize=8_192)
def _place(key: str) -> tuple[str, tuple[str | int, ...]]:
    """The name of an attribute, and the way from there into a list or object; () where it is whole."""
    for name in _LISTS:
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
        is_index = part.isascii() and part.isdigit() and len(part) < 9 and str(int(part)) == part
        step = int(part) if is_index else part
        if is_users or step not in _WRAPPERS or not (before.__class__ is int or before == step):
            steps.append(step)
        is_users = is_users or step == "metadata"
        before = step
    return (*steps, last)


def _put(branch: dict[Any, Any], path: tuple[str | int, ...], value: Any) -> bool:
    """False where something stands in the way, which only happens where one thing is said in two ways."""
    for step in path[:-1]:
        inner = branch.get(step)
        if inner is None:
            inner = branch[step] = _Branch()
        elif inner.__class__ is not _Branch:
            return False
        branch = inner
    if path[-1] in branch:
        return False
    branch[path[-1]] = value
    return True


def _finished(value: Any) -> Any:
    if value.__class__ is not _Branch:
        return value
    if value and all(key.__class__ is int for key in value):
        return [_finished(value[index]) for index in sorted(value)]
    whole: dict[str, Any] = {}
    for key, inner in value.items():
        _keep(whole, str(key), _finished(inner))
    return whole


def _items(value: Any) -> Any:
    """A list whose items have dotted keys, or are nested, in plain words."""
    return [_item(item) for item in value] if value.__class__ is list else fields.without_nulls(value)


def _item(item: Any) -> Any:
    if item.__class__ is not dict:
        return fields.without_nulls(item)
    if len(item) == 1:
        (name, inner) = next(iter(item.items()))
        if name in _WRAPPERS and isinstance(inner, dict):
            return _item(inner)
    branch = _Branch()
    for key, value in item.items():
        if value is None:
            continue
        path = _item_path(key)
        last = path[-1]
        plain = value
        if value.__class__ is list or value.__class__ is dict:
            plain = _items(value) if last in _INNER else _item(value) if last in _MEDIA else fields.without_nulls(value)
        if not _put(branch, path, plain):
            _keep(branch, key, plain)
    return _finished(branch)


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


# --- single fields: what is understood is taken out of `rest` ---------------------------------------------


def _kind(rest: dict[str, Any], of_span: str) -> str:
    stated = rest.get(KIND)
    if not isinstance(stated, str):
        return of_span
    del rest[KIND]
    if of_span.upper() not in ("", "UNKNOWN", stated.upper()):
        _keep(rest, "span_kind", of_span)
    return stated if stated.upper() != "UNKNOWN" else of_span


def _input(rest: dict[str, Any], type_: str) -> Any:
    _decode(rest, "input")
    messages = (_IN, "llm.messages")
    keys = (*messages, "input.value") if type_ == "GENERATION" else ("input.value", *messages)
    return _take(rest, (*keys, "llm.prompts", "reranker.query"))


def _output(rest: dict[str, Any], type_: str) -> Any:
    _decode(rest, "output")
    first = {"GENERATION": _OUT, "RETRIEVER": _DOCUMENTS}.get(type_, "output.value")
    return _take(rest, (first, "output.value", _OUT, _DOCUMENTS, "reranker.output_documents", "llm.choices"))


def _decode(rest: dict[str, Any], side: str) -> None:
    key = f"{side}.mime_type"
    mime_type = rest.get(key)
    if mime_type in ("application/json", "text/plain"):
        del rest[key]
        if mime_type == "application/json" and f"{side}.value" in rest:
            rest[f"{side}.value"] = unwrap(rest[f"{side}.value"], 1)


def _take(rest: dict[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        if key in rest:
            value = rest.pop(key)
            return _pairs(value) if key == "llm.messages" else value
    return None


def _pairs(messages: Any) -> Any:
    """The messages of 2023: [[role, text], …]."""
    if not isinstance(messages, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in messages):
        return _items(messages)
    return [{"role": role, "content": content} for role, content in messages]


def _model(rest: dict[str, Any]) -> str | None:
    for key in _MODELS:
        if isinstance(rest.get(key), str):
            model: str = rest.pop(key)
            return model
    return None


def _tokens(rest: dict[str, Any]) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for key in [key for key in rest if "token_count" in key]:
        name = _kind_of_tokens(key)
        if name is None:
            continue
        try:
            count = rest[key]
            tokens |= {name: count} if count.__class__ is int else fields.tokens_of({name: count}, "")
        except RejectedError:
            continue
        del rest[key]
    return tokens


@lru_cache(maxsize=256)
def _kind_of_tokens(key: str) -> str | None:
    for prefix in ("llm.token_count.", "decision.token_count."):
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            return {"prompt": "input", "completion": "output"}.get(name, name)
    return None


def _cost(rest: dict[str, Any]) -> float | None:
    total = _number(rest.get("llm.cost.total"))
    if total is not None:
        del rest["llm.cost.total"]
        return total
    sides = [_number(rest.get(f"llm.cost.{side}")) for side in ("prompt", "completion")]
    return sum(side for side in sides if side is not None) if None not in sides else None


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        return fields.number_of(value, "")
    except RejectedError:
        return None


def _id(rest: dict[str, Any], key: str) -> str | None:
    if key not in rest:
        return None
    try:
        found = fields.id_of(rest.get(key), key)
    except RejectedError:
        return None
    if found is not None:
        del rest[key]
    return found


def _tags(rest: dict[str, Any]) -> tuple[str, ...]:
    if "tag.tags" not in rest:
        return ()
    try:
        tags = fields.tags_of(unwrap(rest.get("tag.tags"), 1), "tag.tags")
    except RejectedError:
        return ()
    del rest["tag.tags"]
    return tags
