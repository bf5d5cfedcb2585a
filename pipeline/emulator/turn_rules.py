"""What the bodies of the turn routes may say; null is the same as left out, except in an update."""

from __future__ import annotations

from typing import Any

from pipeline.emulator.options import Options
from pipeline.emulator.query import milliseconds
from pipeline.emulator.wire import RefusalError

STATUSES = ("PENDING", "GENERATED", "FAILED", "SKIPPED")
SESSION_FIELDS = ("sessionId", "sessionCustomId", "versionId", "productId")
INTEGERS = ("inputTokens", "outputTokens", "cacheReadInputTokens", "tokens")
NUMBERS = ("latency", "costPerInputToken", "costPerOutputToken", "costPerCacheReadInputToken", "cost")
VALUE_FIELDS = ("input", "actualOutput", *NUMBERS, *INTEGERS, "conversationSimulatorVersion")
"""What is only shown."""
WRITABLE = frozenset((*VALUE_FIELDS, "retrievalContext", "status", "error", "userId", "index"))
PLACE_FIELDS = frozenset(("sessionId", "createdAt", "deletedAt"))
_STRINGS = ("retrievalContext", "error", "userId", "conversationSimulatorVersion")


def check_create(body: dict[str, Any], options: Options) -> None:
    check_known(body, WRITABLE.union(SESSION_FIELDS), options)
    check_session(body)
    _check_values(body, options)


def check_update(body: dict[str, Any], options: Options) -> None:
    """What the place fields say is checked only where it counts."""
    check_known(body, WRITABLE | PLACE_FIELDS, options)
    for name in ("status", "index"):
        if name in body and body[name] is None:
            raise RefusalError(400, f"{name} must not be null.")
    _check_values(body, options)
    if options.turn_patch_of_place == "refuse" and not PLACE_FIELDS.isdisjoint(body):
        raise RefusalError(400, f"{sorted(PLACE_FIELDS & body.keys())[0]} cannot be changed.")
    if options.turn_patch_of_place == "accept":
        _check_strings(body, PLACE_FIELDS)
        for name in ("createdAt", "deletedAt"):
            check_time(body.get(name), name)


def check_session(body: dict[str, Any]) -> None:
    """Exactly one name of the session, and for a custom id the version or product that it is unique in."""
    _check_strings(body, SESSION_FIELDS)
    if bool(body.get("sessionId")) == bool(body.get("sessionCustomId")):
        raise RefusalError(400, "Exactly one of sessionId and sessionCustomId must be provided.")
    if body.get("sessionCustomId") and not (body.get("versionId") or body.get("productId")):
        raise RefusalError(400, "sessionCustomId needs versionId or productId.")


def check_known(body: dict[str, Any], known: frozenset[str], options: Options) -> None:
    if options.unknown_fields == "refuse" and not known.issuperset(body):
        raise RefusalError(400, f"Unknown field: {sorted(set(body) - known)[0]}")


def check_time(value: Any, name: str) -> int | None:
    """As milliseconds; the time of day must be there."""
    if value is None:
        return None
    try:
        if not isinstance(value, str) or "T" not in value:
            raise ValueError(value)
        return milliseconds(value)
    except ValueError as error:
        raise RefusalError(400, f"{name} must be an ISO 8601 date-time.") from error


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_values(body: dict[str, Any], options: Options) -> None:
    _check_strings(body, _STRINGS)
    if not isinstance(body.get("input"), str | dict | None):
        raise RefusalError(400, "input must be a string or an object.")
    _check_output(body.get("actualOutput"), options)
    for name in (*NUMBERS, *INTEGERS):
        _check_number(body, name, options)
    if body.get("status") is not None and body["status"] not in STATUSES:
        raise RefusalError(400, f"status must be one of {', '.join(STATUSES)}.")
    index = body.get("index")
    if index is not None and (not isinstance(index, int) or isinstance(index, bool) or index < 0):
        raise RefusalError(400, "index must be a non-negative integer.")


def _check_output(output: Any, options: Options) -> None:
    if not isinstance(output, str | dict | None):
        raise RefusalError(400, "actualOutput must be a string or an object.")
    if isinstance(output, dict) and options.output_objects == "envelope":
        message, content = output.get("assistant_message"), output.get("content")
        if message is None and content is None:
            raise RefusalError(400, "actualOutput must have assistant_message or content.")
        if not isinstance(message, str | None) or not isinstance(content, list | None):
            raise RefusalError(400, "assistant_message must be a string, and content an array.")


def _check_number(body: dict[str, Any], name: str, options: Options) -> None:
    value = body.get(name)
    if value is None:
        return
    if not is_number(value):
        raise RefusalError(400, f"{name} must be a number.")
    is_whole = isinstance(value, int) or value.is_integer()  # JavaScript knows no difference between 1.0 and 1
    if name in INTEGERS and not is_whole:
        raise RefusalError(400, f"{name} must be an integer.")
    if value < 0 and options.negative_turn_numbers == "refuse":
        raise RefusalError(400, f"{name} must not be negative.")
    if name == "latency" and not is_whole and options.fractional_latency != "accept":
        if options.fractional_latency == "refuse":
            raise RefusalError(400, "latency must be an integer.")
        body[name] = round(value)


def _check_strings(body: dict[str, Any], names: Any) -> None:
    for name in names:
        if not isinstance(body.get(name), str | None):
            raise RefusalError(400, f"{name} must be a string.")
