"""What the contract leaves unknown: one named option each, with the default that we assume.

Numbers in brackets are the items of section 11 of `shared/api-contract.md`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Options:
    # Ids in a body
    unknown_version_status: int = 404
    """[4] Status when `versionId` names no version."""
    unknown_product_status: int = 404
    """[4] Status when `productId` names no product."""
    unknown_run_status: int = 404
    """[4] Status when `runId` names no run; there are no runs here, so this is what every run gets."""
    unknown_session_status: int = 404
    """[4] Status when a turn's `sessionId` names no session (no match for `sessionCustomId` is a 400, documented)."""
    unknown_turn_status: int = 400
    """[4] Status when the `inferenceResultId` of a single span names no turn; a batch drops such spans."""
    foreign_turn_prefix: str = "foreign_"
    """[5.1] Turn ids that begin so are another organization's: a span for one is a 403, and nothing is stored."""

    # Custom ids
    max_custom_id_length: int = 255
    """[3] Longer custom ids are a 400; 0 means any length."""
    empty_custom_id: Literal["refuse", "accept", "omit"] = "refuse"
    """[3] `""` is a 400, an id like any other (unique), or the same as none."""
    custom_ids_case_sensitive: bool = True
    """[3] Whether `A` and `a` are two ids."""
    deleted_hold_custom_id: bool = True
    """[3] Whether a deleted session still blocks its custom id."""

    # Bodies
    default_status: Literal["PENDING", "COMPLETED", "FAILED"] = "PENDING"
    """[6] Status of a session created without one."""
    unknown_fields: Literal["ignore", "refuse"] = "ignore"
    """[5] What happens to unknown keys in a body."""
    metadata_patch: Literal["replace", "merge"] = "replace"
    """[10] What PATCH does with `metadata`."""
    finish_with_both: Literal["failed", "completed", "refuse"] = "failed"
    """[2.4] The end of a finish with a stopping reason and an error."""
    second_finish: Literal["accept", "refuse", "ignore"] = "accept"
    """[2.4] Whether a finished session can be finished again; `ignore`: it is answered as it is."""
    batch_delete_status: int = 204
    """[2.4] Status of DELETE /sessions/batch."""
    deleted_sessions_keep_turns: bool = False
    """[2.4] Whether the turns and spans of a deleted session are still there."""
    hidden_sessions_are_writable: bool = True
    """Whether turns and updates find a session that reads do not show yet (fault `visible_after_ms`)."""
    nul: Literal["reject", "accept"] = "reject"
    """NUL in a text: Postgres cannot hold it; we answer 400 where the API may well answer 500."""
    big_integers: Literal["round", "keep"] = "round"
    """Integers beyond 2^53: rounded to a double, as JavaScript does, or kept."""
    max_body_bytes: int = 26_214_400
    """[2] Longer bodies get `too_large_status`; the default is the largest documented size (25 MB)."""
    too_large_status: int = 413
    """[2] See there."""

    # The life of a session
    closed_session_policy: Literal["REJECT", "IGNORE", "REOPEN_AND_REEVALUATE"] = "REOPEN_AND_REEVALUATE"
    """[D] What a closed session does with a turn, for products that are created without a policy of their own."""
    ignored_turn_answer: Literal["as_if_stored", "empty"] = "as_if_stored"
    """[7] What a turn that is ignored gets: a turn with an id that leads nowhere, or null (a batch: an empty list)."""
    reopened_keeps_end: bool = False
    """[2.5] Whether a session keeps stopping reason and error when a turn reopens it."""
    auto_close_scope: Literal["NONE", "DEVELOPMENT", "PRODUCTION", "ALL"] = "ALL"
    """[D] Which idle sessions close by themselves, for products that are created without a scope of their own."""
    auto_close_minutes: int = 30
    """[D] After how long, likewise. Turns, spans, updates and their like begin it anew."""
    auto_close_status: Literal["COMPLETED", "FAILED"] = "COMPLETED"
    """[2.5] How they close."""

    # Turns
    turn_created_status: int = 201
    """[7] Status of POST /inferenceResults."""
    turn_batch_status: int = 201
    """[7] Status of POST /inferenceResults/batch."""
    default_turn_status: Literal["PENDING", "GENERATED", "FAILED", "SKIPPED"] = "PENDING"
    """[4.1] Status of a turn created without one; those of a batch are GENERATED."""
    list_lag_ms: int = 0
    """[8] How much later than by their ids turns and spans are shown in lists."""
    turn_texts: Literal["keep", "trim"] = "keep"
    """[4.1] Whether `input` and `actualOutput` that are texts keep the space around them."""
    output_objects: Literal["envelope", "any"] = "envelope"
    """[4.1] An `actualOutput` that is an object must have `assistant_message` or `content`, or may be any."""
    fractional_latency: Literal["accept", "round", "refuse"] = "accept"
    """[4.1] What happens to a `latency` that is no integer."""
    negative_turn_numbers: Literal["refuse", "accept"] = "refuse"
    """[4.1] What happens to negative latencies, tokens and costs of a turn."""
    taken_turn_index: Literal["accept", "refuse"] = "accept"
    """[8] Whether two turns of a session may have the same `index`, where it is given."""
    turn_patch_of_place: Literal["ignore", "accept", "refuse"] = "ignore"
    """[4.3] What PATCH does with `sessionId`, `createdAt` and `deletedAt` of a turn, which the SDK can send."""
    max_batch_turns: int = 100
    """[7] A longer `conversationTurns` is a 400; 0 means any length."""
    batch_turns_counted: Literal["messages", "pairs"] = "messages"
    """[7] What is counted there."""
    lone_messages: Literal["refuse", "pair", "drop"] = "refuse"
    """[7] A message of a batch without its counterpart: a 400, a turn with an empty half, or silently dropped."""
    empty_messages: Literal["accept", "refuse"] = "accept"
    """[7] Whether `content` may be empty."""
    invalid_message: Literal["refuse_all", "store_before"] = "refuse_all"
    """[7] One invalid message makes the batch a 400: with nothing stored, or with all pairs before it."""

    # Spans
    span_created_status: int = 201
    """[5.1] Status of POST /traces and /traces/batch."""
    max_batch_spans: int = 100
    """[9] A longer batch of spans is a 400; 0 means any length."""
    max_description_bytes: int = 1_048_576
    """[D] Spans with a longer `description` are refused."""
    max_span_value_bytes: int = 10_485_760
    """[D] The same for `inputData`, `outputData` and `metadata`, each as JSON."""
    taken_span_id: Literal["reject", "keep_first", "refuse_all"] = "reject"
    """[9] A span whose `id` is there already: dropped, answered with the first, or the whole call a 400."""
    span_ids: Literal["keep", "own"] = "keep"
    """[5.1] Whether a span gets the `id` that it was sent with, or one of the API's own."""
    listed_span_metadata: Literal["keep", "text", "hide"] = "keep"
    """[5.1] How a list shows the metadata of spans, which may be null: as sent, as JSON in a text, or not at all."""
    unknown_parent: Literal["accept", "reject", "reject_unless_before"] = "accept"
    """[9] A `parentTraceId` that names no span, stored or in the call (or, in the call, before its child)."""

    # Lists
    default_limit: int = 10_000
    """[D] Rows of a list without `limit`."""
    max_list_limit: int = 10_000
    """[13] The largest `limit`."""
    over_list_limit: Literal["clamp", "refuse"] = "clamp"
    """[13] What a larger one gets."""
    default_order: Literal["newest_first", "oldest_first", "unspecified"] = "newest_first"
    """[13] Order without `sort`; `unspecified` is by id, so as good as random."""
    listed_turn_order: Literal["keep", "hide"] = "keep"
    """[4.1, 13] Whether a list tells which turn came first: or `index` is null and `createdAt` has whole seconds."""
    equal_times_order: Literal["insertion", "unspecified", "changing"] = "insertion"
    """[13] Order of rows with equal sort keys, as the turns of a batch have; `changing`: another one for each page."""
    unknown_query: Literal["ignore", "refuse"] = "ignore"
    """[14] What happens to unknown query parameters."""
    max_query_bytes: int = 2_300
    """[1.2] Longer queries are stopped by the WAF in front of the API; 0 means any length."""
    long_query_status: int = 403
    """[1.2] With HTML: 403 is the production WAF, 414 the nginx of dev."""

    # Routes and keys
    unknown_route_status: int = 404
    """[1.2] Express's HTML page for what is no route, also for a known path with another method."""
    read_only_key: str = ""
    """[1.1] A key that may read and gets 403 for everything else."""

    # Limits
    rate_limit_mode: Literal["token_bucket", "fixed_window"] = "token_bucket"
    """[1] How `--max-per-second` is counted."""
    rate_limit_window_seconds: float = 60.0
    """[1] Length of a fixed window; windows are aligned to the clock."""
    rate_limit_headers: Literal["retry-after-seconds", "http-date", "none", "x-ratelimit"] = "retry-after-seconds"
    """[1] What a 429 tells; `x-ratelimit`: limit, remaining, reset on every answer, no Retry-After."""
    queue_per_second: float = 0.0
    """[1] Instead of 429s: answers beyond so many a second wait in a queue, so latency rises; 0 means off."""

    # Transport
    compress_responses: bool = False
    """[1] Gzip answers over 1 KB for clients that accept it (the API may); off, because it costs CPU."""
    keep_alive_seconds: int = 60
    """Idle connections are closed after so long."""


def with_settings(options: Options, settings: Iterable[str]) -> Options:
    """`options` with each `name=value` applied; ValueError says what is wrong with one."""
    hints = get_type_hints(Options)
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"{setting!r}: write it as name=value")
        if name not in hints:
            raise ValueError(f"{name!r} is no option; there are: {', '.join(f.name for f in fields(Options))}")
        values[name] = _value(name, hints[name], text)
    return replace(options, **values)


def _value(name: str, hint: Any, text: str) -> bool | int | float | str:
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ValueError(f"{name}={text}: it is one of {', '.join(get_args(hint))}")
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name}={text}: it is true or false")
        return text.lower() == "true"
    try:
        return str(text) if hint is str else int(text) if hint is int else float(text)
    except ValueError:
        raise ValueError(f"{name}={text}: it is a number") from None
