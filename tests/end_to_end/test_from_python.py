"""`run_import` again and again in one process, as notebooks and services call it, whatever they have imported before.

Each way is a process of its own: what it is about is which thread loads a native library first, and whether that
thread still lives when the library is used again.
"""

from __future__ import annotations

import sys

import pytest

from tests.end_to_end.conftest import Importer, many

_RUN = """
import asyncio, sys, threading
from pathlib import Path

import pandas  # a notebook has it

from pipeline import load_config, run_import

def run():
    result = run_import(load_config(Path(sys.argv[1])))
    print(result.exit_code, flush=True)

def run_in_a_thread():
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

async def run_in_a_loop():
    run()
"""

_WAYS = {
    "one after the other": "for _ in range(4): run()",
    "in a running event loop": "for _ in range(4): asyncio.run(run_in_a_loop())",
    "each in a thread that ends": "for _ in range(4): run_in_a_thread()",
}

EXTENT = "full"


@pytest.mark.parametrize("way", _WAYS)
def test_several_runs_in_one_process(importer: Importer, way: str) -> None:
    config = importer.home / "import.yaml"
    config.write_text(
        f"source: {{paths: ['{many(importer, 3)}']}}\n"
        f"target: {{version_id: {importer.version_id}}}\n"
        f"state_dir: {importer.state}\n"
    )
    script = importer.home / "script.py"
    script.write_text(_RUN + _WAYS[way] + "\n")
    done = importer.execute([sys.executable, str(script), str(config)])
    assert (done.code, done.out) == (0, "0\n" * 4), done.err
    assert len(importer.runs) == 4
