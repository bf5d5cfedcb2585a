"""The pace on a real socket: the numbers are in `make bench`, the promises here, with room for a busy machine."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipeline.emulator import running_emulator
from tests.benchmarks.pacing import real
from tests.end_to_end.conftest import Importer, make_trace, write_jsonl
from tests.invariants import check_invariants
from tests.simulation.servers import Style


@pytest.mark.parametrize("style", ["seconds", "x-ratelimit"])
def test_a_limit_is_found_and_kept_on_a_real_socket(style: Style) -> None:
    accepted, refused = real(40.0, 12, style)
    print(f"{accepted:.1f}/s of 40/s accepted, {refused:.2%} refused")
    assert accepted > 0.8 * 40
    assert refused < 0.1


def test_the_limit_found_is_there_for_the_next_run(tmp_path: Path) -> None:
    with running_emulator(max_per_second=30) as emulator:
        importer = Importer(tmp_path, emulator.url)
        done = importer.run(write_jsonl(tmp_path / "a.jsonl", [make_trace(number) for number in range(250)]))
        assert done.code == 0, done.out + done.err
        check_invariants(emulator, importer.last)
    (ledger,) = tmp_path.rglob("ledger.sqlite")
    connection = sqlite3.connect(ledger)
    ((per_second,),) = connection.execute("SELECT per_second FROM pace").fetchall()
    connection.close()
    assert 15 < per_second < 60
