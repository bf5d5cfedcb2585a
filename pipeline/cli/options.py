"""The options that verbs share; each wins over the config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import SecretStr

from pipeline.config import Config, load_config
from pipeline.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

EMULATOR_KEY = "gsk_emulator"
EMULATOR_VERSION = "ver_123"
_OVERRIDES = {
    "source": "source.paths",
    "format": "source.format",
    "session_per": "source.session_per",
    "since": "source.since",
    "until_trace_time": "source.until_trace_time",
    "ids": "source.ids",
    "where": "source.where",
    "sample": "source.sample",
    "import_incomplete": "source.import_incomplete",
    "version_id": "target.version_id",
    "product_id": "target.product_id",
    "base_url": "target.base_url",
    "state_dir": "state_dir",
    "output_dir": "output_dir",
    "max_per_second": "upload.max_per_second",
    "max_at_once": "upload.max_at_once",
    "max_rejected": "upload.max_rejected",
    "retry_rejected": "upload.retry_rejected",
    "on_change": "upload.on_change",
    "limit": "limit",
    "extent": "import",
    "until": "stop.at",
    "for_so_long": "stop.after",
}


_PATH = click.Path(path_type=Path)
_TARGET_OPTIONS = (
    click.option("--version-id", help="Galtea version that the sessions belong to."),
    click.option("--product-id", help="Galtea product; its newest version is taken, once per run."),
    click.option("--base-url", help="Where the API is. [default: GALTEA_API_URL or https://api.galtea.ai]"),
    click.option("--state-dir", type=_PATH, help="Where the ledger and the runs are kept. [default: .trace-import]"),
    click.option("--max-per-second", type=float, help="Never send faster than this."),
    click.option("--max-at-once", type=int, help="Requests in flight at most. [default: 64]"),
)
_CONFIG_FILE = click.argument("config_file", metavar="[CONFIG]", required=False, type=_PATH)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout, for programs.")


def import_options(command: F) -> F:
    """Add the argument CONFIG and the options that say what is imported where."""
    options = [
        _CONFIG_FILE,
        click.option(
            "--source", multiple=True, metavar="PATH", help="A file, folder, glob, archive or URL; repeatable."
        ),
        click.option("--format", help="langfuse, chat, custom, … [default: auto, decided per file]"),
        click.option("--session-per", type=click.Choice(["trace", "conversation"]), help="What becomes a session."),
        click.option(
            "--import",
            "extent",
            type=click.Choice(["session", "turns", "full"]),
            help="Sessions alone, with their turns, or with turns and spans. [default: full]",
        ),
        click.option("--since", metavar="TIME", help="Only traces from then on: 2026-08-22, or 7d (ago)."),
        click.option("--until-trace-time", metavar="TIME", help="Only traces that began before."),
        click.option("--ids", metavar="FILE", help="Only traces or conversations with these ids, one a line."),
        click.option("--where", metavar="JMESPATH", help="Only traces for which it holds: \"environment=='prod'\"."),
        click.option("--sample", type=float, help="Only this share of the traces (0.01), every night the same."),
        click.option(
            "--import-incomplete",
            is_flag=True,
            default=None,
            help="Also files of a blob export whose window has no manifest yet.",
        ),
        *_TARGET_OPTIONS,
        click.option("--output-dir", type=_PATH, help="Where this run's manifest goes. [default: in the state dir]"),
        click.option("--max-rejected", type=int, help="Up to so many rejects are fine. [default: 0]"),
        click.option("--retry-rejected", is_flag=True, default=None, help="Send again what was rejected before."),
        click.option(
            "--on-change",
            type=click.Choice(["auto", "update", "report", "recreate"]),
            help="What is done about traces that are on the server and differ now. [default: auto]",
        ),
        click.option("--limit", type=int, help="Only the first so many sessions."),
        _AS_JSON,
    ]
    return _with(command, options)


def target_options(command: F) -> F:
    """Add the argument CONFIG and the options that say where sessions were imported to."""
    return _with(command, [_CONFIG_FILE, *_TARGET_OPTIONS, _AS_JSON])


def _with(command: F, options: Sequence[Callable[[F], F]]) -> F:
    for decorate in reversed(options):
        command = decorate(command)
    return command


def emulator_options(command: F) -> F:
    """Add --emulator and --data."""
    command = click.option(
        "--data", type=click.Path(path_type=Path), help="With --emulator: keep its sessions in this file."
    )(command)
    return click.option(
        "--emulator", "use_emulator", is_flag=True, help="Send to an emulator of the API that runs just for this."
    )(command)


def for_emulator(config: Config, data: Path | None) -> Config:
    """The config with an emulator as its target: a version that exists there, and the data file as its name."""
    target = config.target
    if target.version_id is None and target.product_id is None:
        target = target.model_copy(update={"version_id": EMULATOR_VERSION})
    # Its port differs from run to run; what it holds does not.
    name = f"emulator:{data.absolute()}" if data is not None else "an emulator"
    return config.model_copy(update={"target": target, "target_name": name, "api_key": SecretStr(EMULATOR_KEY)})


def target_config_from(config_file: Path | None, options: dict[str, Any]) -> Config:
    """The same for a verb that reads no sources: without a config, the working directory stands for them."""
    overrides = {key: options.get(name) for name, key in _OVERRIDES.items()}
    return load_config(config_file, overrides=overrides | ({"source.paths": ["."]} if config_file is None else {}))


def config_from(config_file: Path | None, options: dict[str, Any], **extra: Any) -> Config:
    """The config file with the options laid over it."""
    overrides = {key: options.get(name) for name, key in _OVERRIDES.items()}
    overrides["source.paths"] = list(options["source"]) or None
    try:
        return load_config(config_file, overrides={**overrides, **extra})
    except UsageError as error:
        if config_file is None or not config_file.exists() or config_file.suffix.lower() in (".yaml", ".yml"):
            raise
        first = str(error).splitlines()[0]
        raise UsageError(
            f"{first}\n{config_file} was taken for the configuration; did you mean --source {config_file}?"
        ) from error
