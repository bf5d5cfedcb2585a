"""What we show works: the demo, the configs, every command and every example of the README."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import load_config, run_import
from pipeline.emulator import RunningEmulator, running_emulator
from tests.end_to_end.conftest import Importer
from tests.invariants import KEY, check_invariants, posts, read_rejects

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip() for kind, block in BLOCKS if kind == "console" for line in block.splitlines() if line
]


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_loads(config: Path) -> None:
    load_config(config)


def test_the_demo_imports_all_but_what_is_broken_on_purpose(importer: Importer, emulator: RunningEmulator) -> None:
    for config, created in ((ROOT / "configs" / "demo.yaml", 95), (ROOT / "configs" / "custom.yaml", 5)):
        done = importer.run(options=[str(config)])
        assert done.code == 0, done.out
        assert check_invariants(emulator, importer.last)["outcomes"]["created"] == created
        if config.name == "demo.yaml":
            assert len(read_rejects(importer.last)) == load_config(config).upload.max_rejected
    sent = len(posts(emulator))
    again = importer.run(options=[str(ROOT / "configs" / "demo.yaml")])
    assert again.code == 0
    assert "not read again" in again.out
    assert len(posts(emulator)) == sent == 100


def test_the_embedded_emulator_keeps_its_sessions_between_runs(importer: Importer) -> None:
    options = ["--emulator", "--data", str(importer.home / "emulator.sqlite"), "--json"]
    source = ROOT / "sample_data" / "langfuse_traces.jsonl"
    first = importer.run(source, options=options)
    assert '"created": 7' in first.out, first.out
    second = importer.run(source, options=options)
    assert '"requests": 2' in second.out, second.out
    assert "nothing new" in second.err


@pytest.fixture
def readers_place(tmp_path: Path) -> Path:
    """A folder in which the README's commands make sense."""
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    (tmp_path / "exports").mkdir()
    shutil.copy(ROOT / "sample_data" / "langfuse_traces.jsonl", tmp_path / "exports")
    (tmp_path / "faults.yaml").write_text("- {match: POST /sessions, when: {every: 3}, do: {status: 503}}\n")
    return tmp_path


@pytest.mark.parametrize("command", [command for command in COMMANDS if "trace-import" in command])
def test_the_readmes_commands_work(command: str, readers_place: Path, importer: Importer) -> None:
    words = [sys.executable, "-m", "pipeline", *shlex.split(command)[1:]]
    if words[3] == "emulator":
        words[words.index("--port") + 1] = "0"
        process = subprocess.Popen(words, cwd=readers_place, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.terminate()
        assert process.wait(10) == 0
        process.stdout.close()
        return
    if words[3] in ("status", "verify", "rollback"):  # there was a run before
        first = [*words[:3], "run", "--source", "exports", "--version-id", "ver_123"]
        subprocess.run(first, cwd=readers_place, env=importer.env(), capture_output=True, timeout=60, check=True)
    if words[3] == "rollback":
        (run_folder,) = (readers_place / ".trace-import" / "runs").iterdir()
        words[words.index("--run") + 1] = run_folder.name
    done = subprocess.run(
        words, cwd=readers_place, env=importer.env(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_the_readmes_make_targets_exist(command: str) -> None:
    assert (
        subprocess.run(["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "yaml" and "source:" in block])
def test_the_readmes_configs_load(block: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block)
    load_config(tmp_path / "config.yaml")


def test_the_readmes_python_works(
    readers_place: Path, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (readers_place / "nightly.yaml").write_text("source: {paths: [exports]}\ntarget: {version_id: ver_123}\n")
    monkeypatch.chdir(readers_place)
    monkeypatch.setenv("GALTEA_API_KEY", KEY)
    monkeypatch.setenv("GALTEA_API_URL", emulator.url)
    block = next(block for kind, block in BLOCKS if kind == "python")
    namespace: dict[str, object] = {}
    exec(block, namespace)
    assert namespace["run_import"] is run_import
    assert len(emulator.sessions()) == 7


def test_the_readmes_fault_script_works() -> None:
    script = next(block for kind, block in BLOCKS if kind == "yaml" and "match:" in block)
    with running_emulator() as emulator:
        emulator.set_faults(script)
