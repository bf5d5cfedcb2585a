"""Files of chats that no tracing tool wrote: OpenAI `messages`, ShareGPT, LMSYS-Chat-1M, WildChat, tau-bench.

Sources: formats.md section 11; platform.openai.com/docs (fine-tuning, chat format); the data set cards of
lmsys/lmsys-chat-1m, allenai/WildChat-1M and WildChat-nontoxic; FastChat's data/dummy_conversation.json;
sierra-research/tau-bench, tau_bench/types.py (EnvRunResult) and historical_trajectories/gpt-4o-airline.json.

| field | Trace field |
|---|---|
| messages, conversations, conversation, traj; also as JSON in a text | turns, spans, system: conversation.py |
| a record that is a list of messages | the same |
| system (ShareGPT) | system, before the system messages |
| id (OpenAI) | id; rows without one have no id |
| id (ShareGPT) | id, which is not unique |
| conversation_id (LMSYS) | id and conversation_id |
| conversation_hash, turn_identifier (WildChat) | id; see below |
| task_id, trial (tau-bench) | id, as "task_id-trial", which is not unique: each run has the same tasks |
| info.error (tau-bench) | error: it FAILED |
| conversation_id, session_id, thread_id (elsewhere) | conversation_id |
| model | models |
| created, created_at, timestamp | started_at where it is a time; in WildChat the last turn's, so ended_at |
| user, user_id | user_id, where it is a text or an integer |
| usage | tokens (prompt_tokens is input, completion_tokens is output) |
| metadata | metadata |
| all else that is not empty (tools, language, openai_moderation, …) | metadata.chat, under its own name |
| what could not be read as the above, and a usage that holds more | metadata.chat too |
| fields of messages that are not modelled | metadata.chat.message_fields |

WildChat's duplicates share a conversation_hash, so the id is "hash-identifier", with the last turn_identifier
of the messages; without one the id is the hash and not unique. There is no conversation_id, or the duplicates
would be taken for one dialogue. The first WildChat has neither: there the hash is called conversation_id.

The status is COMPLETED always, also where the last user message has no answer: these files know no "running".
A reward of tau-bench is a score and no status; it stays in metadata.chat, with all of `info`.
origin is {"format": "chat", "shape": "openai", "sharegpt", "lmsys", "wildchat" or "tau_bench"}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.conversation import Conversation, is_role, read_messages
from pipeline.mappers.langsmith_fetch import is_fetched
from pipeline.mappers.mapper import Detection, Mapper
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score, judge
from pipeline.mappers.times import iso_utc
from pipeline.models import Status, Trace

_KEYS = ("messages", "conversations", "conversation", "traj")
_ONE_MESSAGE = (
    "each record is one message (role, content), not a whole conversation; make one record of each file: "
    "jq -c '{id: input_filename, messages: .}' *.json > chats.jsonl"
)
_KINDS_OF_TOKENS = {
    "prompt_tokens": "input",
    "completion_tokens": "output",
    "total_tokens": "total",
    "input_tokens": "input",
    "output_tokens": "output",
}


def map_trace(record: Any) -> Trace:
    """One conversation. Raises RejectedError, naming the field and the way out."""
    row = {"messages": record} if isinstance(record, list) else fields.object_of(record)
    key = _messages_key(row)
    conversation = read_messages(row[key], key)
    shape = _shape(row, key)
    rest = {name: value for name, value in row.items() if name != key and not fields.is_empty(value)}
    trace_id, is_unique = _take_id(rest, row[key], shape)
    conversation_id = trace_id if shape == "lmsys" else None
    if shape not in ("lmsys", "wildchat"):
        conversation_id = _take(rest, ("conversation_id", "session_id", "thread_id"), _id)
    model = _take(rest, ("model",), _text)
    moment = _take(rest, ("timestamp", "created", "created_at"), iso_utc)
    user_id = _take(rest, ("user_id", "user"), _id)
    tokens = _take_tokens(rest)
    system = _system(rest, conversation)
    error = _error(rest) if shape == "tau_bench" else None
    own = unwrap(rest.pop("metadata", None))
    if not isinstance(own, dict):
        own = {} if fields.is_empty(own) else {"metadata": own}
    if conversation.message_fields:
        rest = fields.beside(rest, "message_fields", conversation.message_fields)
    started_at = next((turn.started_at for turn in conversation.turns if turn.started_at), None)
    ended_at = next((turn.ended_at for turn in reversed(conversation.turns) if turn.ended_at), None)
    return Trace(
        id=trace_id,
        id_is_unique=is_unique,
        conversation_id=conversation_id,
        started_at=started_at if shape == "wildchat" else moment or started_at,
        ended_at=moment or ended_at if shape == "wildchat" else ended_at,
        user_id=user_id,
        status=Status.COMPLETED if error is None else Status.FAILED,
        error=error,
        system=system,
        turns=conversation.turns,
        models=() if model is None else (model,),
        tokens=tokens,
        metadata=fields.beside(own, "chat", rest),
        origin={"format": "chat", "shape": shape},
    )


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that these are whole conversations?"""
    rows = [{"messages": value} if isinstance(value, list) else value for value in sample]
    return judge(rows, _score, "no list of messages (messages, conversations, conversation or traj)")


# --- fields -----------------------------------------------------------------------------------------------


def _messages_key(row: dict[str, Any]) -> str:
    for key in _KEYS:
        if row.get(key) is not None:
            return key
    present = [key for key in _KEYS if key in row]
    if present:
        raise fields.bad_field(present[0], "a list of messages", None)
    raise RejectedError(
        "there is no list of messages (messages, conversations, conversation or traj); if they stand elsewhere, "
        "say where: format: custom with mapping.trace.messages",
        kind="no_messages",
    )


def _shape(row: dict[str, Any], key: str) -> str:
    if key in ("messages", "traj"):
        return "openai" if key == "messages" else "tau_bench"
    if "conversation_hash" in row or "detoxify_moderation" in row:
        return "wildchat"
    return "lmsys" if "conversation_id" in row and "id" not in row else "sharegpt"


def _take_id(rest: dict[str, Any], messages: Any, shape: str) -> tuple[str | None, bool]:
    """The id of the conversation, taken out of `rest`, and whether it is unique."""
    if shape == "wildchat":
        key = "conversation_hash" if "conversation_hash" in rest else "conversation_id"
        conversation_hash = fields.id_of(rest.get(key), key)
        marks = [message.get("turn_identifier") for message in unwrap(messages)]
        identifier = next((mark for mark in reversed(marks) if mark is not None), None)
        if conversation_hash is None or identifier is None:
            return conversation_hash, False
        return f"{conversation_hash}-{fields.id_of(identifier, 'turn_identifier')}", True
    if shape == "tau_bench" and rest.get("id") is None:
        told = [fields.id_of(rest.get(key), key) for key in ("task_id", "trial")]
        return "-".join(part for part in told if part is not None) or None, False
    if shape == "lmsys":
        return fields.id_of(rest.pop("conversation_id", None), "conversation_id"), True
    return fields.id_of(rest.pop("id", None), "id"), shape != "sharegpt"


def _take(rest: dict[str, Any], keys: Sequence[str], read: Callable[[Any], Any]) -> Any:
    """What the first of `keys` holds, taken out of `rest`; what cannot be read stays there."""
    for key in keys:
        if key in rest:
            try:
                value = read(rest[key])
            except (ValueError, RejectedError):
                continue
            if value is not None:
                del rest[key]
                return value
    return None


def _id(value: Any) -> str | None:
    return fields.id_of(value, "")


def _text(value: Any) -> str | None:
    return fields.text_of(value, "")


def _take_tokens(rest: dict[str, Any]) -> dict[str, int]:
    """The counts in `usage`; it stays in `rest` where it holds more than these."""
    usage = rest.get("usage")
    if not isinstance(usage, dict):
        return {}
    tokens = {
        _KINDS_OF_TOKENS[kind]: count
        for kind, count in usage.items()
        if kind in _KINDS_OF_TOKENS and count.__class__ is int
    }
    if len(tokens) == len(usage):
        del rest["usage"]
    return tokens


def _error(rest: dict[str, Any]) -> str | None:
    info = unwrap(rest.get("info"), 1)
    error = info.get("error") if isinstance(info, dict) else None
    return error if isinstance(error, str) and error else None


def _system(rest: dict[str, Any], conversation: Conversation) -> str | None:
    stated = rest.get("system")
    if not isinstance(stated, str):
        return conversation.system
    del rest["system"]
    return f"{stated}\n\n{conversation.system}" if conversation.system is not None else stated


# --- detection --------------------------------------------------------------------------------------------


def _score(row: dict[str, Any]) -> Score:
    key = next((key for key in _KEYS if key in row), None)
    if key is None:
        if _is_message(row):
            return Score(0.2, _ONE_MESSAGE)
        return Score(0.0, "")
    messages = unwrap(row[key])
    if not isinstance(messages, list):
        return Score(0.1, f"{key} is not a list")
    if not messages:
        return Score(0.7, f"conversations ({key})")
    if not any(_is_message(message) for message in messages):
        return Score(0.1, f"{key} holds no messages with role and content")
    if is_fetched(row):
        return Score(0.7, "files of langsmith-fetch, of which not all is known here")
    return Score(0.95, f"conversations in the shape {_shape(row, key)} ({key})")


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return is_role(value.get("role", value.get("from", value.get("type")))) and (
        "content" in value or "value" in value or "tool_calls" in value or "function_call" in value
    )


MAPPER = Mapper(name="chat", family="chat", detect=detect, map_trace=map_trace)
