"""What is done costs next to nothing, however much it is. The numbers: tests/benchmarks/scale.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import RunResult, load_config, run_import
from pipeline.emulator import RunningEmulator
from pipeline.readers.places import FINGERPRINT_BYTES
from tests.end_to_end.conftest import Importer, make_trace, write_jsonl
from tests.invariants import KEY, check_invariants, posts

IO = Path("/proc/self/io")


def bytes_read() -> int:
    """By this process so far, from wherever."""
    return int(IO.read_text().partition("rchar: ")[2].split()[0])


def run(importer: Importer, *sources: Path) -> RunResult:
    overrides = {
        "source.paths": [str(source) for source in sources],
        "target.version_id": "ver_123",
        "target.base_url": importer.base_url,
        "state_dir": importer.state,
    }
    return run_import(load_config(overrides=overrides, environ={"GALTEA_API_KEY": KEY}))


@pytest.mark.skipif(not IO.exists(), reason="only Linux counts what a process reads")
def test_of_a_file_that_is_done_only_the_ends_are_read(importer: Importer, emulator: RunningEmulator) -> None:
    big = write_jsonl(importer.home / "big.jsonl", [make_trace(number, input="x" * 100_000) for number in range(200)])
    assert run(importer, big).exit_code == 0
    new = write_jsonl(importer.home / "new.jsonl", [make_trace(1000)])
    before = bytes_read()
    result = run(importer, big, new)
    read = bytes_read() - before
    assert result.summary["outcomes"] == {"created": 1}
    assert big.stat().st_size > 20_000_000
    assert read < 2 * FINGERPRINT_BYTES + 2_000_000  # the ledger, the new file, the answers


def test_many_small_files_are_done_and_skipped(importer: Importer, emulator: RunningEmulator) -> None:
    folder = importer.home / "exports"
    for number in range(1_500):
        write_jsonl(folder / f"{number}.jsonl", [make_trace(number)])
    assert importer.run(folder).code == 0
    assert check_invariants(emulator, importer.last)["outcomes"] == {"created": 1_500}
    assert importer.run(folder).code == 0
    summary = check_invariants(emulator, importer.last)
    assert {source["state"] for source in summary["sources"]} == {"unchanged"}
    assert len(posts(emulator)) == 1_500


def test_a_file_that_is_reached_by_two_ways_is_read_once(importer: Importer, emulator: RunningEmulator) -> None:
    folder = importer.home / "exports"
    write_jsonl(folder / "a.jsonl", [make_trace(1)])
    (folder / "b.jsonl").symlink_to("a.jsonl")
    (importer.home / "also").symlink_to(folder)
    assert importer.run(folder, importer.home / "also", folder / "a.jsonl").code == 0
    assert check_invariants(emulator, importer.last)["records_read"] == 1
