"""Files of LangSmith's `langsmith-fetch`: the messages of a trace or a thread, with what its run says beside them.

Source: langsmith-fetch 0.3.1 from PyPI, langsmith_cli/fetchers.py (what a file holds), cli.py (how it is written).

| field | Trace field |
|---|---|
| trace_id, of a thread thread_id | id: the same as of the runs themselves |
| thread_id; else custom_metadata.{thread_id, session_id, conversation_id} | conversation_id |
| messages, OpenAI's or LangChain's | turns, spans, system: conversation.py; of a trace the last turn, see below |
| metadata.status | status |
| metadata.start_time, end_time | started_at, ended_at |
| metadata.token_usage, costs.total_cost | tokens, cost |
| custom_metadata.user_id, ls_model_name | user_id, models |
| custom_metadata | metadata |
| all else that is not empty (feedback, feedback_stats, …) | metadata.langsmith |

A trace is one request, and of a graph that keeps its state it holds the messages of the earlier ones, too: what was
said before its last question is kept in metadata.langsmith.earlier_messages. A thread has all of its turns. Its
metadata are those of its last trace: only status and end are the thread's, and all else stays in metadata.langsmith.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.errors import RejectedError
from pipeline.mappers import fields
from pipeline.mappers.conversation import read_messages, role_of
from pipeline.mappers.mapper import Detection, Mapper
from pipeline.mappers.nested_json import unwrap
from pipeline.mappers.scoring import Score, judge
from pipeline.models import Status, Trace

_STATUS = {"success": Status.COMPLETED, "error": Status.FAILED, "pending": Status.PENDING}
_TOKENS = {"prompt_tokens": "input", "completion_tokens": "output", "total_tokens": "total"}
_SIGNS = frozenset(["messages", "metadata", "feedback"])
_IDS = ("trace_id", "thread_id")
_CONVERSATION = ("thread_id", "session_id", "conversation_id")


def map_trace(record: Any) -> Trace:
    """One trace or thread. Raises RejectedError, naming the field and the way out."""
    rest = dict(fields.object_of(record))
    trace_id, thread_id = (fields.id_of(rest.pop(key, None), key) for key in _IDS)
    if trace_id is None and thread_id is None:
        raise RejectedError(f"trace_id or thread_id is missing or empty; {fields.WAY_OUT}", kind="no_id")
    said = unwrap(rest.pop("messages", None))
    conversation = read_messages(said, "messages")
    if trace_id is not None and len(conversation.turns) > 1:
        rest["earlier_messages"], said = _apart(said)
        conversation = read_messages(said, "messages")
    run = _object(rest.pop("metadata", None), "metadata")
    own = _object(run.pop("custom_metadata", None), "metadata.custom_metadata")
    status = _STATUS.get(str(run.get("status")), Status.COMPLETED)
    ended_at = fields.time_of(run.pop("end_time", None), "metadata.end_time")
    started_at: str | None = None
    tokens: dict[str, int] = {}
    cost: float | None = None
    models: tuple[str, ...] = ()
    if trace_id is not None:
        started_at = fields.time_of(run.pop("start_time", None), "metadata.start_time")
        usage = _object(run.pop("token_usage", None), "metadata.token_usage")
        counts = fields.tokens_of(usage, "metadata.token_usage")
        tokens = {_TOKENS.get(kind, kind): count for kind, count in counts.items()}
        costs = _object(run.get("costs"), "metadata.costs")
        cost = fields.number_of(costs.get("total_cost"), "metadata.costs.total_cost")
        models = fields.tags_of(own.pop("ls_model_name", None), "metadata.custom_metadata.ls_model_name")
    told = (fields.id_of(own.get(key), f"metadata.custom_metadata.{key}") for key in _CONVERSATION)
    rest |= {key: value for key, value in run.items() if value != {"status": "success"}.get(key)}
    if conversation.message_fields:
        rest["message_fields"] = conversation.message_fields
    return Trace(
        id=trace_id or thread_id,
        conversation_id=thread_id or next((value for value in told if value is not None), None),
        started_at=started_at,
        ended_at=ended_at,
        user_id=fields.id_of(own.pop("user_id", None), "metadata.custom_metadata.user_id"),
        status=status,
        system=conversation.system,
        turns=conversation.turns,
        models=models,
        tokens=tokens,
        cost=cost,
        metadata=fields.beside(own, "langsmith", _stated(rest)),
        origin={"format": "langsmith-fetch"},
    )


def detect(sample: Sequence[Any]) -> Detection:
    """How sure are we that langsmith-fetch wrote these?"""
    return judge(sample, _score, "no files of langsmith-fetch (trace_id or thread_id, messages, metadata, feedback)")


def is_fetched(row: dict[str, Any]) -> bool:
    """Does it look as langsmith-fetch writes it?"""
    return row.keys() >= _SIGNS and any(key in row for key in _IDS)


def _apart(messages: list[Any]) -> tuple[list[Any], list[Any]]:
    """What was said before the last question; and that question with all after it, below the system prompt."""
    roles = [role_of(message) for message in messages]
    at = max((index for index, role in enumerate(roles) if role == "user"), default=0)
    while at and roles[at - 1] == "user":
        at -= 1
    before = list(zip(messages[:at], roles, strict=False))
    return (
        [message for message, role in before if role != "system"],
        [*(message for message, role in before if role == "system"), *messages[at:]],
    )


def _object(value: Any, place: str) -> dict[str, Any]:
    if fields.is_empty(value):
        return {}
    if not isinstance(value, dict):
        raise fields.bad_field(place, "an object", value)
    return dict(value)


def _stated(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    stated = {key: _stated(inner) for key, inner in value.items()}
    return {key: inner for key, inner in stated.items() if not fields.is_empty(inner)}


def _score(row: dict[str, Any]) -> Score:
    return Score(0.97, "messages as langsmith-fetch writes them") if is_fetched(row) else Score(0.0, "")


MAPPER = Mapper(name="langsmith-fetch", family="langsmith", detect=detect, map_trace=map_trace)
