"""`trace-import inspect`: what exports hold, and what would be sent of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.text import safe, unique_tail
from pipeline.config import load_config

if TYPE_CHECKING:
    from pipeline.inspection import Inspection

SOURCES_SHOWN = 20
PATHS_SHOWN = 25
PATHS_OF_RULE_SHOWN = 8
VALUE_SHOWN = 300
"""Characters."""


@click.command(epilog="Exit codes: 0; 2 usage, or no file is recognised; 3 some records would be rejected.")
@click.argument("sources", metavar="SOURCE…", nargs=-1, required=True)
@click.option("--format", help="Read all of them as this format. [default: auto, decided per file]")
@click.option("--session-per", type=click.Choice(["trace", "conversation"]), help="What would become a session.")
@click.option("--limit", type=int, help="Only the first so many sessions.")
@click.option("--coverage", is_flag=True, help="Where each value of all records goes, per file, or why it is left out.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on stdout, for programs.")
def inspect(sources: tuple[str, ...], as_json: bool, coverage: bool, **options: Any) -> None:
    """Show what files, folders or globs hold: format, counts, times, fields, an example. Nothing is sent or kept.

    \b
    Examples:
      trace-import inspect exports/
      trace-import inspect traces.jsonl.gz --json
      trace-import inspect traces.jsonl.gz --coverage
    """
    found = look_at(sources, is_complete=coverage, **options)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    elif coverage:
        print_coverage(found)
    else:
        print_inspection(found)
    sys.exit(3 if found.rejected else 0)


def look_at(sources: tuple[str, ...], *, is_complete: bool = False, **options: Any) -> Inspection:
    """Inspect with the options of the command line; `is_complete`: compare all sessions, and not only some."""
    from pipeline.inspection import SAMPLED, inspect_sources  # noqa: PLC0415  (loads the heavy rooms)

    overrides = {
        "source.paths": list(sources),
        "source.format": options.get("format"),
        "source.session_per": options.get("session_per"),
        "limit": options.get("limit"),
    }
    return inspect_sources(load_config(overrides=overrides), sample=None if is_complete else SAMPLED)


def print_inspection(found: Inspection) -> None:
    """For people."""
    _print_sources(found)
    click.echo()
    conversations = len(found.conversations)
    click.echo(
        f"{found.records:,} records: {found.traces:,} traces, {conversations:,} conversations, {found.turns:,} turns, "
        f"{found.spans:,} spans; {found.rejected:,} would be rejected"
    )
    for reason, count in found.ignored.most_common():
        click.echo(f"  {count:,} ignored: {reason}")
    if found.first_moment is not None:
        click.echo(f"From {found.first_moment} to {found.last_moment}")
    if found.statuses:
        click.echo(", ".join(f"{status} {count:,}" for status, count in found.statuses.most_common()))
    _print_fields(found)
    for text in found.warnings():
        click.echo(f"Note: {safe(text)}")
    for reject in found.rejects[:5]:
        place = f"{unique_tail(reject['source'], [item['source'] for item in found.sources])} {reject['position']}"
        click.echo(f"  reject: {safe(place)}: {safe(reject['error'])}")
    if found.example is not None:
        _print_example(found.example)


def _print_sources(found: Inspection) -> None:
    names = [source["source"] for source in found.sources]
    for source in found.sources[:SOURCES_SHOWN]:
        name = safe(unique_tail(source["source"], names))
        if source["format"] is None:
            said = safe(source["doubt"]) if source["doubt"] else "nothing in it can be read"
        else:
            said = f"{source['format']} ({source['confidence']:.2g}: {safe(source['reason'])})"
        click.echo(f"{name}: {said}; {source['records']:,} records, {source['bytes']:,} bytes")
    if len(found.sources) > SOURCES_SHOWN:
        click.echo(f"… and {len(found.sources) - SOURCES_SHOWN:,} more files (--json lists all)")


def _print_fields(found: Inspection) -> None:
    if not found.sessions:
        return
    click.echo(f"\nFields, of {found.sessions:,} sessions:")
    fields = found.as_json()["fields"]
    for name, count in sorted(fields.items(), key=lambda item: -item[1]):
        if name not in ("partial", "error") or count:
            click.echo(f"  {name:<16} {count:>9,}  {count / found.sessions:>4.0%}")
    missing = found.coverage.not_sent()
    if not missing:
        click.echo(
            f"Every value in the records of the first {found.sampled:,} sessions is found in what would be sent."
        )
        return
    click.echo(f"Not, or not all, in what would be sent (the records of the first {found.sampled:,} sessions):")
    for path, rule, count in missing[:PATHS_SHOWN]:
        why = f"left out as {rule}" if rule is not None else "LOST"
        click.echo(f"  {safe(path)}: {count:,} of {found.coverage.paths[path]:,} values {why}")
    if len(missing) > PATHS_SHOWN:
        click.echo(f"  … and {len(missing) - PATHS_SHOWN:,} more (--json lists all)")
    click.echo("  (--coverage tells what the rules are)")


def print_coverage(found: Inspection) -> None:
    """Per file where the values of its records go, and by which rule some are left out."""
    names = [source["source"] for source in found.sources]
    for source, file in found.coverage.files.items():
        told = file.as_json()
        sent = ", ".join(f"{place} {count:,}" for place, count in told["sent"].items() if count)
        click.echo(f"{safe(unique_tail(source, names))}: {file.values:,} values; sent: {sent or 'none'}")
        for rule in told["left_out"]:
            _print_rule(rule["rule"], rule["reason"], rule["paths"])
        if told["lost"]:
            _print_rule("LOST", "found nowhere, and no rule leaves it out; please report it", told["lost"])
    for text in found.warnings():
        click.echo(f"Note: {safe(text)}")


def _print_rule(name: str, reason: str, paths: dict[str, int]) -> None:
    click.echo(f"  {name} {sum(paths.values()):,}: {reason}")
    if name == "empty":
        return
    for path, count in list(paths.items())[:PATHS_OF_RULE_SHOWN]:
        click.echo(f"    {safe(path)} {count:,}")
    if len(paths) > PATHS_OF_RULE_SHOWN:
        click.echo(f"    … and {len(paths) - PATHS_OF_RULE_SHOWN:,} more (--json lists all)")


def _print_example(example: dict[str, Any]) -> None:
    click.echo(f"\nExample: {safe(example['custom_id'])} ({safe(Path(example['position']).name)}), {example['status']}")
    if example["system"]:
        click.echo(f"  system: {_short(example['system'])}")
    for number, turn in enumerate(example["turns"][:5], 1):
        click.echo(f"  turn {number}")
        for key in ("input", "actualOutput", "retrievalContext", "error"):
            if turn.get(key) is not None:
                click.echo(f"    {key}: {_short(turn[key])}")
    if len(example["turns"]) > 5:
        click.echo(f"  … and {len(example['turns']) - 5} more turns")
    for key, value in example["metadata"].items():
        click.echo(f"  metadata.{safe(key)}: {_short(value)}")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = safe(text[:VALUE_SHOWN])
    return shown if len(text) <= VALUE_SHOWN else f"{shown}… ({len(text):,} characters)"
