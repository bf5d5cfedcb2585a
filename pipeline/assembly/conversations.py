"""Traces of one conversation, scattered over lines and files, are brought together on disk.

Of a conversation that is longer than LONGEST_IN_MEMORY, all that grows with its turns is a sequence on disk, from here
to the request with which it leaves.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from msgspec.structs import replace

from pipeline.assembly.dialogue import Dialogue
from pipeline.errors import StoppedError
from pipeline.facts import TRACES
from pipeline.ledger.parts import identity
from pipeline.mappers.mapper import Mapper
from pipeline.models import Origin, Part, Status, Trace
from pipeline.on_disk import Filling, OnDisk, codec_of, filled, sequence_in

COMMIT_EVERY = 1_000
LONGEST_IN_MEMORY = 8_000_000
"""Bytes of its traces, each with its record."""
_OF_ONE = "WHERE family = ? AND conversation = ?"
_IN_ORDER = "ORDER BY started_at, tie, number"
_STATES = f"SELECT number, id, revision FROM part {_OF_ONE}"
_SEVERAL = f"SELECT id FROM part {_OF_ONE} AND id IS NOT NULL GROUP BY id HAVING count(*) > 1"
_PARTS = codec_of(Part)
_BEFORE_ALL = -(1 << 48)
"""Traces of one conversation without times stand in order of arrival, and those of earlier runs came before."""


class Conversation(NamedTuple):
    """The traces of one conversation as one trace, and the records it was made of."""

    trace: Trace
    mapper: Mapper
    origin: Origin
    """The first record is the conversation's place, wherever reading ends."""
    traces: int
    trace_ids: Sequence[str]
    places: Mapping[str, dict[int, int]]
    """Of the records of this run, by source, and which traces they belong to."""
    present: Set[int]
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
    """Keeps traces in a scratch file until all are there. Memory is that of one conversation, up to a length."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
                "INSERT INTO part "
                "(number, key, family, conversation, started_at, tie, mapper, id, revision, size, trace) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    trace_key,
                    mapper.family,
                    trace.conversation_id,
                    trace.started_at or "",
                    trace.id if trace_key is not None else "",
                    mapper.name,
                    trace.id if trace.id_is_unique else None,
                    trace.revision or "",
                    len(blob),
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
                "CREATE INDEX by_conversation ON part (family, conversation, started_at, tie, number, size)"
            )
            keys = self._connection.execute(
                "SELECT family, conversation, sum(size) FROM part GROUP BY family, conversation ORDER BY min(number)"
            )
            for family, conversation, size in keys:
                yield self._merge((family, conversation), is_long=size > LONGEST_IN_MEMORY)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as error:
            raise StoppedError(
                f"{self._file}: cannot keep conversations on disk ({error}); make room, run again"
            ) from error

    def _merge(self, key: tuple[str, str], *, is_long: bool) -> Conversation:
        folder = self._folder if is_long else None
        records = _Records(folder)
        trace_ids: Filling[str] = sequence_in(folder)
        traces = self._one_by_one if is_long else self._at_once
        merged = merge_traces(traces(key, records, trace_ids), folder)
        return Conversation(
            trace=merged,
            mapper=self._mappers[records.mapper],
            origin=records.origin(),
            traces=len(records.numbers),
            trace_ids=trace_ids,
            places=records.places,
            present=records.present,
        )

    def _at_once(self, key: tuple[str, str], records: _Records, trace_ids: Filling[str]) -> Iterable[Trace]:
        """Of several states of one trace the newest counts, and stands where the first one stood.

        Where they tell no revision, the later one is the newer. What else their rows hold is added to `records`.
        """
        traces: list[Trace] = []
        by_id: dict[str, int] = {}
        for number, mapper, _, blob in self._rows(key):
            trace = records.add(number, mapper, blob)
            if trace.id is None or not trace.id_is_unique:
                traces.append(trace)
                continue
            index = by_id.setdefault(trace.id, len(traces))
            if index == len(traces):
                traces.append(trace)
            elif (trace.revision or "") >= (traces[index].revision or ""):
                traces[index] = trace
        trace_ids.extend(by_id)
        return traces

    def _one_by_one(self, key: tuple[str, str], records: _Records, trace_ids: Filling[str]) -> Iterator[Trace]:
        """The same traces, each read when it is wanted."""
        newest = self._newest(key)
        for number, mapper, id, blob in self._rows(key):
            trace = records.add(number, mapper, blob)
            if id in newest:
                counts, newest[id] = newest[id], None
                if counts is None:
                    continue
                if counts != number:
                    trace = _unpickled(*self._execute("SELECT trace FROM part WHERE number = ?", (counts,)).fetchone())[
                        0
                    ]
            if id is not None:
                trace_ids.append(id)
            yield trace

    def _newest(self, key: tuple[str, str]) -> dict[str, int | None]:
        """Of traces that are there in several states, the number of the newest."""
        found: dict[str, tuple[str, int]] = {}
        for number, id, revision in self._execute(f"{_STATES} AND id IN ({_SEVERAL}) {_IN_ORDER}", (*key, *key)):
            if id not in found or revision >= found[id][0]:
                found[id] = (revision, number)
        return {id: number for id, (_, number) in found.items()}

    def _rows(self, key: tuple[str, str]) -> Iterable[tuple[int, str, str | None, bytes]]:
        return self._execute(f"SELECT number, mapper, id, trace FROM part {_OF_ONE} {_IN_ORDER}", key)

    def _execute(self, query: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        assert self._connection is not None  # nothing is merged before something was added
        return self._connection.execute(query, values)

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
                    "started_at TEXT, tie TEXT, mapper TEXT, id TEXT, revision TEXT, size INTEGER, trace BLOB)"
                )
        return self._connection


class _Records:
    """The records of one conversation, as its rows hold them: all that is told of them but their traces."""

    def __init__(self, folder: Path | None) -> None:
        self.mapper = ""
        """Of the first one."""
        self.numbers = array("q")
        self.places: dict[str, dict[int, int]] = {}
        self.present: set[int] = set()
        self._parts: Filling[Part] = sequence_in(folder, _PARTS)
        self._numbers_of_parts = array("q")
        self._repairs: Counter[str] = Counter()
        self._missing: str | None = None
        self._is_young = False

    def add(self, number: int, mapper: str, blob: bytes) -> Trace:
        """Note the row of this number; gives the trace that it holds."""
        trace, origin = _unpickled(blob)
        self.mapper = self.mapper or mapper
        self.numbers.append(number)
        self._repairs.update(origin.repairs)
        self._missing = self._missing or origin.missing
        self._is_young = self._is_young or origin.is_young
        which = identity(trace.id or "")
        self.present.add(which)
        for part in origin.parts:
            self._parts.append(part)
            self._numbers_of_parts.append(number)
            self.places.setdefault(part.source, {})[part.ordinal] = which
        return trace

    def origin(self) -> Origin:
        """What all of them came from, in the order in which it was read."""
        if isinstance(self._parts, OnDisk):
            self._parts.sort_by(self._numbers_of_parts)
        else:
            numbers = iter(self._numbers_of_parts)
            self._parts.sort(key=lambda _: next(numbers))
        return Origin(
            filled(self._parts),
            dict(self._repairs),
            has_earlier_parts=min(self.numbers) < 0,
            missing=self._missing,
            is_young=self._is_young,
        )


def _unpickled(blob: bytes) -> tuple[Trace, Origin]:
    trace, origin = pickle.loads(blob)
    return trace, origin


def merge_traces(traces: Iterable[Trace], folder: Path | None = None) -> Trace:
    """One trace that holds the turns of all, in their order; what each was on its own is kept in the metadata.

    Turns that repeat what was said before are there once (see dialogue.py). It ended as its last trace did, unless one
    is unfinished. `folder`: there its turns lie, and what is kept of each trace, on disk.
    """
    dialogue = Dialogue(sequence_in(folder))
    kept: Filling[dict[str, object]] = sequence_in(folder)
    first = last = None
    started_at: str | None = None
    ended_at: str | None = None
    user_id: str | None = None
    system: str | None = None
    partial: str | None = None
    revision: str | None = None
    has_unfinished = False
    tags: dict[str, None] = {}
    models: dict[str, None] = {}
    tokens: Counter[str] = Counter()
    costs: list[float] = []
    for trace in traces:
        first, last = first or trace, trace
        repeated = dialogue.add(trace.turns)
        started_at = min(filter(None, (started_at, trace.started_at)), default=None)
        ended_at = max(filter(None, (ended_at, trace.ended_at)), default=None)
        revision = max(filter(None, (revision, trace.revision)), default=None)
        user_id = user_id or trace.user_id or None
        system = system or trace.system or None
        partial = partial or trace.partial or None
        has_unfinished = has_unfinished or trace.status is Status.PENDING
        tags.update(dict.fromkeys(trace.tags))
        models.update(dict.fromkeys(trace.models))
        tokens.update(trace.tokens)
        if trace.cost is not None:
            costs.append(trace.cost)
        kept.append(_summary(trace, system, repeated))
    assert first is not None and last is not None  # nobody merges nothing
    return replace(
        first,
        id=first.conversation_id,
        id_is_unique=True,
        started_at=started_at,
        ended_at=None if has_unfinished else ended_at,
        user_id=user_id,
        tags=tuple(tags),
        status=Status.PENDING if has_unfinished else last.status,
        error=last.error,
        system=system,
        partial=partial,
        turns=filled(dialogue.turns),
        models=tuple(models),
        tokens=dict(tokens),
        cost=sum(costs) if costs else None,
        metadata={TRACES: kept},
        revision=revision,
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
