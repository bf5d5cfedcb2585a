"""What the import wrote, read back by the unmodified `galtea` SDK: turns and spans equal to the source."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from galtea import Galtea

from pipeline import load_config, run_import
from pipeline.emulator import RunningEmulator
from pipeline.mappers.langfuse import MAPPER
from pipeline.models import Span
from tests.end_to_end.conftest import write_jsonl
from tests.end_to_end.test_turns import talk


@pytest.fixture
def galtea(emulator: RunningEmulator) -> Iterator[Galtea]:
    client = Galtea(api_key="gsk_sdk", base_url=emulator.url, suppress_updatable_version_message=True)
    yield client
    client.shutdown()
    client._Galtea__client.close()


def test_a_whole_conversation_is_read_back_as_it_was(galtea: Galtea, emulator: RunningEmulator, tmp_path: Path) -> None:
    rows = [talk(1, turn, tags=["vip"], metadata={"shop": "Ñandú 🛒"}) for turn in range(4)]
    settings = {
        "source.paths": [str(write_jsonl(tmp_path / "a.jsonl", rows))],
        "source.session_per": "conversation",
        "target.version_id": "ver_123",
        "target.base_url": emulator.url,
        "state_dir": tmp_path / "state",
    }
    assert run_import(load_config(overrides=settings, environ={"GALTEA_API_KEY": "gsk_sdk"})).exit_code == 0

    [session] = galtea.sessions.list(version_id="ver_123")
    assert (session.custom_id, session.is_production) == ("langfuse:talk-1", False)
    assert (session.status, session.stopping_reason) == ("COMPLETED", "IMPORTED")
    turns = sorted(galtea.traces.list(session_id=session.id), key=lambda turn: turn.index)
    sources = [MAPPER.map_trace(row).turns[0] for row in rows]
    assert [turn.input for turn in turns] == [source.input for source in sources]
    assert [turn.actual_output for turn in turns] == [source.output for source in sources]
    assert [turn.latency for turn in turns] == [source.latency_ms for source in sources]
    for turn, source in zip(turns, sources, strict=True):
        spans = {span.metadata["span_id"]: span for span in galtea.spans.list(trace_id=turn.id)}
        assert set(spans) == {span.id for span in source.spans}
        for span in source.spans:
            stored = spans[span.id]
            parent = spans[span.parent_id].id if span.parent_id is not None else None
            assert (stored.name, stored.type, stored.parent_span_id) == (span.name, span.type, parent)
            assert (stored.input_data, stored.output_data) == (span.input, span.output)
            assert moment(stored.start_time) == moment(span.started_at)
            assert stored.latency_ms == milliseconds(span)


def moment(text: str | datetime | None) -> datetime:
    assert text is not None
    found = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def milliseconds(span: Span) -> float:
    return (moment(span.ended_at) - moment(span.started_at)).total_seconds() * 1000
