"""Small things to import, made with as few words as a test needs."""

from __future__ import annotations

from typing import Any

from pipeline.config import Config, Extent, MappingConfig
from pipeline.mappers.session import session_mapper
from pipeline.models import Part, SessionImport, Trace, Turn
from pipeline.redaction.clean import Redaction

SOURCE = "/exports/a.jsonl"


def make_trace(id: str | None = "t1", *, turns: int | tuple[Turn, ...] = 1, **fields: Any) -> Trace:
    """A trace that ended well: its turns ask and answer by number."""
    made = turns if isinstance(turns, tuple) else _asked_and_answered(turns)
    return Trace(**({"id": id, "name": "support", "turns": made} | fields))


def _asked_and_answered(count: int) -> tuple[Turn, ...]:
    return tuple(Turn(input=f"question {number}", output=f"answer {number}") for number in range(count))


def make_part(ordinal: int = 1, *, source: str = SOURCE, raw: bytes = b"{}") -> Part:
    return Part(source, ordinal, f"line {ordinal}", raw)


def make_session(
    trace: Trace | None = None,
    *,
    ordinal: int = 1,
    source: str = SOURCE,
    parts: tuple[Part, ...] | None = None,
    data: Any = None,
    repairs: dict[str, int] | None = None,
    mapping: dict[str, Any] | None = None,
    over_record: bool = False,
    extent: Extent = "session",
) -> SessionImport:
    """What the mapping makes of a trace: by default one record, under the id `langfuse:<id>`."""
    config = MappingConfig(**(mapping or {}))
    to_session = session_mapper(config, Redaction(config), source_name=None, over_record=over_record, extent=extent)
    return to_session(
        trace or make_trace(),
        data,
        parts or (make_part(ordinal, source=source),),
        repairs or {},
        "langfuse",
        "langfuse",
    )


def make_config(**sections: dict[str, Any]) -> Config:
    """A config that would run; each section's values are laid over what it needs at least."""
    least: dict[str, dict[str, Any]] = {
        "source": {"paths": ["exports/"]},
        "target": {"version_id": "ver_1", "base_url": "http://127.0.0.1:1"},
    }
    given = {name: {**least.get(name, {}), **values} for name, values in sections.items()}
    return Config.model_validate({**least, **given, "api_key": "gsk_secret"})
