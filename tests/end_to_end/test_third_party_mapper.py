"""The example of a format of one's own: installed beside trace-import, it is found and works as the built-in ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.emulator import RunningEmulator
from tests.end_to_end.conftest import Importer, write_jsonl
from tests.invariants import check_invariants, read_rejects

EXAMPLE = Path(__file__).parents[1] / "example_mapper"
STEPS = [
    {"request": "r1", "step": 2, "parent": 1, "what": "look up", "from": 1787385601, "to": 1787385602,
     "said": "Girona"},
    {"request": "r1", "step": 1, "what": "answer", "from": 1787385600, "to": 1787385603,
     "asked": "Where?", "said": "There."},
    {"request": "r2", "step": 1, "what": "answer", "from": 1787385610, "to": 1787385611, "failed": "no answer"},
    {"request": "", "step": 1, "what": "answer"},
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built and installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(EXAMPLE, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", "--no-index", "--target", str(folder), str(source)]
    subprocess.run(command, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("options", [(), ("--format", "acme")])
def test_the_example_reads_its_format(
    importer: Importer, emulator: RunningEmulator, site: Path, options: tuple[str, ...]
) -> None:
    importer.environment = {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    done = importer.run(write_jsonl(importer.home / "a.jsonl", STEPS), options=options)
    assert done.code == 3, done.err
    summary = check_invariants(emulator, importer.last)
    assert summary["outcomes"] == {"created": 2}
    sessions = {session["customId"]: session for session in emulator.sessions()}
    assert sessions["acme:r1"]["context"] == {"turns": [{"input": "Where?", "output": "There."}]}
    assert sessions["acme:r2"]["status"] == "FAILED"
    [reject] = read_rejects(importer.last)
    assert reject["error"].startswith("request is missing or empty")
