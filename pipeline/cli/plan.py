"""`trace-import plan`: what a run would do."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from pipeline.cli.options import config_from, emulator_options, for_emulator, import_options
from pipeline.cli.result import print_plan


@click.command(
    epilog="Exit codes: as the run would have, if the API took everything; 2 usage. What is predicted are the "
    "records, sessions and requests; the API may still refuse."
)
@import_options
@emulator_options
def plan(config_file: Path | None, as_json: bool, use_emulator: bool, data: Path | None, **options: Any) -> None:
    """Show what `run` would do: read and map everything, compare with the ledger, send nothing.

    \b
    Examples:
      trace-import plan nightly.yaml
      trace-import plan --source exports/ --version-id ver_123 --json
    """
    from pipeline.dry_run import plan_import  # noqa: PLC0415  (loads the heavy rooms)

    config = config_from(config_file, options)
    with tempfile.TemporaryDirectory(prefix="trace-import-") as nothing:
        ledger_dir = None
        if use_emulator:
            config = for_emulator(config, data)
            ledger_dir = Path(nothing) if data is None else None  # a run would begin with an empty ledger
        result = plan_import(config, ledger_dir=ledger_dir)
    if as_json:
        click.echo(json.dumps({**result.summary, "samples": result.samples, "rejects": result.rejects}, indent=2))
    else:
        print_plan(result)
    sys.exit(result.exit_code)
