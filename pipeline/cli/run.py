"""`trace-import run`: the import."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli.options import config_from, for_emulator, import_options
from pipeline.cli.progress import watching
from pipeline.cli.result import print_summary
from pipeline.cli.signals import stopped_by_signals
from pipeline.config import Config


@click.command(
    epilog="Exit codes: 0 done, 2 usage, 3 more rejected than allowed, 4 some failed, 5 the target refuses, "
    "75 run again to go on, 130/143 interrupted."
)
@import_options
@click.option("--until", metavar="TIME", help="Be through by then: 06:00 (the next one), or a date with a time.")
@click.option("--for", "for_so_long", metavar="TIME", help="Be through after so long: 2h, 90m, 45s, 1h30m.")
@click.option(
    "--emulator", "use_emulator", is_flag=True, help="Send to an emulator of the API that runs just for this."
)
@click.option("--data", type=click.Path(path_type=Path), help="With --emulator: keep its sessions in this file.")
def run(config_file: Path | None, use_emulator: bool, data: Path | None, as_json: bool, **options: Any) -> None:
    """Import what CONFIG and the options name, and account for every record.

    Run it again at any time: what is settled is not sent again, what was interrupted goes on.

    \b
    Examples:
      trace-import run nightly.yaml
      trace-import run --source exports/ --version-id ver_123 --max-per-second 20
      trace-import run --source exports/ --emulator
      trace-import run nightly.yaml --until 06:00      # exits 75 where something is left; the next night goes on
    """
    from pipeline.run import run_import  # noqa: PLC0415  (loads the heavy rooms)

    if data is not None and not use_emulator:
        raise click.UsageError("--data goes with --emulator")
    logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stderr, level=logging.WARNING)
    with contextlib.ExitStack() as stack:
        config, ledger_dir = config_from(config_file, options), None
        if use_emulator:
            config, ledger_dir = stack.enter_context(_on_an_emulator(config, data))
        stop = stack.enter_context(stopped_by_signals())
        watch = stack.enter_context(watching(quiet=as_json))
        result = run_import(config, watch=watch, stop=stop, ledger_dir=ledger_dir)
    if as_json:
        click.echo(orjson.dumps(result.summary, option=orjson.OPT_INDENT_2))  # it may name very many files
    print_summary(result.summary, result.folder, to_stderr=as_json)
    sys.exit(result.exit_code)


@contextlib.contextmanager
def _on_an_emulator(config: Config, data: Path | None) -> Iterator[tuple[Config, Path | None]]:
    """The config, sent to an emulator that runs meanwhile; without a data file, its ledger is thrown away with it."""
    from pipeline.emulator import running_emulator  # noqa: PLC0415  (only when asked for)

    config = for_emulator(config, data)
    target = config.target
    with contextlib.ExitStack() as stack:
        ledger_dir = None
        if data is None:
            ledger_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trace-import-emulator-")))
        else:
            data.absolute().parent.mkdir(parents=True, exist_ok=True)
        emulator = stack.enter_context(
            running_emulator(
                data=data,
                version_ids=[target.version_id] if target.version_id else [],
                product_ids=[target.product_id] if target.product_id else [],
            )
        )
        yield config.model_copy(update={"target": target.model_copy(update={"base_url": emulator.url})}), ledger_dir
