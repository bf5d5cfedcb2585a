"""Traces of one conversation, scattered over lines and files, are brought together on disk."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from msgspec.structs import replace

from pipeline.assembly.dialogue import Dialogue
from pipeline.errors import StoppedError
from pipeline.facts import TRACES
from pipeline.ledger.parts import identity
from pipeline.mappers.mapper import Mapper
from pipeline.models import Origin, Status, Trace

COMMIT_EVERY = 1_000
_BEFORE_ALL = -(1 << 48)
"""Traces of one conversation without times stand in order of arrival, and those of earlier runs came before."""


class Conversation(NamedTuple):
    """The traces of one conversation as one trace, and the records it was made of."""

    trace: Trace
    mapper: Mapper
    origin: Origin
    """The first record is the conversation's place, wherever reading ends."""
    traces: int
    trace_ids: tuple[str, ...]
    places: Mapping[str, dict[int, int]]
    """Of the records of this run, by source, and which traces they belong to."""
    present: frozenset[int]
    """Which traces are there, of whatever run."""

    @property
    def key(self) -> bytes:
        """What it is found by in the index."""
        return conversation_key(self.mapper.family, self.trace.conversation_id or "")


def conversation_key(family: str, conversation_id: str) -> bytes:
    """What the traces of a conversation are found by: 16 bytes, which no trace has."""
    text = f"conversation\0{family}\0{conversation_id}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Conversations:
    """Keeps traces in a scratch file until all are there. Memory is that of one conversation."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "conversations.scratch"
        self._connection: sqlite3.Connection | None = None
        self._mappers: dict[str, Mapper] = {}
        self._count = self._count_earlier = 0

    def __enter__(self) -> Conversations:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
        self._file.unlink(missing_ok=True)

    def add(self, trace: Trace, mapper: Mapper, origin: Origin, trace_key: bytes | None = None) -> None:
        """Keep a trace that has a conversation id; `trace_key` where it was brought together from pieces."""
        self._count += 1
        self._insert(self._count, trace, mapper, origin, trace_key)

    def add_earlier(
        self, trace: Trace, mapper: Mapper, trace_key: bytes | None = None, missing: str | None = None
    ) -> None:
        """Keep a trace that an earlier run read: it stands before all that this one reads, and is charged there."""
        self._count_earlier += 1
        self._insert(_BEFORE_ALL + self._count_earlier, trace, mapper, Origin((), {}, missing=missing), trace_key)

    def has(self, trace_key: bytes) -> bool:
        """Was this trace brought together from pieces in this run?"""
        if self._connection is None:
            return False
        with self._disk_errors():
            return bool(self._connection.execute("SELECT 1 FROM part WHERE key = ? LIMIT 1", (trace_key,)).fetchone())

    def distinct_keys(self) -> Iterator[list[bytes]]:
        """The keys of all conversations that are there, in lists."""
        if self._connection is None:
            return
        with self._disk_errors():
            self._connection.execute("CREATE INDEX by_key ON part (key) WHERE key IS NOT NULL")
            rows = self._connection.execute("SELECT DISTINCT family, conversation FROM part")
            while some := rows.fetchmany(COMMIT_EVERY):
                yield [conversation_key(*row) for row in some]

    def _insert(self, number: int, trace: Trace, mapper: Mapper, origin: Origin, trace_key: bytes | None) -> None:
        self._mappers[mapper.name] = mapper
        # Our own values in our own scratch file (mode 0600, made new, deleted after): pickle reads no stranger's data.
        blob = pickle.dumps((trace, replace(origin, repairs=dict(origin.repairs))), protocol=5)
        with self._disk_errors():
            connection = self._open()
            connection.execute(
                "INSERT INTO part (number, key, family, conversation, started_at, tie, mapper, trace) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    trace_key,
                    mapper.family,
                    trace.conversation_id,
                    trace.started_at or "",
                    trace.id if trace_key is not None else "",
                    mapper.name,
                    blob,
                ),
            )
            if self._count % COMMIT_EVERY == 0:
                connection.commit()

    def merged(self) -> Iterator[Conversation]:
        """Conversation by conversation, in the order in which they first appeared."""
        if self._connection is None:
            return
        with self._disk_errors():
            self._connection.execute(
                "CREATE INDEX by_conversation ON part (family, conversation, started_at, tie, number)"
            )
            keys = self._connection.execute(
                "SELECT family, conversation FROM part GROUP BY family, conversation ORDER BY min(number)"
            )
            for family, conversation in keys:
                rows = self._connection.execute(
                    "SELECT number, mapper, trace FROM part WHERE family = ? AND conversation = ? "
                    "ORDER BY started_at, tie, number",
                    (family, conversation),
                )
                yield self._merge(rows)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as error:
            raise StoppedError(
                f"{self._file}: cannot keep conversations on disk ({error}); make room, run again"
            ) from error

    def _merge(self, rows: Iterable[tuple[int, str, bytes]]) -> Conversation:
        traces: list[Trace] = []
        origins: dict[int, Origin] = {}
        repairs: Counter[str] = Counter()
        mapper_names = []
        places: dict[str, dict[int, int]] = {}
        present: set[int] = set()
        by_id: dict[str, int] = {}
        for number, mapper_name, blob in rows:
            trace, origin = pickle.loads(blob)
            mapper_names.append(mapper_name)
            origins[number] = origin
            repairs.update(origin.repairs)
            _add_newest(traces, by_id, trace)
            which = identity(trace.id or "")
            present.add(which)
            for part in origin.parts:
                places.setdefault(part.source, {})[part.ordinal] = which
        return Conversation(
            trace=merge_traces(traces),
            mapper=self._mappers[mapper_names[0]],
            origin=Origin(
                tuple(part for number in sorted(origins) for part in origins[number].parts),
                dict(repairs),
                has_earlier_parts=min(origins) < 0,
                missing=next((origin.missing for origin in origins.values() if origin.missing), None),
                is_young=any(origin.is_young for origin in origins.values()),
            ),
            traces=len(origins),
            trace_ids=tuple(by_id),
            places=places,
            present=frozenset(present),
        )

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._file.unlink(missing_ok=True)
            self._file.touch(mode=0o600)
            # The reading thread is not always the same one, but there is one at a time.
            self._connection = sqlite3.connect(self._file, check_same_thread=False)
            with contextlib.closing(self._connection.cursor()) as cursor:
                cursor.execute("PRAGMA journal_mode = OFF")
                cursor.execute("PRAGMA synchronous = OFF")
                cursor.execute("PRAGMA cache_size = -16384")
                cursor.execute(
                    # Traces with one start stand in order of arrival; those from pieces, which have none, by id.
                    "CREATE TABLE part (number INTEGER PRIMARY KEY, key BLOB, family TEXT, conversation TEXT, "
                    "started_at TEXT, tie TEXT, mapper TEXT, trace BLOB)"
                )
        return self._connection


def _add_newest(traces: list[Trace], by_id: dict[str, int], trace: Trace) -> None:
    """Of several states of one trace the newest counts, and stands where the first one stood.

    Where they tell no revision, the later one is the newer. `by_id`: where each is.
    """
    if trace.id is None or not trace.id_is_unique:
        traces.append(trace)
        return
    index = by_id.setdefault(trace.id, len(traces))
    if index == len(traces):
        traces.append(trace)
    elif (trace.revision or "") >= (traces[index].revision or ""):
        traces[index] = trace


def merge_traces(traces: list[Trace]) -> Trace:
    """One trace that holds the turns of all, in their order; what each was on its own is kept in the metadata.

    Turns that repeat what was said before are there once (see dialogue.py). It ended as its last trace did, unless one
    is unfinished.
    """
    first, last = traces[0], traces[-1]
    dialogue = Dialogue()
    repeated = [dialogue.add(trace.turns) for trace in traces]
    tokens: Counter[str] = Counter()
    for trace in traces:
        tokens.update(trace.tokens)
    costs = [trace.cost for trace in traces if trace.cost is not None]
    system = next((trace.system for trace in traces if trace.system), None)
    has_unfinished = any(trace.status is Status.PENDING for trace in traces)
    return replace(
        first,
        id=first.conversation_id,
        id_is_unique=True,
        started_at=min((trace.started_at for trace in traces if trace.started_at), default=None),
        ended_at=None if has_unfinished else max((trace.ended_at for trace in traces if trace.ended_at), default=None),
        user_id=next((trace.user_id for trace in traces if trace.user_id), None),
        tags=_distinct(tag for trace in traces for tag in trace.tags),
        status=Status.PENDING if has_unfinished else last.status,
        error=last.error,
        system=system,
        partial=next((trace.partial for trace in traces if trace.partial), None),
        turns=tuple(dialogue.turns),
        models=_distinct(model for trace in traces for model in trace.models),
        tokens=dict(tokens),
        cost=sum(costs) if costs else None,
        metadata={TRACES: [_summary(trace, system, count) for trace, count in zip(traces, repeated, strict=True)]},
        revision=max((trace.revision for trace in traces if trace.revision), default=None),
    )


def _summary(trace: Trace, system: str | None, repeated: int) -> dict[str, object]:
    """What the merged trace cannot say for each of its parts; `system` is what it says already, `repeated`: so many of
    its turns are another's."""
    kept: dict[str, object] = {"trace_id": trace.id}
    if repeated:
        kept["repeated_turns"] = repeated
    for key in (
        "name",
        "started_at",
        "ended_at",
        "user_id",
        "environment",
        "release",
        "version",
        "error",
        "cost",
    ):
        value = getattr(trace, key)
        if value is not None:
            kept[key] = value
    if trace.system and trace.system != system:
        kept["system"] = trace.system
    if trace.tokens:
        kept["tokens"] = dict(trace.tokens)
    if trace.tags:
        kept["tags"] = list(trace.tags)
    if trace.metadata:
        kept["metadata"] = dict(trace.metadata)
    return kept


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
