"""The command as a user runs it: a real process, real files, the emulator on a real socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline import load_config, run_import
from pipeline.emulator import RunningEmulator, running_emulator
from pipeline.report.snapshot import Stop
from pipeline.results import RunResult
from tests.invariants import KEY, PAYLOAD


def make_trace(number: int, **fields: Any) -> dict[str, Any]:
    """A row of Langfuse's traces table."""
    return {
        "id": f"trace-{number}",
        "timestamp": "2026-08-22 08:00:00.000000",
        "name": "support",
        "environment": "production",
        "project_id": "project-1",
        "metadata": {"number": number},
        "user_id": "user-1",
        "session_id": None,
        "release": None,
        "version": None,
        "public": False,
        "bookmarked": False,
        "tags": ["a"],
        "input": {"messages": [{"role": "user", "content": f"Where is parcel {number}?"}]},
        "output": {"role": "assistant", "content": f"Parcel {number} {PAYLOAD}. 📦"},
        "created_at": "2026-08-22 08:00:01.000000",
        "updated_at": "2026-08-22 08:00:02.000000",
    } | fields


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@dataclass
class Ended:
    code: int
    out: str
    err: str


@dataclass
class Importer:
    """Runs `trace-import` with one state directory; `last` is the folder of the latest run."""

    home: Path
    base_url: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    version_id: str = "ver_123"
    options: Sequence[str] = ()
    """For every command."""
    extent: str = "session"
    """What is imported, unless a test says otherwise."""

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def runs(self) -> list[Path]:
        return sorted((self.state / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)

    @property
    def last(self) -> Path:
        return self.runs[-1]

    def command(self, verb: str, *sources: Path | str, options: Sequence[str] = ()) -> list[str]:
        command = [sys.executable, "-m", "pipeline", verb, "--state-dir", str(self.state)]
        if not any(option in ("--version-id", "--product-id") for option in options):
            command += ["--version-id", self.version_id]
        for source in sources:
            command += ["--source", str(source)]
        if verb in ("run", "plan"):
            command += ["--import", self.extent]
        return [*command, *self.options, *options]

    def env(self) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("GALTEA_")}
        return clean | {"GALTEA_API_KEY": KEY, "GALTEA_API_URL": self.base_url} | self.environment

    def run(self, *sources: Path | str, options: Sequence[str] = (), verb: str = "run") -> Ended:
        return self.execute(self.command(verb, *sources, options=options))

    def execute(self, command: Sequence[str]) -> Ended:
        done = subprocess.run(command, env=self.env(), capture_output=True, text=True, timeout=120, check=False)
        assert KEY not in done.stdout + done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *sources: Path | str, options: Sequence[str] = ()) -> subprocess.Popen[str]:
        command = self.command("run", *sources, options=options)
        return subprocess.Popen(command, env=self.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run_here(self, *sources: Path | str, stop: Stop | None = None, **settings: Any) -> RunResult:
        """The same in this process: quicker to start. `upload__max_at_once=8` sets upload.max_at_once."""
        overrides = {
            "source.paths": [str(source) for source in sources],
            "target.version_id": None if "target__product_id" in settings else self.version_id,
            "target.base_url": self.base_url,
            "state_dir": self.state,
            "import": self.extent,
        }
        overrides |= {name.replace("__", "."): value for name, value in settings.items()}
        return run_import(load_config(overrides=overrides, environ={"GALTEA_API_KEY": KEY}), stop=stop)


def many(importer: Importer, count: int, **fields: Any) -> Path:
    """So many traces, `trace-0` and on, in one file."""
    return write_jsonl(importer.home / "a.jsonl", [make_trace(number, **fields) for number in range(count)])


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def end(process: subprocess.Popen[str], number: signal.Signals | None = None) -> Ended:
    if number is not None:
        process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert KEY not in out + err
    return Ended(process.returncode, out, err)


@pytest.fixture(scope="module")
def shared_emulator() -> Iterator[RunningEmulator]:
    """One process for the tests of a module that empties it before each."""
    with running_emulator() as running:
        yield running


@pytest.fixture
def emulator() -> Iterator[RunningEmulator]:
    with running_emulator() as running:
        yield running


@pytest.fixture
def importer(tmp_path: Path, emulator: RunningEmulator, request: pytest.FixtureRequest) -> Importer:
    """What a module is about says its EXTENT: by default the session alone, the smallest thing that can go wrong."""
    return Importer(tmp_path, emulator.url, extent=getattr(request.module, "EXTENT", Importer.extent))
