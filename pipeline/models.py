"""The nouns that travel through the import: Record → Trace → SessionImport → Outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec import Struct

from pipeline.on_disk import OnDisk


class Problem(NamedTuple):
    """Why a record could not be read: a stable `kind` for programs, a sentence for people."""

    kind: str
    error: str


class Record(Struct, frozen=True):
    """One unit of a source: a line, an item of an array, a row.

    `ordinal` counts 1, 2, 3 … over the records of one source and stays the same as long as the source
    does: it is how the ledger knows a record again. `position` is for people: "line 12", "item 3", "row 17".
    `raw` is the record as JSON bytes (as it stands in the file, or the row written as JSON); empty where it
    was too long to keep. With a `problem`, `data` is None and nobody may look at it.
    """

    source: str
    ordinal: int
    position: str
    data: Any
    raw: bytes
    problem: Problem | None = None
    repairs: Mapping[str, int] = {}
    """What the lenient parser replaced, by kind: nan_to_null, lone_surrogate, nul, …"""
    format: str | None = None
    """The mapper that this record asks for: lines of a rejects.jsonl know it."""


class Status(StrEnum):
    """How a trace ended, in the words of `POST /sessions` (create-session-reference)."""

    COMPLETED = "COMPLETED"  # it ended well
    FAILED = "FAILED"  # it ended in an error
    PENDING = "PENDING"  # it has not ended


class Span(Struct, frozen=True, kw_only=True):
    """One step inside a turn. Times are ISO 8601 UTC with microseconds ("2026-08-22T08:00:00.000000Z")."""

    id: str
    name: str = ""
    type: str = "SPAN"
    """SPAN GENERATION EVENT AGENT TOOL CHAIN RETRIEVER EVALUATOR EMBEDDING GUARDRAIL (api-contract 5.1)."""
    parent_id: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    input: Any = None
    output: Any = None
    error: str | None = None
    model: str | None = None
    tokens: Mapping[str, int] = {}
    cost: float | None = None
    """USD."""
    metadata: Mapping[str, Any] = {}


class Turn(Struct, frozen=True, kw_only=True):
    """One input with its output, and the steps in between. Input and output are any JSON value."""

    input: Any = None
    output: Any = None
    started_at: str | None = None
    ended_at: str | None = None
    retrieval_context: str | None = None
    error: str | None = None
    latency_ms: float | None = None
    tokens: Mapping[str, int] = {}
    cost: float | None = None
    spans: tuple[Span, ...] = ()


class Trace(Struct, frozen=True, kw_only=True):
    """One request to the AI system and all it did, whatever tool recorded it.

    `id` is None where the record has none; `id_is_unique` is False where the format does not promise that an
    id names one record (ShareGPT's `identity_0`): then the custom id comes from the content.
    """

    id: str | None
    id_is_unique: bool = True
    conversation_id: str | None = None
    name: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    user_id: str | None = None
    tags: tuple[str, ...] = ()
    environment: str | None = None
    release: str | None = None
    version: str | None = None
    """The version of the application that was traced, in the export's own words."""
    status: Status = Status.COMPLETED
    error: str | None = None
    system: str | None = None
    """The system prompt."""
    turns: Sequence[Turn] = ()
    models: tuple[str, ...] = ()
    tokens: Mapping[str, int] = {}
    """Sums by kind: input, output, total, …"""
    cost: float | None = None
    """USD."""
    metadata: Mapping[str, Any] = {}
    """The trace's own metadata, as the export has it."""
    origin: Mapping[str, Any] = {}
    """Where it comes from: {"format": …, "project": …}; nothing about files, so that a moved file is no change."""
    revision: str | None = None
    """When the export last changed this trace (sortable, e.g. updatedAt as ISO UTC): the newest of two counts."""
    partial: str | None = None
    """Why this is not all of the trace, where that can be seen: a parent that is named and not there."""


def plain(value: Any) -> Any:
    """A trace, or a part of it, as the values that JSON and JMESPath know."""
    if isinstance(value, Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple, OnDisk)) else value


class Origin(Struct, frozen=True):
    """The records that a trace was made of, and what is known of those that it lacks."""

    parts: Sequence[Part]
    """Those of this run that count, in input order."""
    repairs: Mapping[str, int]
    has_earlier_parts: bool = False
    missing: str | None = None
    is_young: bool = False


class Part(Struct, frozen=True):
    """One record that went into a session: where it stands, and its text for the rejects."""

    source: str
    ordinal: int
    position: str
    raw: bytes


class SpanImport(Struct, frozen=True):
    """A span as it will be sent: JSON without the ids, which hang on the turn's."""

    body: bytes
    seed: bytes
    """16 bytes of what it is and says, and of what it hangs on."""
    parent: int | None
    """Which span of its turn is its parent; that one comes before it."""


class TurnImport(Struct, frozen=True):
    """A turn as it will be sent: JSON without the session."""

    body: bytes
    messages: bytes | None
    """The same as two messages of a batch, without brackets; None where a batch cannot say all of it."""
    print: bytes
    """8 bytes of what was asked and answered: by it a turn on the server is known again."""
    figures: bytes
    """8 bytes of all else that shows when it is read."""
    spans: tuple[SpanImport, ...]


class Content(Struct, frozen=True):
    """What a session holds beside itself."""

    extent: str
    """turns, or full: with their spans."""
    turns: Sequence[TurnImport]
    finish: bytes | None
    """The body that ends it; None: it has not ended."""
    sha256: str
    prints: bytes
    """Both prints of each turn (prints.py)."""
    spans: int
    """How many, in all turns."""


class SessionImport(Struct, frozen=True, kw_only=True):
    """What is to be sent for one session; `context` and `metadata` are JSON already, serialised once."""

    custom_id: str
    is_numbered: bool
    """The custom id comes from the content, so the ledger adds a running number to the second one and on."""
    status: Status
    context: bytes
    metadata: bytes
    """A JSON object without the mark, which is added when the body is built."""
    payload_sha256: str
    trace_sha256: str
    facts: bytes
    """What the trace states, as sorted hashes of 4 bytes: tells whether a later trace only adds to it."""
    revision: str | None
    trace_id: str | None
    conversation_id: str | None
    format: str
    turns: int
    spans: int
    parts: Sequence[Part]
    is_mended: bool
    """Values had to be replaced or cut: metadata.repaired and metadata.cut count them."""
    size: int
    """Bytes that this session holds in memory while it waits, about."""
    traces: int = 1
    partial: str | None = None
    """Why it is not all of the trace, where that can be seen; it is sent all the same, and marked."""
    missing: str | None = None
    """Which earlier parts, known to this ledger, can no longer be found: it is not sent as if it were the whole."""
    is_young: bool = False
    """Its last span is so new that more may come (assembly.settle_minutes)."""
    also_alone: Sequence[str] = ()
    """Of a conversation: the custom ids that its traces had if they were imported before they named it."""
    has_earlier_parts: bool = False
    """Files that were done before hold more of its records; they are charged there."""
    content: Content | None = None
    """Turns and spans, where they are sent as such; else the context holds what was said."""


class Reject(NamedTuple):
    """A record that could not be read, assembled or mapped, or whose session the API refused."""

    part: Part
    stage: str
    """read, assemble, map or upload."""
    kind: str
    error: str
    trace_id: str | None = None
    format: str | None = None


class Outcome(StrEnum):
    """The final fate of one session in one run."""

    CREATED = "created"  # this ledger's session is on the server
    EXISTING = "existing"  # the server had it, and not from this ledger
    SKIPPED = "skipped"  # settled on this target before
    CHANGED = "changed"  # settled before with another trace; error_kind says what was done about it
    DUPLICATE = "duplicate"  # the same custom id and trace again in this input
    CONFLICT = "conflict"  # the same custom id with another trace in this input: not imported
    REJECTED = "rejected"  # the API refused it for good
    FAILED = "failed"  # attempts used up, none of them stored
    UNKNOWN = "unknown"  # attempts used up, and whether it was stored could not be found out
    PENDING = "pending"  # read, but the run stopped first
    HELD = "held"  # waits for its missing parts
    PLANNED = "planned"  # dry run
