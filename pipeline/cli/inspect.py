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
VALUE_SHOWN = 300
"""Characters."""


@click.command(epilog="Exit codes: 0; 2 usage, or no file is recognised; 3 some records would be rejected.")
@click.argument("sources", metavar="SOURCE…", nargs=-1, required=True)
@click.option("--format", help="Read all of them as this format. [default: auto, decided per file]")
@click.option("--session-per", type=click.Choice(["trace", "conversation"]), help="What would become a session.")
@click.option("--limit", type=int, help="Only the first so many sessions.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON on stdout, for programs.")
def inspect(sources: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Show what files, folders or globs hold: format, counts, times, fields, an example. Nothing is sent or kept.

    \b
    Examples:
      trace-import inspect exports/
      trace-import inspect traces.jsonl.gz --json
    """
    found = look_at(sources, **options)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        print_inspection(found)
    sys.exit(3 if found.rejected else 0)


def look_at(sources: tuple[str, ...], **options: Any) -> Inspection:
    """Inspect with the options of the command line."""
    from pipeline.inspection import inspect_sources  # noqa: PLC0415  (loads the heavy rooms)

    overrides = {
        "source.paths": list(sources),
        "source.format": options.get("format"),
        "source.session_per": options.get("session_per"),
        "limit": options.get("limit"),
    }
    return inspect_sources(load_config(overrides=overrides))


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
    missing = found.not_sent()
    if not missing:
        click.echo(
            f"Every value in the records of the first {found.sampled:,} sessions is found in what would be sent."
        )
        return
    click.echo(f"Not, or not all, in what would be sent (the records of the first {found.sampled:,} sessions):")
    for path, count, sent in missing[:PATHS_SHOWN]:
        click.echo(f"  {safe(path)}: {sent:,} of {count:,} values")
    if len(missing) > PATHS_SHOWN:
        click.echo(f"  … and {len(missing) - PATHS_SHOWN:,} more (--json lists all)")


def _print_example(example: dict[str, Any]) -> None:
    click.echo(f"\nExample: {safe(example['custom_id'])} ({safe(Path(example['position']).name)}), {example['status']}")
    if example["system"]:
        click.echo(f"  system: {_short(example['system'])}")
    for number, turn in enumerate(example["turns"][:5], 1):
        click.echo(f"  turn {number}")
        for key in ("input", "output", "retrieval_context", "error"):
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
