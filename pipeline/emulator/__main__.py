"""The command line of the emulator: `python -m pipeline.emulator`, and the verb `trace-import emulator`."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import click

from pipeline.emulator.app import create_app
from pipeline.emulator.faults import FaultScriptError, read_script
from pipeline.emulator.options import Options, with_settings
from pipeline.emulator.running import KEY_VARIABLE
from pipeline.emulator.server import serve


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--data", type=click.Path(dir_okay=False, path_type=Path), help="Keep the state in this SQLite file.")
@click.option(
    "--api-key",
    envvar=KEY_VARIABLE,
    help=f"The only valid key (others can read it in the process list; {KEY_VARIABLE} is safer). "
    "Default: every key that starts with gsk_ or gsk-.",
)
@click.option("--max-per-second", type=click.FloatRange(0, min_open=True), help="Answer 429 beyond this rate.")
@click.option("--burst", type=click.FloatRange(1), help="Requests that may come at once. Default: one second's.")
@click.option("--latency-ms", default=0.0, show_default=True, help="Wait so long before every answer.")
@click.option("--faults", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A fault script (YAML).")
@click.option("--seed", default=0, show_default=True, help="Seed of the faults' chance.")
@click.option("--version-id", "version_ids", multiple=True, help="A version that exists from the start. Repeatable.")
@click.option("--product-id", "product_ids", multiple=True, help="A product that exists from the start. Repeatable.")
@click.option("--product-without-version", is_flag=True, help="The products asked for have no version yet.")
@click.option(
    "--option",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A behaviour that is not documented, such as deleted_hold_custom_id=false; "
    "a wrong name lists them all. Repeatable.",
)
@click.option("--exit-with-parent", is_flag=True, help="End when standard input does.")
def emulator(
    host: str,
    port: int,
    faults: Path | None,
    settings: tuple[str, ...],
    exit_with_parent: bool,
    **more: Any,
) -> None:
    """Galtea's API on loopback, with faults on demand: practise an import without touching anything real.

    Prints its URL as the first line on stdout once it accepts connections. The product prod_123 with the
    version ver_123 exists from the start.

    \b
    Example:
      trace-import emulator --port 8000 --data emulator.sqlite --max-per-second 40
      GALTEA_API_URL=http://127.0.0.1:8000 GALTEA_API_KEY=gsk_test trace-import run …

    \b
    Exit codes: 0 ended by SIGTERM or SIGINT, 1 the address or the data file is in use, 2 usage.
    """
    try:
        script = read_script(faults.read_text(encoding="utf-8")) if faults else []
        app = create_app(with_settings(Options(), settings), faults=script, **more)
    except FaultScriptError as error:
        raise click.UsageError(f"{faults}: {error}") from error
    except ValueError as error:
        raise click.UsageError(f"--option {error}") from error
    except sqlite3.Error as error:
        raise click.ClickException(f"{more['data']}: {error} (does another emulator use this file?)") from error
    except OSError as error:
        raise click.ClickException(f"{more['data']}: {error.strerror}") from error
    if exit_with_parent:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        serve(app, host, port, click.echo)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error


def _end_with_stdin() -> None:
    """A parent that is gone, even by kill -9, has closed its end of the pipe."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    emulator()
