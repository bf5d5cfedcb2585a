"""Which traces are wanted: by time, by id, by a condition, or as a stable sample. A trace is judged as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import NamedTuple

from pipeline.bounds import parse_bound
from pipeline.clock import iso
from pipeline.config import SourceConfig
from pipeline.mappers.custom import compile_expression
from pipeline.models import Trace, plain


class Verdict(Enum):
    """What a filter says of a trace."""

    WANTED = auto()
    FILTERED = auto()
    LATER = auto()  # too young for until_trace_time; as that moves along with the days, its file is not done


class Filter(NamedTuple):
    """All filters of a configuration; asked with a trace and the text of its first record."""

    judge: Callable[[Trace, bytes], Verdict]
    ids_not_met: set[str]
    """Of the ids that are wanted, those that no trace had so far, and no conversation."""

    def __call__(self, trace: Trace, raw: bytes) -> Verdict:
        """The text of its first record stands for a trace without an id of its own."""
        return self.judge(trace, raw)


def trace_filter(config: SourceConfig, now: datetime) -> Filter | None:
    """All filters of the configuration as one; None where it has none.

    Raises UsageError for a condition that is no JMESPath, or asks for what no trace has.
    """
    if not config.filters():
        return None
    merges = config.session_per == "conversation"
    since, until = _bound(config.since, now), _bound(config.until_trace_time, now)
    has_times = since is not None or until is not None
    moves = config.until_trace_time is not None and isinstance(parse_bound(config.until_trace_time), timedelta)
    ids = frozenset(config.ids) if config.ids is not None else None
    names = Trace.__struct_fields__
    is_true = compile_expression(config.where, "source.where", names=names) if config.where is not None else None
    not_met = set(ids or ())
    sample = config.sample

    def verdict(trace: Trace, raw: bytes) -> Verdict:
        if ids is not None:
            met = ids & {trace.id, trace.conversation_id}
            if not met:
                return Verdict.FILTERED
            not_met.difference_update(met)
        if has_times and trace.started_at is None:  # nobody knows whether it is in time
            return Verdict.FILTERED
        if since is not None and (trace.started_at or "") < since:
            return Verdict.FILTERED
        if sample is not None and _share(trace, raw, merges=merges) >= sample:
            return Verdict.FILTERED
        if is_true is not None and not _holds(is_true(plain(trace))):
            return Verdict.FILTERED
        if until is not None and (trace.started_at or "") >= until:
            return Verdict.LATER if moves else Verdict.FILTERED
        return Verdict.WANTED

    return Filter(verdict, not_met)


def _bound(text: str | None, now: datetime) -> str | None:
    """In the form in which traces have their times, so that they can be compared as texts."""
    if text is None:
        return None
    bound = parse_bound(text)
    return iso(now - bound if isinstance(bound, timedelta) else bound)


def _share(trace: Trace, raw: bytes, *, merges: bool) -> float:
    """Where a trace stands between 0 and 1, the same every night: a bigger sample holds all of a smaller one."""
    if merges and trace.conversation_id is not None:  # all of a conversation, or nothing
        key = trace.conversation_id.encode()
    else:
        key = trace.id.encode() if trace.id is not None and trace.id_is_unique else raw
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64


def _holds(value: object) -> bool:
    """JMESPath's own idea of truth: 0 is true, and what is empty is not."""
    return value is not None and value is not False and value not in ("", [], {})
