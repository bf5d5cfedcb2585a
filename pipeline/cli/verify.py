"""`trace-import verify`: is on the server what the ledger says?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import orjson

from pipeline.cli.options import target_config_from, target_options
from pipeline.cli.signals import stopped_by_signals
from pipeline.cli.text import safe
from pipeline.errors import StoppedError

FINDINGS_SHOWN = 10
_MEANING = {
    "missing": "are not there: deleted, or hidden",
    "doubled": "are there more than once under their custom id",
    "foreign": "were created by this ledger, and do not carry its mark",
    "different": "hold something else",
    "ends_otherwise": "were opened again, or have ended otherwise",
    "turns_differ": "hold other turns: missing, doubled, changed, or not ours",
    "spans_differ": "hold more or fewer spans than were imported",
}


@click.command(
    epilog="Exit codes: 0 all is as the ledger says, 2 usage, 4 something differs, 5 the target refuses, "
    "75 not now, or not all could be asked for; 130/143 interrupted."
)
@target_options
@click.option("--run", "run_id", metavar="RUN_ID", help="Sessions of this run. [default: of the last one]")
@click.option("--all", "everything", is_flag=True, help="All sessions that were imported to this target.")
@click.option("--sample", type=click.IntRange(min=0), help="Compare the contents of so many only, always the same.")
@click.option("--reopen-missing", is_flag=True, help="Let the next run send again what is gone from the server.")
def verify(
    config_file: Path | None,
    run_id: str | None,
    everything: bool,
    sample: int | None,
    reopen_missing: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Look up all that the ledger counts as imported, turns included: what is missing, doubled, not ours, or changed?

    It only reads, also while a run works; verify.json beside the run's results has everything.

    \b
    Examples:
      trace-import verify nightly.yaml
      trace-import verify --version-id ver_123 --all --sample 1000
    """
    from pipeline.verify import verify_import  # noqa: PLC0415  (loads the heavy rooms)

    if run_id is not None and everything:
        raise click.UsageError("give --run or --all, not both")
    config = target_config_from(config_file, options)
    with stopped_by_signals() as stop:
        try:
            result = verify_import(
                config, run_id=run_id, everything=everything, sample=sample, reopen_missing=reopen_missing, stop=stop
            )
        except StoppedError as error:
            if stop.signal_number is None:
                raise
            click.echo(f"Error: {safe(str(error))}", err=True)
            sys.exit(128 + stop.signal_number)
    if as_json:
        click.echo(orjson.dumps(result.report, option=orjson.OPT_INDENT_2))
    _print(result.report, result.file, to_stderr=as_json)
    sys.exit(result.exit_code)


def _print(report: dict[str, Any], file: Path, *, to_stderr: bool) -> None:
    def say(text: str) -> None:
        click.echo(text, err=to_stderr)

    what = f"Run {safe(report['run_id'])}" if report["run_id"] is not None else "Everything"
    say(f"{what} on {safe(report['target'])} {safe(report['anchor'])}")
    say(f"  {report['sessions']:>8,} sessions were imported; the contents of {report['contents_compared']:,} compared")
    turns = f", with {report['turns']:,} turns" if report["turns"] else ""
    say(f"  {report['as_the_ledger_says']:>8,} are as the ledger says{turns}")
    if report["changing"]:
        say(f"  {'':8} {report['changing']:,} of them are being changed, or that broke off: only looked up; run again")
    if report["others"]:
        say(f"  {'':8} {report['others']:,} of them the server had before: their turns and spans were not looked at")
    if report["hidden"]:
        say(f"  {'':8} {report['hidden']:,} of those it does not show: hidden or deleted")
    for kind, count in report["differences"].items():
        say(f"  {count:>8,} {_MEANING[kind]}")
    if report["unanswered"]:
        say(f"  {report['unanswered']:>8,} could not be asked for; run this again")
    if report["not_settled"]:
        say(f"  {report['not_settled']:>8,} are not settled, and were not looked for (trace-import status)")
    for found in report["findings"][:FINDINGS_SHOWN]:
        say(f"  {found['kind']}: {safe(found['custom_id'])}: {safe(found['detail'])}")
    if len(report["findings"]) > FINDINGS_SHOWN:
        say(f"  … and {len(report['findings']) - FINDINGS_SHOWN:,} more in verify.json")
    if report["reopened"]:
        say(
            f"  {report['reopened']:,} are open again: the next run that has their files among its sources sends them."
            "\n  Where a deleted session still holds its custom id, the API refuses that: the run then names "
            "it `existing`, `hidden_or_deleted`,\n  and another source.name (other custom ids) is the way to import it."
        )
    elif report["differences"].get("missing"):
        say("  --reopen-missing lets the next run send again the sessions that are gone.")
    if not report["sessions"]:
        say("  This run had to do with no session that is settled; --all compares everything.")
    say(f"Results: {safe(str(file))}")
