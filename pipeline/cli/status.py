"""`trace-import status`: what the ledger holds, and whether a run works."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipeline.cli.text import safe
from pipeline.config import load_config
from pipeline.ledger.overview import Overview, RunView, TargetView, look_at

DEFAULT_STATE_DIR = Path(".trace-import")
_STATES = {"pending": "pending", "sent": "perhaps in flight", "failed": "failed", "unknown": "unknown"}


@click.command(epilog="Exit codes: 0 it is shown, whatever it says; 2 usage, or no ledger there.")
@click.argument("config_file", metavar="[CONFIG]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Where the ledger is. [default: as CONFIG says, or .trace-import]",
)
@click.option("--last", type=click.IntRange(min=1), default=5, help="So many runs. [default: 5]")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout, for programs.")
def status(config_file: Path | None, state_dir: Path | None, last: int, as_json: bool) -> None:
    """Show the last runs, what is still open, the pace, and how big the ledger is; also while a run works.

    It only reads: it takes no lock, sends nothing and needs no API key.

    \b
    Examples:
      trace-import status nightly.yaml
      trace-import status --state-dir .trace-import --json
    """
    if state_dir is None:
        state_dir = load_config(config_file).state_dir if config_file is not None else DEFAULT_STATE_DIR
    overview = look_at(state_dir.absolute(), last_runs=last)
    if as_json:
        click.echo(json.dumps(_plain(overview), indent=2))
    else:
        _print(overview)


def _plain(overview: Overview) -> dict[str, object]:
    return overview._asdict() | {
        "file": str(overview.file),
        "holder": overview.holder._asdict() if overview.holder is not None else None,
        "runs": [run._asdict() for run in overview.runs],
        "targets": [target._asdict() for target in overview.targets],
    }


def _print(overview: Overview) -> None:
    click.echo(
        f"Ledger {safe(str(overview.file))}: {overview.bytes / 1e6:,.1f} MB, {overview.sessions:,} sessions, "
        f"{overview.done_files:,} files done"
    )
    if overview.holder is not None:
        click.echo(f"A run works now: process {overview.holder.pid} on {safe(overview.holder.host)}")
    else:
        click.echo("No run works now.")
    click.echo("Last runs:" if overview.runs else "There has been no run yet.")
    for run in overview.runs:
        _print_run(run)
    click.echo("Open:")
    for target in overview.targets:
        _print_target(target)


def _print_run(run: RunView) -> None:
    ended = {
        "ended": f"ended {_minute(run.finished_at)} with exit code {run.exit_code}",
        "working": "works",
        "killed": "was killed; the next run goes on",
    }[run.state]
    continued = " (continued)" if run.is_continued else ""
    click.echo(f"  {safe(run.id)}{continued}: began {_minute(run.started_at)}, {ended}")
    counts = [f"{count:,} {safe(outcome)}" for outcome, count in run.outcomes.items()] or ["no sessions"]
    counts += [f"{run.rejects:,} rejects"] if run.rejects else []
    counts += [f"{run.sessions_per_second:,.1f} sessions/s"] if run.sessions_per_second is not None else []
    click.echo(f"    {', '.join(counts)}")
    if run.taken_back:
        click.echo(f"    {run.taken_back:,} of these sessions were taken back since (rollback)")


def _print_target(target: TargetView) -> None:
    counts = [f"{target.open[state]:,} {words}" for state, words in _STATES.items() if target.open.get(state)]
    text = ", ".join(counts) or "nothing"
    if target.rejected:
        text += f"; {target.rejected:,} rejected"
    if target.pace_per_second is not None:
        text += f"; it takes {target.pace_per_second:,.1f}/s"
    click.echo(f"  {safe(target.base_url)} {safe(target.anchor)}: {text}")


def _minute(moment: str | None) -> str:
    """2026-08-22T08:00:00.000000Z → 2026-08-22 08:00Z"""
    return safe(f"{(moment or '')[:16].replace('T', ' ')}Z")
