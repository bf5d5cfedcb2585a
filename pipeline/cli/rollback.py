"""`trace-import rollback`: what a run created is deleted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli.options import target_config_from, target_options
from pipeline.cli.signals import stopped_by_signals
from pipeline.cli.text import safe

SHOWN = 10
_MEANING = {
    "planned": "would be deleted",
    "deleted": "were deleted",
    "gone": "were gone already",
    "not_ours": "do not carry this ledger's mark: not touched",
    "failed": "could not be deleted; run this again",
}


@click.command(
    epilog="Exit codes: 0 done (or it would be), 2 usage, 4 some are left: not ours, failed or in doubt; 5 the target "
    "refuses, 75 run again to go on, 130/143 interrupted."
)
@target_options
@click.option("--run", "run_id", metavar="RUN_ID", required=True, help="The run (trace-import status shows the last).")
@click.option("--yes", "act", is_flag=True, help="Do it. Without this, it only says what it would do.")
def rollback(config_file: Path | None, run_id: str, act: bool, as_json: bool, **options: Any) -> None:
    """Delete the sessions that one run created, so that they can be imported anew, with a mended mapping, say.

    Each is read first, and deleted only if it carries this ledger's mark. Before that its custom id is set free by
    giving it another one. Sessions that the run only updated are named and not touched. If it breaks off, the same
    command goes on.

    \b
    Examples:
      trace-import rollback nightly.yaml --run 20260822T020000Z-1a2b3c
      trace-import rollback nightly.yaml --run 20260822T020000Z-1a2b3c --yes
    """
    from pipeline.rollback import rollback_run  # noqa: PLC0415  (loads the heavy rooms)

    config = target_config_from(config_file, options)
    with stopped_by_signals() as stop:
        result = rollback_run(config, run_id=run_id, act=act, stop=stop)
    if as_json:
        click.echo(orjson.dumps(result.report, option=orjson.OPT_INDENT_2))
    _print(result.report, to_stderr=as_json)
    sys.exit(result.exit_code)


def _print(report: dict[str, Any], *, to_stderr: bool) -> None:
    def say(text: str) -> None:
        click.echo(text, err=to_stderr)

    dry = " (nothing is deleted without --yes)" if report["dry"] else ""
    say(f"Rollback of run {safe(report['run_id'])} on {safe(report['target'])} {safe(report['anchor'])}{dry}")
    if not report["sessions"] and not report["error"]:
        say("  There is nothing (more) that it created.")
    for fate, count in report["counts"].items():
        say(f"  {count:>8,} {_MEANING[fate]}")
    if report["taken_back_before"]:
        say(f"  {report['taken_back_before']:>8,} were taken back by an earlier rollback")
    if not report["dry"] and report["left"]:
        say(f"  {report['left']:>8,} of what it created are left")
    if report["in_doubt"]:
        say(f"  {report['in_doubt']:>8,} may be on the server, and nobody knows: run the import, then this again")
    if report["updated"]:
        say(f"  {len(report['updated']):>8,} it only updated; what they held before is nowhere, they stay as they are:")
        _say_some(say, [("updated", custom_id, None) for custom_id in report["updated"]])
    rows = [(one["outcome"], one["custom_id"], one["detail"]) for one in report["sessions"]]
    _say_some(say, sorted(rows, key=lambda row: row[0] not in ("failed", "not_ours")))
    if report["error"]:
        say(f"  {safe(report['error'])}")


def _say_some(say: Any, rows: list[tuple[str, str, str | None]]) -> None:
    for outcome, custom_id, detail in rows[:SHOWN]:
        say(f"  {outcome}: {safe(custom_id)}" + (f": {safe(detail)}" if detail else ""))
    if len(rows) > SHOWN:
        say(f"  … and {len(rows) - SHOWN:,} more (--json lists all)")
