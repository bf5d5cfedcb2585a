"""The one vendor-neutral step: a Trace becomes what `POST /sessions` is sent.

Source of the payload: create-session-reference. `isProduction` is always false and written out; there is no
test case id here, so none can be sent. The `metadata` of a session holds

| key | from |
|---|---|
| every key of the trace's own metadata | the export; one that collides with a key below becomes `metadata.<key>` |
| trace_id, conversation_id, name, started_at, ended_at, user_id, tags, environment, release, version | the trace |
| models, tokens, cost (USD), error, origin | the trace |
| partial | why it is not all of the trace, where that can be seen |
| turn_times, turn_tokens | by turn, where turns are sent: start and end, and the kinds of tokens that no field takes |
| custom_id | the full id, where it was too long or had characters that an id should not have |
| left_out | of a very long conversation: how many of its traces, turn_times and turn_tokens do not stand here |
| repaired, cut | what was replaced while reading and what was cut to `max_value_bytes`, counted |
| the keys of mapping.metadata | the configuration |
| trace_import | the mark: `{ledger, sha256, version}`, added last |
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from itertools import zip_longest
from operator import attrgetter
from typing import Any
from urllib.parse import quote_plus

from pipeline import json_text
from pipeline.config import Extent, MappingConfig, TurnsMode
from pipeline.errors import RejectedError, UsageError
from pipeline.facts import WrittenTurn, facts, trace_sha256, write_turns
from pipeline.mappers.content import TURN_KEYS, Mended, content_of, untold
from pipeline.mappers.custom import compile_expression
from pipeline.mappers.cutting import cut
from pipeline.models import Content, Part, SessionImport, Trace, plain
from pipeline.on_disk import Filling, OnDisk, beside, filled
from pipeline.payload import payload_sha256
from pipeline.redaction.clean import Redaction

MAX_CUSTOM_ID = 200
"""Characters. The API's own limit is unknown (api-contract 11.3)."""
MAX_ENCODED_ID = 1_200
"""Characters in a query: a look-up of one id must pass the proxy in front of the API (api-contract 1.2)."""
MAX_LISTS_BYTES = 10_485_760
"""Of what is listed by trace and by turn. The limit of a session's metadata is unknown; this is a span's (api-contract
5.1), and an answer that holds it can be read."""
_ROOM_FOR_NUMBER = 12
ON_DISK_FLAT_BYTES = 200_000
"""What a sequence on disk counts for in itself: few of them may wait, for each has an open file."""
ON_DISK_BYTES = 100
"""What a turn or record on disk costs in memory, about: its place, its prints, the id that it gets."""
# fmt: off
_OWN_KEYS = (
    "conversation_id", "name", "started_at", "ended_at", "user_id", "tags", "environment", "release", "version",
    "models", "tokens", "cost", "error", "origin", "partial",
)
# fmt: on
_own_values = attrgetter(*_OWN_KEYS)
_RESERVED = frozenset(["trace_id", "custom_id", "repaired", "cut", "left_out", "trace_import", *_OWN_KEYS, *TURN_KEYS])

SessionMapper = Callable[..., SessionImport]
NOTHING_MENDED = Mended(0, {})


def session_mapper(
    config: MappingConfig,
    redaction: Redaction,
    *,
    source_name: str | None,
    over_record: bool,
    extent: Extent = "session",
    turns: TurnsMode = "auto",
) -> SessionMapper:
    """Compile the mapping once; the result turns (trace, data, parts, repairs, family, format) into a session.

    The trace comes without what `redaction` takes out; what the configuration's expressions make is cleaned here.

    `trace_ids` are those that a conversation is made of. What it is told by name beside these (traces, is_young,
    missing, has_earlier_parts) stands in the session as it is.

    `over_record`: expressions see the record (format: custom) instead of the trace.
    `extent`: beyond the session itself, its turns and spans are written as such, and the context holds the system
    prompt instead of what was said.
    Raises UsageError for an expression that does not compile, or asks for what no trace has.
    """
    names = None if over_record else Trace.__struct_fields__
    context_of = compile_expression(config.context, "mapping.context", names=names) if config.context else None
    extra = {
        key: compile_expression(text, f"mapping.metadata.{key}", names=names) for key, text in config.metadata.items()
    }
    if "trace_import" in extra:
        raise UsageError("mapping.metadata.trace_import: this key is taken by the mark that the import adds itself")

    def to_session(
        trace: Trace,
        data: Any,
        parts: Sequence[Part],
        repairs: Mapping[str, int],
        family: str,
        format: str,
        trace_ids: Sequence[str] = (),
        **assembled: Any,
    ) -> SessionImport:
        seen = (redaction.dropped(data) if over_record else plain(trace)) if context_of or extra else None
        own_context = None if context_of is None else _checked_context(redaction.value(context_of(seen)))
        written = _written_turns(trace)
        metadata = _metadata(trace)
        content, mended = None, NOTHING_MENDED
        if extent != "session":
            content, mended = content_of(
                trace,
                with_spans=extent == "full",
                mode=turns,
                stopping_reason=config.stopping_reason,
                max_value_bytes=config.max_value_bytes,
            )
            metadata |= untold(trace)
        is_numbered = trace.id is None or not trace.id_is_unique
        trace_id = _content_id(data) if is_numbered else trace.id
        source = source_name or family
        full_id = _fill_template(config.custom_id, trace, source, trace_id or "", format)
        custom_id = _safe_id(full_id, MAX_CUSTOM_ID - (_ROOM_FOR_NUMBER if is_numbered else 0))
        if custom_id != full_id:
            metadata["custom_id"] = full_id
        for key, value_of in extra.items():
            metadata[key] = redaction.value(value_of(seen))
        context, metadata_bytes, is_mended = _serialise(
            trace, written, own_context, metadata, repairs, config.max_value_bytes, content, mended
        )
        return SessionImport(
            custom_id=custom_id,
            is_numbered=is_numbered,
            status=trace.status,
            context=context,
            metadata=metadata_bytes,
            payload_sha256=payload_sha256(trace.status, context, metadata_bytes),
            trace_sha256=trace_sha256(trace, written),
            facts=facts(trace, written),
            revision=trace.revision,
            trace_id=trace.id,
            conversation_id=trace.conversation_id,
            format=format,
            turns=len(trace.turns),
            spans=(
                content.spans
                if content is not None and extent == "full"
                else sum([len(turn.spans) for turn in trace.turns])
            ),
            parts=parts,
            partial=trace.partial,
            also_alone=alone(trace, trace_ids, source, format, custom_id) if trace_ids else (),
            **assembled,
            is_mended=is_mended,
            size=len(context) + len(metadata_bytes) + _size_of_parts(parts) + 2_000 + _size(content),
            content=content,
        )

    def alone(trace: Trace, trace_ids: Sequence[str], source: str, format: str, custom_id: str) -> Sequence[str]:
        ids: Filling[str] = beside(trace_ids)
        for one in trace_ids:
            id = _safe_id(_fill_template(config.custom_id, trace, source, one, format), MAX_CUSTOM_ID)
            if id != custom_id:
                ids.append(id)
        return filled(ids)

    return to_session


# --- its parts --------------------------------------------------------------------------------------------


def _written_turns(trace: Trace) -> list[WrittenTurn] | None:
    if type(trace.turns) is OnDisk:
        return None
    try:
        return write_turns(trace)
    except json_text.InexactError:
        return None


def _context(trace: Trace) -> dict[str, Any]:
    turns = []
    for turn in trace.turns:
        shown = {"input": turn.input, "output": turn.output}
        if turn.retrieval_context is not None:
            shown["retrieval_context"] = turn.retrieval_context
        if turn.error is not None:
            shown["error"] = turn.error
        turns.append(shown)
    return {"system": trace.system, "turns": turns} if trace.system is not None else {"turns": turns}


def _written_context(trace: Trace, written: Sequence[WrittenTurn]) -> bytes:
    """What `_context` gives, as JSON. Raises InexactError."""
    write = json_text.encode_exactly
    turns = []
    for turn, (first, last) in zip(trace.turns, written, strict=True):
        error = b"" if turn.error is None else b'"error":%b,' % write(turn.error)
        after = b"" if turn.retrieval_context is None else b',"retrieval_context":%b' % write(turn.retrieval_context)
        turns.append(b'{%b"input":%b,"output":%b%b}' % (error, first, last, after))
    system = b"" if trace.system is None else b'"system":%b,' % write(trace.system)
    return b'{%b"turns":[%b]}' % (system, b",".join(turns))


def _checked_context(value: Any) -> Any:
    if isinstance(value, (str, dict)):
        return value
    found = "null" if value is None else type(value).__name__
    raise RejectedError(
        f"mapping.context gave {found}, and the API takes a text or an object; mend the expression",
        kind="bad_context",
    )


def _metadata(trace: Trace) -> dict[str, Any]:
    metadata = dict(trace.metadata)
    if not _RESERVED.isdisjoint(metadata):
        metadata = {key: value for key, value in metadata.items() if key not in _RESERVED}
        for key in trace.metadata:
            if key in _RESERVED:
                name = f"metadata.{key}"
                while name in metadata:
                    name = f"metadata.{name}"
                metadata[name] = trace.metadata[key]
    if trace.id is not None:
        metadata["trace_id"] = trace.id
    for key, value in zip(_OWN_KEYS, _own_values(trace), strict=True):
        if value or (value is not None and value not in ((), {})):
            metadata[key] = value
    return metadata


def _serialise(
    trace: Trace,
    written: Sequence[WrittenTurn] | None,
    own_context: Any,
    metadata: dict[str, Any],
    repairs: Mapping[str, int],
    max_value_bytes: int,
    content: Content | None,
    mended: Mended,
) -> tuple[bytes, bytes, bool]:
    """Context and metadata, and whether values had to be replaced or cut. `own_context`: None, or the mapping's."""
    if own_context is None and content is not None:
        own_context = None if trace.system is None else {"system": trace.system}
        context_bytes, in_context = json_text.encode_counted(own_context)
    else:
        context_bytes, in_context = _serialised_context(trace, written, own_context)
    most = None
    left_out: dict[str, int] = {}
    if type(trace.turns) is OnDisk:
        most = _most_items(metadata)
        longer = {key: len(value) - most for key, value in metadata.items() if isinstance(value, OnDisk)}
        if left_out := {key: count for key, count in longer.items() if count > 0}:
            metadata["left_out"] = left_out
    metadata_bytes, in_metadata = _encode_metadata(metadata, most)
    cuts = mended.cut
    if len(context_bytes) > max_value_bytes or len(metadata_bytes) > max_value_bytes:
        whole = _context(trace) if own_context is None and content is None else own_context
        context, cut_in_context = cut(whole, max_value_bytes)
        metadata, cut_in_metadata = cut(metadata, max_value_bytes)
        cuts += cut_in_context + cut_in_metadata
        context_bytes = json_text.encode(context)
    is_mended = bool(repairs or in_context or in_metadata or mended.repairs or cuts)
    if is_mended:
        counted = dict(repairs)
        for kind in {*in_context, *in_metadata, *mended.repairs} - set(repairs):
            counted[kind] = sum(found.get(kind, 0) for found in (in_context, in_metadata, mended.repairs))
        if counted:
            metadata["repaired"] = counted
        if cuts:
            metadata["cut"] = cuts
        metadata_bytes, _ = _encode_metadata(metadata, most)
    return context_bytes, metadata_bytes, is_mended or bool(left_out)


def _most_items(metadata: Mapping[str, Any]) -> int:
    """So many items of each list on disk fit into what a session may say of itself."""
    lists = [value for value in metadata.values() if isinstance(value, OnDisk)]
    size = 0
    for number, items in enumerate(zip_longest(*lists)):
        size += sum([len(json_text.encode(item)) + 1 for item in items])
        if size > MAX_LISTS_BYTES:
            return number
    return max(map(len, lists), default=0)


def _encode_metadata(metadata: dict[str, Any], most: int | None) -> tuple[bytes, Mapping[str, int]]:
    """`most`: so many items of each list that is on disk; None: there is none."""
    if most is None:
        return json_text.encode_counted(metadata)
    repairs: Counter[str] = Counter()

    def write(value: Any) -> bytes:
        text, found = json_text.encode_counted(value)
        repairs.update(found)
        return text

    whole = BytesIO()
    whole.writelines(json_text.pieces_of(metadata, write, most))
    return whole.getvalue(), repairs


def _size_of_parts(parts: Sequence[Part]) -> int:
    return (
        ON_DISK_FLAT_BYTES + ON_DISK_BYTES * len(parts)
        if type(parts) is OnDisk
        else sum([len(part.raw) for part in parts])
    )


def _size(content: Content | None) -> int:
    if content is None:
        return 0
    if type(content.turns) is OnDisk:
        return ON_DISK_FLAT_BYTES + ON_DISK_BYTES * len(content.turns)
    turns = sum([len(turn.body) + 500 for turn in content.turns])
    return turns + sum([len(span.body) + 300 for turn in content.turns for span in turn.spans])


def _serialised_context(
    trace: Trace, written: Sequence[WrittenTurn] | None, own_context: Any
) -> tuple[bytes, Mapping[str, int]]:
    if own_context is not None:
        return json_text.encode_counted(own_context)
    if written is not None:
        try:
            return _written_context(trace, written), json_text.NO_REPAIRS
        except json_text.InexactError:
            pass
    return json_text.encode_counted(_context(trace))


# --- identity ---------------------------------------------------------------------------------------------


def _content_id(data: Any) -> str:
    return hashlib.sha256(json_text.encode(data)).hexdigest()[:32]


def _fill_template(template: str, trace: Trace, source: str, trace_id: str, format: str) -> str:
    if template == "{source}:{id}":
        return f"{source}:{trace_id}"
    fields = {
        "source": source,
        "id": trace_id,
        "conversation_id": trace.conversation_id,
        "name": trace.name,
        "user_id": trace.user_id,
        "environment": trace.environment,
        "format": format,
    }
    for name, value in fields.items():
        if not value and f"{{{name}}}" in template:
            raise RejectedError(
                f"mapping.custom_id asks for {{{name}}}, and this trace has none; use another field",
                kind="no_custom_id",
            )
    return template.format_map(fields)


def _safe_id(text: str, limit: int) -> str:
    is_plain = len(text) <= limit and text.isprintable() and text == text.strip()
    # A character of ASCII takes three in a query at most, so this length says it all; quoting is slow.
    if is_plain and ((text.isascii() and 3 * len(text) <= MAX_ENCODED_ID) or len(quote_plus(text)) <= MAX_ENCODED_ID):
        return text
    clean = "".join(char if char.isprintable() else "_" for char in text[: limit - 33]).strip()
    while len(quote_plus(clean)) > MAX_ENCODED_ID - 33:
        clean = clean[: len(clean) // 2].strip()
    return f"{clean}~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
