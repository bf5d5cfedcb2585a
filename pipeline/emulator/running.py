"""The emulator as a process of its own: started on a free port, talked to, ended with the caller."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

KEY_VARIABLE = "TRACE_IMPORT_EMULATOR_API_KEY"
"""A key goes through the environment: command lines are there for all to read."""
PAGE = 5_000
STOP_SECONDS = 10


class RunningEmulator:
    """One emulator process after another on one port, with one command line."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._arguments = list(arguments)
        self._environment = dict(environment)
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Returns once it accepts connections; started again, it listens where it did before."""
        port = urlsplit(self.url).port or 0
        command = [sys.executable, "-m", "pipeline.emulator", f"--port={port}", "--exit-with-parent"]
        self._process = subprocess.Popen(
            [*command, *self._arguments],
            stdin=subprocess.PIPE,  # never written to: its end is the sign that we are gone
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self._environment},
            start_new_session=True,  # a Ctrl-C for us is not one for it: we may still have requests under way
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip() or self.url
        if not self.url or self._process.poll() is not None:
            self._end(signal.SIGKILL)
            raise RuntimeError("the emulator did not start; its message is on stderr")

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9: what it had not committed is lost."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """kill -9 and start again, on the same port; with `data` it goes on where it was."""
        self.kill()
        self.start()

    def log(self, after: int = 0) -> list[dict[str, Any]]:
        """Every request in order of arrival: n, time, method, path, query, bytes, custom_id, status (None if
        reset, hung or still under way), fault, session_id (what it was about), stored (the session it created),
        turn_ids (the turns it created), spans and rejected_spans (how many)."""
        return list(self._pages("log", after))

    def sessions(self, *, with_turns: bool = False) -> list[dict[str, Any]]:
        """All sessions in order of creation, with the deleted and the not yet visible; `with_turns`: each with its
        `turns` in order of index, and these with their `spans`, the deleted among them."""
        return list(self._pages("sessions", 0, "&turns=true" if with_turns else ""))

    def reset(self) -> None:
        """Empty store and log; a fault script stays and begins anew."""
        self._call("POST", "reset")

    def set_faults(self, script: Sequence[Mapping[str, Any]] | str) -> None:
        """A new fault script, as a list of rules or as YAML; an empty one ends all faults."""
        self._call(
            "POST", "faults", script if isinstance(script, str) else json.dumps(list(script), ensure_ascii=False)
        )

    def set_limit(self, max_per_second: float | None, burst: float | None = None) -> None:
        self._call("POST", "settings", json.dumps({"max_per_second": max_per_second, "burst": burst}))

    def set_latency(self, latency_ms: float) -> None:
        self._call("POST", "settings", json.dumps({"latency_ms": latency_ms}))

    def set_product(self, product_id: str, **settings: object) -> None:
        """What one does in the dashboard, such as `closedSessionInferenceCreationPolicy="REJECT"`."""
        self._call("POST", "product", json.dumps({"id": product_id, **settings}))

    def forward(self, seconds: float) -> None:
        """So much time has passed, for the emulator."""
        self._call("POST", "clock", json.dumps({"forward_seconds": seconds}))

    def _pages(self, name: str, after: int, more: str = "") -> Iterator[dict[str, Any]]:
        while page := self._call("GET", f"{name}?after={after}&limit={PAGE}{more}"):
            yield from page
            after = page[-1]["n"]

    def _call(self, method: str, what: str, body: str | None = None) -> Any:
        target = urlsplit(self.url)
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        try:
            connection.request(method, f"/__emulator__/{what}", None if body is None else body.encode())
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(json.loads(content)["message"])
        return json.loads(content)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def running_emulator(
    *,
    data: Path | str | None = None,
    api_key: str | None = None,
    max_per_second: float | None = None,
    burst: float | None = None,
    latency_ms: float = 0.0,
    faults: Sequence[Mapping[str, Any]] | Path | None = None,
    seed: int = 0,
    version_ids: Sequence[str] = (),
    product_ids: Sequence[str] = (),
    product_without_version: bool = False,
    options: Mapping[str, object] | None = None,
) -> Iterator[RunningEmulator]:
    """Runs an emulator until the block ends, or this process does, however it does.

    `faults` is a file or the list that one would hold; `options` are names and values of `Options`.
    """
    arguments = [f"--seed={seed}", f"--latency-ms={latency_ms}"]
    for name, value in (("data", data), ("max-per-second", max_per_second), ("burst", burst)):
        arguments += [] if value is None else [f"--{name}={value}"]
    arguments += [f"--faults={faults}"] if isinstance(faults, Path) else []
    arguments += [f"--version-id={version_id}" for version_id in version_ids]
    arguments += [f"--product-id={product_id}" for product_id in product_ids]
    arguments += ["--product-without-version"] if product_without_version else []
    arguments += [f"--option={name}={_text(value)}" for name, value in (options or {}).items()]
    emulator = RunningEmulator(arguments, {} if api_key is None else {KEY_VARIABLE: api_key})
    emulator.start()
    try:
        if faults is not None and not isinstance(faults, Path):
            emulator.set_faults(faults)
        yield emulator
    finally:
        emulator.stop()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
