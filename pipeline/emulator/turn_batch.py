"""The messages of a batch, and the turns that they are: each user's message with the assistant's answer to it."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.emulator.options import Options
from pipeline.emulator.turn_rules import SESSION_FIELDS, check_known, check_session
from pipeline.emulator.wire import RefusalError

BATCH_FIELDS = frozenset((*SESSION_FIELDS, "conversationTurns", "conversationSimulatorVersion"))
MESSAGE_FIELDS = frozenset(("role", "content", "retrieval_context"))
ROLES = ("user", "assistant")


class Pair(NamedTuple):
    input: str | None
    output: str | None
    retrieval_context: str | None


class Pairs(NamedTuple):
    stored: list[Pair]
    refusal: RefusalError | None
    """What is answered although the turns before the invalid message are stored."""


def check_batch(body: dict[str, Any], options: Options) -> Pairs:
    """The turns to store, in order."""
    check_known(body, BATCH_FIELDS, options)
    check_session(body)
    if not isinstance(body.get("conversationSimulatorVersion"), str | None):
        raise RefusalError(400, "conversationSimulatorVersion must be a string.")
    messages = body.get("conversationTurns")
    if not isinstance(messages, list) or not messages:
        raise RefusalError(400, "conversationTurns must be a non-empty array.")
    count = len(messages) if options.batch_turns_counted == "messages" else (len(messages) + 1) // 2
    if options.max_batch_turns and count > options.max_batch_turns:
        raise RefusalError(400, f"conversationTurns must not have more than {options.max_batch_turns} entries.")
    pairs: list[Pair] = []
    try:
        _pair(messages, pairs, options)
    except RefusalError as refusal:
        if options.invalid_message == "refuse_all" or not pairs:
            raise
        return Pairs(pairs, refusal)
    return Pairs(pairs, None)


def _pair(messages: list[Any], pairs: list[Pair], options: Options) -> None:
    """Adds to `pairs` as it goes, so that they are there when it raises."""
    waiting: str | None = None
    for index, message in enumerate(messages):
        _check_message(message, f"conversationTurns[{index}]", options)
        if message["role"] == "user":
            if waiting is not None:
                _add_lone(Pair(waiting, None, None), index - 1, pairs, options)
            waiting = message["content"]
        else:
            pair = Pair(waiting, message["content"], message.get("retrieval_context"))
            if waiting is None:
                _add_lone(pair, index, pairs, options)
            else:
                pairs.append(pair)
            waiting = None
    if waiting is not None:
        _add_lone(Pair(waiting, None, None), len(messages) - 1, pairs, options)


def _add_lone(pair: Pair, index: int, pairs: list[Pair], options: Options) -> None:
    if options.lone_messages == "refuse":
        other = "user" if pair.input is None else "assistant"
        raise RefusalError(400, f"conversationTurns[{index}] has no {other} message beside it.")
    if options.lone_messages == "pair":
        pairs.append(pair)


def _check_message(message: Any, where: str, options: Options) -> None:
    if not isinstance(message, dict):
        raise RefusalError(400, f"{where} must be an object.")
    check_known(message, MESSAGE_FIELDS, options)
    if message.get("role") not in ROLES:
        raise RefusalError(400, f"{where}.role must be one of {', '.join(ROLES)}.")
    if not isinstance(message.get("content"), str):
        raise RefusalError(400, f"{where}.content is required and must be a string.")
    if not message["content"] and options.empty_messages == "refuse":
        raise RefusalError(400, f"{where}.content must not be empty.")
    if not isinstance(message.get("retrieval_context"), str | None):
        raise RefusalError(400, f"{where}.retrieval_context must be a string.")
