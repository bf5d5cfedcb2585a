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
    second_finish: Literal["accept", "refuse"] = "accept"
    """[2.4] Whether a finished session can be finished again."""
    batch_delete_status: int = 204
    """[2.4] Status of DELETE /sessions/batch."""
    nul: Literal["reject", "accept"] = "reject"
    """NUL in a text: Postgres cannot hold it; we answer 400 where the API may well answer 500."""
    big_integers: Literal["round", "keep"] = "round"
    """Integers beyond 2^53: rounded to a double, as JavaScript does, or kept."""
    max_body_bytes: int = 26_214_400
    """[2] Longer bodies get `too_large_status`; the default is the largest documented size (25 MB)."""
    too_large_status: int = 413
    """[2] See there."""

    # Lists
    default_limit: int = 10_000
    """[D] Rows of a list without `limit`."""
    max_list_limit: int = 10_000
    """[13] The largest `limit`."""
    over_list_limit: Literal["clamp", "refuse"] = "clamp"
    """[13] What a larger one gets."""
    default_order: Literal["newest_first", "oldest_first", "unspecified"] = "newest_first"
    """[13] Order without `sort`; `unspecified` is by id, so as good as random."""
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
