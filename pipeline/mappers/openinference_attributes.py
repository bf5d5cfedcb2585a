"""What the OpenInference attributes of one span say: a flat {dotted key: value} becomes the fields of a Span.

Sources: openinference-semantic-conventions 0.1.42 (trace/__init__.py); files that a running Phoenix 20.26 exported,
with spans of openinference-instrumentation-openai 0.1.66; formats.md section 4.

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

Not kept: mime types that say JSON or plain text. Lists and objects are put together by openinference_lists.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.numbered import keep
from pipeline.mappers.openinference_lists import gathered, plain_items

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
    rest = gathered(attributes)
    stated = _kind(rest, kind)
    type_ = _TYPES.get(stated.upper(), "SPAN")
    if type_ == "SPAN" and stated.upper() not in ("", "UNKNOWN"):
        keep(rest, KIND, stated)
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


# --- single fields: what is understood is taken out of `rest` ---------------------------------------------


def _kind(rest: dict[str, Any], of_span: str) -> str:
    stated = rest.get(KIND)
    if not isinstance(stated, str):
        return of_span
    del rest[KIND]
    if of_span.upper() not in ("", "UNKNOWN", stated.upper()):
        keep(rest, "span_kind", of_span)
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
        return plain_items(messages)
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
