"""`make bench`: every measurement, one after the other."""

from __future__ import annotations

import subprocess
import sys

for name in ("transports", "plan", "scale", "pacing", "upload"):
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=True)
subprocess.run([sys.executable, "-m", "tests.benchmarks.pacing", "--real", "20"], check=True)
