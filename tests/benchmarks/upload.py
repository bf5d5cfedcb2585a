"""The whole import at full speed, beside its peers, in one run: sessions per second, and CPU per session.

    python -m tests.benchmarks.upload [--sessions 20000] [--rounds 3] [--at-once 64]

Ours is `trace-import run` with everything on (read, map, ledger, manifest), measured as the difference between a long
and a short run, so that what is per session counts and what is per run is shown by itself. The peers are measured
without their imports. The server takes everything, on the other core; its CPU is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson

from tests.benchmarks.cheap_api import cheap_api, make_certificate
from tests.benchmarks.peers import PEERS
from tests.benchmarks.plan import rows

OURS = "trace-import run --import session"
WHOLE = "trace-import run --import full"
"""A session, its turn and its end: so the sessions take three requests each."""
BASE = "aiohttp + uvloop, bodies ready"
SLOW = {"httpx.AsyncClient, gather": 20, "cookbook loop (httpx, JSONL)": 20, "galtea SDK, a loop": 20}
"""So many times fewer sessions, so that a run ends."""
_BY_THREAD = """
import json, os, sys, threading
from pathlib import Path
from pipeline import load_config, run_import

source, url, state = sys.argv[1:]
ticks = {}
def look(_snapshot=None):
    names = {thread.native_id: thread.name.rsplit("_", 1)[0] for thread in threading.enumerate()}
    for task in os.listdir("/proc/self/task"):
        stat = Path(f"/proc/self/task/{task}/stat").read_text()
        comm, fields = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
        ticks[int(task)] = (names.get(int(task), comm), int(fields[11]) + int(fields[12]))
config = load_config(overrides={"source.paths": [source], "target.version_id": "ver_123", "target.base_url": url,
                                "state_dir": Path(state), "import": "session"})
run_import(config, watch=look)
print(json.dumps([[name, used / os.sysconf("SC_CLK_TCK")] for name, used in ticks.values()]))
"""


class Cost(NamedTuple):
    cpu_us: float
    per_second: float


def write_rows(path: Path, count: int) -> Path:
    with path.open("wb") as file:
        for row in islice(rows(1_000), count):
            file.write(orjson.dumps(row) + b"\n")
    return path


def environment(url: str, ca_file: Path | None) -> dict[str, str]:
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")  # the second is for the SDK
    return {**os.environ, "GALTEA_API_KEY": "gsk_benchmark", "GALTEA_API_URL": url} | dict.fromkeys(names, str(ca_file))


def run_ours(source: Path, folder: Path, env: dict[str, str], at_once: int, name: str) -> tuple[float, float]:
    """CPU seconds (all processes and threads) and wall seconds of one import."""
    state = folder / "state"
    command = [sys.executable, "-m", "pipeline", "run", "--source", str(source), "--version-id", "ver_123", "--json"]
    command += ["--state-dir", str(state), "--max-at-once", str(at_once), "--import", name.rsplit(maxsplit=1)[-1]]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert json.loads(done.stdout)["balanced"] is True
    shutil.rmtree(state)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def measure(url: str, ca_file: Path | None, folder: Path, sessions: int, rounds: int, at_once: int) -> None:
    env = environment(url, ca_file)
    long, short = write_rows(folder / "long.jsonl", sessions), write_rows(folder / "short.jsonl", sessions // 10)
    costs: dict[str, list[Cost]] = {name: [] for name in (OURS, WHOLE, *PEERS)}
    fixed = []
    for _ in range(rounds):
        for name in (OURS, WHOLE):
            (cpu, wall), (cpu_0, wall_0) = (run_ours(source, folder, env, at_once, name) for source in (long, short))
            count = sessions - sessions // 10
            costs[name].append(Cost((cpu - cpu_0) / count * 1e6, count / (wall - wall_0)))
        fixed.append(cpu_0 - (cpu - cpu_0) / 9)
        for name in PEERS:
            count = sessions // SLOW.get(name, 1 if name == BASE else 5)
            arguments = [name, url, str(long), str(count), str(at_once)]
            command = [sys.executable, "-m", "tests.benchmarks.peers", *arguments]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
            cpu, wall = map(float, done.stdout.split()[-2:])
            costs[name].append(Cost(cpu / count * 1e6, count / wall))
    mine = statistics.median(cost.per_second for cost in costs[OURS])
    print(f"\n{'TLS' if ca_file else 'plain'}, {at_once} at once, {os.cpu_count()} cores")
    print(f"  {'':34}{'sessions/s':>11}{'CPU µs each':>13}{'ours is so many times faster':>31}")
    for name, several in costs.items():
        cpu, rate = (statistics.median(getattr(cost, key) for cost in several) for key in Cost._fields)
        print(f"  {name:34}{rate:11,.0f}{cpu:13,.0f}{mine / rate:31.2f}")
    print(f"  a run by itself, before and after its sessions: {statistics.median(fixed):.2f} s of CPU")
    command = [sys.executable, "-c", _BY_THREAD, str(long), url, str(folder / "state")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    shutil.rmtree(folder / "state")
    spent: dict[str, float] = {}
    for thread, seconds in json.loads(done.stdout.splitlines()[-1]):
        spent[thread] = spent.get(thread, 0.0) + seconds
    print("  where the time goes, µs of CPU a session:")
    for thread, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"    {thread:16}{seconds / sessions * 1e6:8.0f}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved; the median counts")
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    if options.no_peers:
        PEERS.clear()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ways: list[Path | None] = [None]
        if shutil.which("openssl"):
            make_certificate(folder)
            ways.append(folder)
        for certificate in ways:
            with cheap_api(certificate) as url:
                ca_file = certificate / "ca.pem" if certificate else None
                measure(url, ca_file, folder, options.sessions, options.rounds, options.at_once)


if __name__ == "__main__":
    main()
