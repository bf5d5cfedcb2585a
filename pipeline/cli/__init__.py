"""The command line: options gathered, one function called, its result printed, an exit code.

Verbs load when they are called, so that `--help` is instant.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
import sys

import click

from pipeline import __version__
from pipeline.cli.text import safe
from pipeline.errors import FatalError, StoppedError, TraceImportError

EXIT_CODES = """
\b
Exit codes:
  0        all done
  2        usage or configuration
  3        finished, more rejected than allowed
  4        finished, some failed, unknown or in conflict; verify, rollback: something differs, or is left
  5        stopped: the target refuses (credentials, version, route, everything rejected alike)
  75       stopped for now, run again to go on (also: another run holds the ledger)
  130/143  interrupted, drained
  141      whoever read the output has gone (a closed pipe, such as | head); a run is done all the same
"""
_VERBS = {
    "run": ("pipeline.cli.run", "run", "Import: read, map, send, and account for every record."),
    "plan": ("pipeline.cli.plan", "plan", "Show what a run would do; nothing is sent."),
    "inspect": ("pipeline.cli.inspect", "inspect", "Show what exports hold: formats, counts, fields, an example."),
    "init": ("pipeline.cli.init", "init", "Write a configuration for the exports at hand."),
    "status": ("pipeline.cli.status", "status", "Show the last runs, what is open, and whether a run works."),
    "verify": ("pipeline.cli.verify", "verify", "Compare what was imported with what the server holds."),
    "rollback": ("pipeline.cli.rollback", "rollback", "Delete what a run created, and nothing else."),
    "emulator": (
        "pipeline.emulator.__main__",
        "emulator",
        "Galtea's API on this machine, to try things out.",
    ),
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module, name, _ = _VERBS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # here, before click makes an exit code 1 of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more
            sys.exit(141)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, _, about) in _VERBS.items()])


@click.command(cls=_Verbs, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trace-import")
def cli() -> None:
    """Bring recorded LLM and agent traces into Galtea: no trace lost, none doubled, every one accounted for.

    \b
    Try it without touching anything real:
      trace-import run --emulator --source sample_data/langfuse_traces.jsonl
    See what would happen:
      trace-import plan --source exports/ --version-id ver_123
    Do it (the key comes from GALTEA_API_KEY):
      trace-import run --source exports/ --version-id ver_123
    """


def main() -> None:
    """The console script: the one switch from error to exit code."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)  # 2, or what the verb's help says
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (OSError, sqlite3.Error) as error:
        click.echo(f"Error: {safe(str(error))}; run again once that is mended", err=True)
        sys.exit(75)
    except TraceImportError as error:
        click.echo(f"Error: {safe(str(error), keep_lines=True)}", err=True)
        sys.exit(5 if isinstance(error, FatalError) else 75 if isinstance(error, StoppedError) else 2)
