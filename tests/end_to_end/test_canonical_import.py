"""The canonical traces, as every format tells them, scattered over files and imported night by night."""

from __future__ import annotations

import importlib
import random
from typing import Any

import pytest

from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer, write_jsonl
from tests.formats.canonical import CANONICAL
from tests.formats.test_canonical_traces import FORMATS
from tests.invariants import check_invariants

EXTENT = "full"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_imported_whole_however_it_is_scattered(
    importer: Importer, emulator: RunningEmulator, name: str
) -> None:
    module: Any = importlib.import_module(f"tests.formats.writers.{name}")
    records = [record for trace in CANONICAL.values() for record in module.write(trace)]
    records += records[::3]
    random.Random(11).shuffle(records)
    night = importer.home / "in"
    settings = {"source__format": module.MAPPER.name, "upload__on_change": "update"}
    for number in range(3):  # a file a night: most traces go on in the next one
        write_jsonl(night / f"{number}.jsonl", records[number::3])
        result = importer.run_here(night, **settings)
        assert result.exit_code == 0, result.summary
        assert result.summary["balanced"]
        check_invariants(emulator, result.folder)
    sessions = {session["metadata"]["trace_id"]: session for session in emulator.sessions()}
    assert len(sessions) == len(emulator.sessions()) == len(CANONICAL)
    assert importer.run_here(night, **settings).summary["sessions"] == 0, "a night without news sends nothing"
    at_once = importer.run_here(night, **settings, state_dir=importer.home / "other")
    assert at_once.summary["records_read"] == len(records)
