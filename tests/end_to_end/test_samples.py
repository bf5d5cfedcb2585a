"""Real exports that nobody here wrote: each is imported, or rejected for a reason that a person accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer
from tests.invariants import check_invariants, read_rejects

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"the real exports are not at {SAMPLES}")


def test_langfuse_downloads_are_all_imported(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(SAMPLES / "langfuse").code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 8}
    assert all(session["context"]["turns"][0]["input"] for session in emulator.sessions())


def test_chat_files_are_imported_and_plain_transcripts_rejected(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(SAMPLES / "chat").code == 3
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 500}
    rejects = read_rejects(importer.last)
    assert len(rejects) == 19
    assert {line["error_kind"] for line in rejects} == {"unknown_format"}
    assert all("format: custom" in line["error"] for line in rejects)


def test_mlflow_traces_are_all_imported_once(importer: Importer, emulator: RunningEmulator) -> None:
    assert importer.run(SAMPLES / "mlflow").code == 0
    # The data frame holds the same three traces again, and they are the same.
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 3, "duplicate": 3}
    assert all(session["context"]["turns"][0]["input"] for session in emulator.sessions())


@pytest.mark.parametrize(("name", "traces"), [("otlp", 3), ("langsmith", 1)])
def test_spans_become_traces(importer: Importer, emulator: RunningEmulator, name: str, traces: int) -> None:
    assert importer.run(SAMPLES / name).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": traces}
