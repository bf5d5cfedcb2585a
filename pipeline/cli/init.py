"""`trace-import init`: a configuration for the exports at hand, ready to run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.inspect import look_at, print_inspection
from pipeline.cli.text import safe
from pipeline.config import load_config
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.inspection import Inspection

CONFIG_NAME = "trace-import.yaml"


@click.command(epilog="Exit codes: 0; 2 usage, no file is recognised, or the configuration is there already.")
@click.argument("sources", metavar="SOURCE…", nargs=-1, required=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path(CONFIG_NAME), show_default=True)
@click.option("--version-id", help="Galtea version that the sessions belong to.")
@click.option("--product-id", help="Galtea product; its newest version is taken, once per run.")
@click.option("--limit", type=int, help="Look at the first so many sessions only.")
@click.option("--force", is_flag=True, help="Write over a configuration that is there already.")
def init(
    sources: tuple[str, ...],
    output: Path,
    version_id: str | None,
    product_id: str | None,
    limit: int | None,
    force: bool,
) -> None:
    """Look at files, folders or globs and write a configuration that imports them.

    \b
    Example:
      trace-import init exports/ --version-id ver_123
      trace-import plan trace-import.yaml
    """
    if version_id and product_id:
        raise UsageError("give --version-id or --product-id, not both")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already; name another --output, or write over it with --force")
    found = look_at(sources, limit=limit)
    print_inspection(found)
    text = config_text(found, sources, output, version_id=version_id, product_id=product_id)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output}: cannot be written ({error.strerror})") from error
    load_config(output)  # what this wrote must be what it reads
    click.echo(f"\nWrote {output}. Next: trace-import plan {output}")


def config_text(
    found: Inspection, sources: tuple[str, ...], output: Path, *, version_id: str | None, product_id: str | None
) -> str:
    """The YAML, with the choices that were made and those that remain as comments."""
    formats = sorted({source["format"] for source in found.sources if source["format"] is not None})
    paths = [source if "://" in source else _as_seen_from(source, output.parent) for source in sources]
    conversations = len(found.conversations)
    per = "trace                # or conversation: traces that share one become one session"
    if conversations:
        per = f"trace                # or conversation: {conversations:,} conversations are in these files"
    anchor = f"product_id: {json.dumps(product_id)}" if product_id else f"version_id: {json.dumps(version_id)}"
    hint = "" if version_id or product_id else "   # which version the sessions belong to; or product_id"
    lines = [
        f"# {found.records:,} records, {found.traces:,} traces"
        + (f" from {found.first_moment} to {found.last_moment}" if found.first_moment else ""),
        *[f"# {safe(text)}" for text in found.warnings()],
        "source:",
        f"  paths: {json.dumps(paths, ensure_ascii=False)}   # relative to this file",
        f"  format: {formats[0] if len(formats) == 1 else 'auto'}",
        f"  session_per: {per}",
        "target:",
        f"  {anchor}{hint}",
        "mapping:",
        "  drop: []                        # paths that must not leave, such as metadata.customer or **.password",
        "  redact: []                      # email, phone, card, iban, token, ip, or {name: …, pattern: …}",
        "upload:",
        "  max_per_second: null            # null: find the API's limit",
        f"  max_rejected: 0                 # {found.rejected:,} records would be rejected today",
        "state_dir: .trace-import",
    ]
    return "\n".join(lines) + "\n"


def _as_seen_from(source: str, folder: Path) -> str:
    """A path that is relative to the configuration, where it can be."""
    absolute = Path(source).absolute()
    try:
        return str(absolute.relative_to(folder.absolute()))
    except ValueError:
        return str(absolute)
