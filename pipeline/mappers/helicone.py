"""Helicone's exported requests: JSON lines or JSON of `npx @helicone/export`, or of its API's `data`.

A row is one request to a model, and becomes a trace of one turn; the traces of a session share a conversation.

Sources, in github.com/Helicone/helicone: examples/export/typescript (the source of @helicone/export: it writes the
API's rows as they come, and with --include-body puts in the bodies that signed_body_url leads to), the API's query
over request_response_rmt and its HeliconeRequest (the fields; cost is in USD; a body that is not in the row is
`{"helicone_message": …}`; storage_location), llm-mapper/utils/getMappedContent.ts (which status means what);
docs.helicone.ai: POST /v1/request/query-clickhouse, sessions, custom properties; formats.md section 7.

| export field | Trace field |
|---|---|
| request_id | id (required) |
| property Helicone-Session-Id | conversation_id |
| property Helicone-Session-Name, else Helicone-Session-Path | name; the path stays in metadata.helicone too |
| property Environment, in any case | environment |
| request_user_id, else helicone_user, else property Helicone-User-Id | user_id |
| request_created_at; response_created_at | started_at; ended_at |
| delay_ms | latency of the turn |
| request_body, response_body | the turn and the system prompt: helicone_bodies.py |
| prompt_tokens, completion_tokens, total_tokens | tokens input, output, total; else those of response_body.usage |
| prompt_cache_read_tokens, …_write_tokens, reasoning_tokens, …_audio_tokens | tokens, under their own names |
| cost, costUSD, cost_usd | cost; 0 is how Helicone writes "not known", as with tokens |
| response_model, model, request_model, model_override; else the model of a body | models: the first that is there |
| updated_at | revision |
| request_properties, properties | metadata, those of Helicone's own (Helicone-…) metadata.helicone.request_properties |
| all else that is not empty (provider, target_url, scores, response_status, …) | metadata.helicone |
| what the bodies hold besides | metadata.helicone: request_body, response_body, earlier_messages, message_fields |

Of signed_body_url and asset_urls the signature is cut off, which is a key to the data and another one in each
export. A row without bodies (an export without --include-body, or Helicone did not store them) gives a turn without
content, and metadata.helicone.missing says which body and why.

The one request is also a span: GENERATION, or EMBEDDING, TOOL or RETRIEVER where the path or body says so. Helicone
has no tree of spans, and no tags; the hierarchy of a session is in Helicone-Session-Path.

Status: FAILED where response_status is 400 or more, or below 0 (Helicone's own: cancelled, …), or the response has
an error with a message; else PENDING where response_status is 0 or null and there is no response; else COMPLETED.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.helicone_bodies import Answered, Asked, read_request, read_response
from pipeline.mappers.mapper import Detection, Mapper
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score, judge
from pipeline.models import Span, Status, Trace, Turn

_TOKENS = {"prompt_tokens": "input", "completion_tokens": "output", "total_tokens": "total"}
_OTHER_TOKENS = (
    "prompt_cache_read_tokens",
    "prompt_cache_write_tokens",
    "reasoning_tokens",
    "prompt_audio_tokens",
    "completion_audio_tokens",
)
_USAGE = _TOKENS | {"input_tokens": "input", "output_tokens": "output"}
_COSTS = ("cost", "costUSD", "cost_usd")
_MODELS = ("response_model", "model", "request_model", "model_override")
_EVENTS = {"tool": "TOOL", "vector_db": "RETRIEVER"}
_OF_CSV = frozenset(["response_id", "response_created_at", "request_created_at", "request_body", "latency"])
_CSV = (
    "a row of Helicone's CSV, which holds neither the answers nor the ids of the requests; export JSON lines: "
    "npx @helicone/export --format jsonl --include-body"
)
_NO_CACHE = "00000000-0000-0000-0000-000000000000"
_NO_BODY = "not in the export: run it with --include-body"


def map_trace(record: Any) -> Trace:
    """One request. Raises RejectedError, naming the field and the way out."""
    row = fields.object_of(record)
    if "request_id" not in row:
        raise _no_request(row)
    rest = {key: value for key, value in row.items() if not fields.is_empty(value)}
    request_id = fields.id_of(rest.pop("request_id", None), "request_id")
    if request_id is None:
        raise RejectedError(f"request_id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    bodies = {key: unwrap(rest.pop(key, None)) for key in ("request_body", "response_body")}
    missing = {key: reason for key, body in bodies.items() if (reason := _why_missing(body, rest)) is not None}
    request, response = (None if key in missing else body for key, body in bodies.items())
    asked = Asked() if request is None else read_request(request)
    answered = Answered() if response is None else read_response(response)

    status, error = _status(rest.get("response_status"), response)
    is_refused = status is Status.FAILED and not answered.is_answer
    output = None if is_refused else answered.output
    started_at = fields.time_of(rest.pop("request_created_at", None), "request_created_at")
    ended_at = fields.time_of(rest.pop("response_created_at", None), "response_created_at")
    latency_ms = fields.number_of(rest.pop("delay_ms", None), "delay_ms")
    revision = fields.time_of(rest.pop("updated_at", None), "updated_at")
    tokens = _take_tokens(rest) or _usage(response)
    cost = _take_cost(rest)
    model = _take_model(rest) or _model(response) or _model(request)
    own, helicone = _take_properties(rest)
    session_id = fields.id_of(_take(helicone, "Helicone-Session-Id"), "Helicone-Session-Id")
    name = fields.text_of(_take(helicone, "Helicone-Session-Name"), "Helicone-Session-Name")
    if name is None:
        name = fields.text_of(_find(helicone, "Helicone-Session-Path"), "Helicone-Session-Path")
    environment = _take(own, "Environment") if isinstance(_find(own, "Environment"), str) else None
    user_id = _take_user(rest, helicone)
    if helicone:
        rest["request_properties"] = helicone
    _cut_signatures(rest)
    if status is Status.PENDING:
        missing.pop("response_body", None)
    _keep(rest, asked, answered, response if is_refused else None, missing)
    return Trace(
        id=request_id,
        conversation_id=session_id,
        name=name,
        started_at=started_at,
        ended_at=ended_at,
        user_id=user_id,
        environment=environment,
        status=status,
        error=error,
        system=asked.system,
        turns=(
            Turn(
                input=asked.input,
                output=output,
                started_at=started_at,
                ended_at=ended_at,
                error=error,
                latency_ms=latency_ms,
                tokens=tokens,
                cost=cost,
                spans=(
                    *asked.steps,
                    Span(
                        id=_free_id(request_id, asked.steps),
                        name=model or "request",
                        type=_span_type(row, request),
                        started_at=started_at,
                        ended_at=ended_at,
                        input=asked.input,
                        output=output,
                        error=error,
                        model=model,
                        tokens=tokens,
                        cost=cost,
                    ),
                ),
            ),
        ),
        models=() if model is None else (model,),
        tokens=tokens,
        cost=cost,
        metadata=fields.beside(own, "helicone", rest),
        origin={"format": "helicone"},
        revision=revision,
    )


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are rows of Helicone's requests?"""
    return judge(sample, _score, "no Helicone fields (request_id, request_created_at, response_status, …)")


# --- bodies and how it ended ------------------------------------------------------------------------------


def _why_missing(body: Any, row: Mapping[str, Any]) -> str | None:
    """Why there is no body, None where there is one."""
    is_message = isinstance(body, dict) and body.keys() == {"helicone_message"}
    if not fields.is_empty(body) and not is_message:
        return None
    storage = row.get("storage_location")
    if isinstance(storage, str) and storage.startswith("not_stored"):
        return f"Helicone did not store it ({storage})"
    return f"{_NO_BODY} ({body['helicone_message']})" if is_message else _NO_BODY


def _status(code: Any, response: Any) -> tuple[Status, str | None]:
    number = fields.number_of(code, "response_status") or 0
    if number >= 400 or number < 0:
        return Status.FAILED, _error(response) or f"response status {number:g}, without a message"
    stated = response.get("error") if isinstance(response, dict) else None
    if isinstance(stated, dict) and isinstance(stated.get("message"), str) and stated["message"]:
        return Status.FAILED, stated["message"]
    return (Status.PENDING if number == 0 and response is None else Status.COMPLETED), None


def _error(response: Any, levels: int = 4) -> str | None:
    """The words of an error, wherever a provider puts them."""
    if isinstance(response, str):
        return response or None
    if isinstance(response, list) and response and levels:
        return _error(response[0], levels - 1)
    if not isinstance(response, dict) or not levels:
        return None
    for key in ("error", "message", "heliconeMessage", "detail"):
        told = _error(response.get(key), levels - 1)
        if told is not None:
            return told
    return None


def _keep(rest: dict[str, Any], asked: Asked, answered: Answered, refused: Any, missing: Mapping[str, str]) -> None:
    """What the bodies hold besides the turn, into `rest`; a field of the row that is in the way is moved."""
    message_fields = list(asked.message_fields)
    if answered.message_fields:
        message_fields.append({"index": "response", **answered.message_fields})
    kept = {
        "request_body": asked.rest,
        "response_body": answered.rest if refused is None else refused,
        "earlier_messages": asked.earlier,
        "message_fields": message_fields,
        "missing": dict(missing),
    }
    for key, value in kept.items():
        if value:
            if key in rest:
                rest[f"row.{key}"] = rest[key]
            rest[key] = value


def _span_type(row: Mapping[str, Any], request: Any) -> str:
    event = request.get("_type") if isinstance(request, dict) else None
    if isinstance(event, str) and event in _EVENTS:
        return _EVENTS[event]
    paths = (row.get("request_path"), row.get("target_url"))
    return "EMBEDDING" if any(isinstance(path, str) and "embeddings" in path for path in paths) else "GENERATION"


def _free_id(wished: str, steps: Sequence[Span]) -> str:
    taken = {step.id for step in steps}
    while wished in taken:
        wished = f"{wished}~request"
    return wished


# --- fields of the row, taken out of `rest` ---------------------------------------------------------------


def _take_tokens(rest: dict[str, Any]) -> dict[str, int]:
    stated = {key: rest.pop(key) for key in (*_TOKENS, *_OTHER_TOKENS) if key in rest}
    counts = fields.tokens_of(stated, "record")
    return {_TOKENS.get(key, key): count for key, count in counts.items() if count}


def _usage(response: Any) -> dict[str, int]:
    usage = response.get("usage") if isinstance(response, dict) else None
    if not isinstance(usage, dict):
        return {}
    return {_USAGE[key]: count for key, count in usage.items() if key in _USAGE and count.__class__ is int and count}


def _take_cost(rest: dict[str, Any]) -> float | None:
    costs = {key: fields.number_of(rest[key], key) for key in _COSTS if key in rest}
    cost = next((value for value in costs.values() if value), None)
    for key, value in costs.items():
        if not value or value == cost:
            del rest[key]
    return cost


def _take_model(rest: dict[str, Any]) -> str | None:
    models = {key: fields.text_of(rest[key], key) for key in _MODELS if key in rest}
    model = next((value for value in models.values() if value), None)
    for key, value in models.items():
        if value == model:
            del rest[key]
    return model


def _model(body: Any) -> str | None:
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) and model else None


def _take_properties(rest: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The custom properties, and Helicone's own."""
    stated = unwrap(rest.pop("request_properties", None))
    again = unwrap(rest.get("properties"))
    if stated is None or again == stated:
        rest.pop("properties", None)
        stated = again if stated is None else stated
    if stated is None:
        return {}, {}
    if not isinstance(stated, dict):
        raise fields.bad_field("request_properties", "an object", stated)
    own = {key: value for key, value in stated.items() if not fields.is_empty(value)}
    return own, {key: own.pop(key) for key in tuple(own) if key.lower().startswith("helicone-")}


def _find(properties: Mapping[str, Any], name: str) -> Any:
    """The property of this name, in any case: they were headers once."""
    return next((value for key, value in properties.items() if key.lower() == name.lower()), None)


def _take(properties: dict[str, Any], name: str) -> Any:
    key = next((key for key in properties if key.lower() == name.lower()), None)
    return None if key is None else properties.pop(key)


def _take_user(rest: dict[str, Any], helicone: dict[str, Any]) -> str | None:
    for key in ("request_user_id", "helicone_user"):
        user_id = fields.id_of(rest.get(key), key)
        if user_id is not None:
            del rest[key]
            return user_id
    return fields.id_of(_take(helicone, "Helicone-User-Id"), "Helicone-User-Id")


def _cut_signatures(rest: dict[str, Any]) -> None:
    if isinstance(rest.get("signed_body_url"), str):
        rest["signed_body_url"] = fields.unsigned(rest["signed_body_url"])
    if isinstance(rest.get("asset_urls"), dict):
        rest["asset_urls"] = {key: fields.unsigned(url) for key, url in rest["asset_urls"].items()}
    if rest.get("cache_reference_id") == _NO_CACHE:
        del rest["cache_reference_id"]


# --- detection --------------------------------------------------------------------------------------------

_WAY_OUT = "give the rows of @helicone/export, one request each"
_OWN = frozenset(
    [
        "request_created_at",
        "request_body",
        "request_path",
        "request_user_id",
        "request_properties",
        "request_model",
        "response_id",
        "response_created_at",
        "response_status",
        "response_body",
        "response_model",
        "model_override",
        "helicone_user",
        "delay_ms",
        "costUSD",
        "signed_body_url",
        "llmSchema",
        "ai_gateway_body_mapping",
        "country_code",
        "asset_ids",
        "cache_reference_id",
        "storage_location",
    ]
)


def _is_page(row: Mapping[str, Any]) -> bool:
    data = row.get("data")
    return isinstance(data, list) and bool(data) and isinstance(data[0], dict) and "request_created_at" in data[0]


def _no_request(row: Mapping[str, Any]) -> RejectedError:
    if _is_page(row):
        way_out = "write the items of its `data` one per line: jq -c '.data[]' page.json"
        return RejectedError(f"this is a page of Helicone's API, not a request; {way_out}", kind="not_a_whole_trace")
    if row.keys() >= _OF_CSV:
        return RejectedError(f"this is {_CSV}", kind="not_a_whole_trace")
    return RejectedError(f"there is no request_id in this record; {_WAY_OUT}", kind="no_id")


def _score(row: dict[str, Any]) -> Score:
    if "request_id" not in row:
        if _is_page(row):
            return Score(0.2, "each record is a page of Helicone's API; write the items of its `data` one per line")
        if row.keys() >= _OF_CSV:
            return Score(0.2, f"each record is {_CSV}")
        return Score(0.0, "")
    own = len(row.keys() & _OWN)
    if "request_created_at" in row and own >= 5:
        return Score(0.97, "rows of Helicone requests")
    if "request_created_at" in row and own >= 3:
        return Score(0.8, "rows of Helicone requests, with few of their fields")
    return Score(0.3 if own >= 2 else 0.0, "rows with a request_id and little else that Helicone writes")


MAPPER = Mapper(name="helicone", family="helicone", detect=detect, map_trace=map_trace)
