"""Settings: read once, from YAML, options and the environment; defaults and units stand here."""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
import os
import string
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from pipeline.bounds import parse_bound
from pipeline.deadline import parse_duration, parse_moment
from pipeline.errors import UsageError

DEFAULT_BASE_URL = "https://api.galtea.ai"
MAPPING_REVISION = 1
"""Raised when our mapping changes so much that files which are done must be read again."""

READY_MADE_RULES = ("token", "email", "iban", "card", "phone", "ip")
"""For mapping.redact; what each finds: pipeline/redaction/patterns.py."""
_HIDDEN = frozenset(["api_key", "base_dir", "id_salt", "origin", "target_name"])
"""Fields of Config that are not the user's to write."""
_MAX_ARCHIVE_BYTES = 107_374_182_400
_FILTERS = ("since", "until_trace_time", "ids", "where", "sample")
Extent = Literal["session", "turns", "full"]
"""How much of a trace is imported: the session alone, its turns as well, or all, with the spans."""
TurnsMode = Literal["auto", "detailed", "batch"]
CUSTOM_ID_FIELDS = ("source", "id", "conversation_id", "name", "user_id", "environment", "format")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SourceConfig(_Section):
    """What is read."""

    name: str | None = None
    """Prefix of the custom ids; by default the family of the export (langfuse, chat, …)."""
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders and globs (`**` crosses folders)."""
    format: str = "auto"
    session_per: Literal["trace", "conversation"] = "trace"
    allow_empty: bool = False
    """May a path or pattern match nothing? True for nightly jobs."""
    since: str | None = None
    """Only traces that began then or later: 2026-08-22, 2026-08-22T06:00 (UTC), or how long ago (7d)."""
    until_trace_time: str | None = None
    """Only traces that began earlier. One that is too young for `2d` is looked at again on later nights."""
    ids: tuple[str, ...] | None = None
    """Only traces, and all of conversations, with these ids; in YAML a list, or the file that holds one a line."""
    where: str | None = None
    """Only traces of which this JMESPath holds, such as "environment == 'production'"."""
    sample: float | None = Field(default=None, gt=0, le=1)
    """Only this share of the traces (of the conversations, if sessions are those): the same ones every night."""
    import_incomplete: bool = False
    """Also files of a blob export whose window has no manifest yet?"""
    max_record_bytes: int = Field(default=33_554_432, gt=0)
    max_archive_bytes: int = Field(default=_MAX_ARCHIVE_BYTES, gt=0)
    """So much is read of what one zip or tar holds; more is taken for a bomb."""

    @field_validator("paths", mode="before")
    @classmethod
    def _one_path_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("paths")
    @classmethod
    def _no_empty_path(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(path.strip() for path in value):
            raise ValueError("empty path; name a file, a folder or a pattern")
        return tuple(_checked_url(path) if "://" in path else path for path in value)

    @field_validator("since", "until_trace_time", mode="before")
    @classmethod
    def _is_a_bound(cls, value: Any) -> Any:
        if isinstance(value, date):  # YAML knows dates, with a time and without
            value = value.isoformat()
        if isinstance(value, int | float):
            raise ValueError(f"{value} of what? write it with its unit: 7d, 36h; or write a date")
        if isinstance(value, str):
            parse_bound(value)
        return value

    @field_validator("ids", mode="before")
    @classmethod
    def _ids_in_a_file(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            lines = Path(value).read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise ValueError(f"{value}: the file with the ids cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{value}: the file with the ids is not UTF-8 text (byte {error.start})") from error
        return sorted({line.strip() for line in lines} - {""})

    @field_validator("ids")
    @classmethod
    def _some_ids(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not value:
            raise ValueError("no ids: nothing would be imported; leave the key out to import all")
        return value

    def filters(self) -> dict[str, Any]:
        """What leaves traces out, where anything does."""
        return self.model_dump(mode="json", include=set(_FILTERS), exclude_none=True)


class TargetConfig(_Section):
    """Where the sessions go."""

    base_url: str = DEFAULT_BASE_URL
    version_id: str | None = Field(default=None, min_length=1)
    product_id: str | None = Field(default=None, min_length=1)
    ca_file: Path | None = None
    """A private CA in PEM, trusted besides SSL_CERT_FILE or the system's."""
    allow_http: bool = False
    """Send the key over plain http to a host that is not this machine?"""

    @field_validator("base_url")
    @classmethod
    def _normalise(cls, value: str) -> str:
        return normalise_base_url(value)

    @model_validator(mode="after")
    def _https_unless_loopback(self) -> TargetConfig:
        parts = urlsplit(self.base_url)
        if parts.scheme == "http" and not self.allow_http and not _is_loopback(parts.hostname or ""):
            raise ValueError(
                f"{self.base_url} is plain http to another machine: the API key would travel in the clear. "
                "Use https, or set target.allow_http: true if you must"
            )
        return self

    @model_validator(mode="after")
    def _one_anchor(self) -> TargetConfig:
        if self.version_id and self.product_id:
            raise ValueError("give version_id or product_id, not both")
        return self

    @property
    def anchor(self) -> str:
        """With the address, what the ledger keys a target by."""
        return f"version:{self.version_id}" if self.version_id is not None else f"product:{self.product_id or ''}"


class MappingConfig(_Section):
    """How a trace becomes the payload of a session."""

    custom_id: str = "{source}:{id}"
    context: str | None = None
    """JMESPath; by default the conversation."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """Extra keys, each a JMESPath."""
    trace: dict[str, str] = Field(default_factory=dict)
    """`format: custom` only: field of a trace → JMESPath over the record."""
    drop: tuple[str, ...] = ()
    """Paths that are removed from a trace (custom: from the record, too) before anything is made of it."""
    redact: tuple[Any, ...] = ()
    """Names of ready-made rules, and {name, pattern, replacement}: what they find in any text is replaced."""
    content: Literal["full", "none"] = "full"
    """none: ids, names of steps, models, times and counts only."""
    max_value_bytes: int = Field(default=1_048_576, ge=1_024)
    """A longer text is cut, and the cut is marked."""
    stopping_reason: str = Field(default="IMPORTED", min_length=1)
    """What the end of a session that ended well is called. Whether a goal was achieved, no import can know."""

    @field_validator("custom_id")
    @classmethod
    def _known_fields(cls, value: str) -> str:
        parts = [part for part in string.Formatter().parse(value) if part[1] is not None]
        fields = [name for _, name, _, _ in parts]
        if any(form or conversion for _, _, form, conversion in parts):
            raise ValueError("a field is only its name in braces, such as {id}: no format, no conversion")
        unknown = [name for name in fields if name not in CUSTOM_ID_FIELDS]
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} is not known here; known are {', '.join(CUSTOM_ID_FIELDS)}")
        if "id" not in fields and "conversation_id" not in fields:
            raise ValueError("without {id} (or {conversation_id}) many traces would share one custom id")
        return value

    @field_validator("redact")
    @classmethod
    def _known_rules(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        for item in value:
            if isinstance(item, str) and item not in READY_MADE_RULES:
                raise ValueError(
                    f"{item} is no ready-made rule ({', '.join(READY_MADE_RULES)}); for a pattern of your own write "
                    '{name: order, pattern: "ORD-[0-9]+"}'
                )
            is_own = isinstance(item, dict) and {"name", "pattern"} <= item.keys() <= {"name", "pattern", "replacement"}
            if not isinstance(item, str) and not (is_own and all(isinstance(text, str) for text in item.values())):
                raise ValueError('a rule is a name, or {name: order, pattern: "ORD-[0-9]+", replacement: "[order]"}')
        return value

    @property
    def keeps_back(self) -> bool:
        """Is there anything in a record that must not leave?"""
        return bool(self.drop or self.redact or self.content == "none")


class AssemblyConfig(_Section):
    """How traces are brought together whose records lie scattered over lines, files and days."""

    settle_minutes: float = Field(default=0, ge=0)
    """A trace whose last span is younger than that, against the newest one in the sources, waits for a later run."""
    missing_parts: Literal["report", "accept"] = "report"
    """What is done about a trace of which earlier parts cannot be found any more: nothing is sent, or what is left."""


class UploadConfig(_Section):
    """How fast, how patient, and when to give up."""

    max_per_second: float | None = Field(default=None, gt=0)
    max_at_once: int = Field(default=64, ge=1, le=1024)
    max_buffer_bytes: int = Field(default=67_108_864, gt=0)
    timeout_seconds: float = Field(default=30, gt=0)
    max_pause_seconds: float = Field(default=300, gt=0)
    give_up_after_seconds: float = Field(default=600, gt=0)
    lookup_seconds: float = Field(default=90, gt=0)
    """How long a session that must be on the server is looked for before it counts as hidden or deleted."""
    max_attempts: int = Field(default=8, ge=1)
    record_deadline_seconds: float = Field(default=300, gt=0)
    """Time for one session's attempts; pauses for the whole run do not count."""
    max_rejected: int = Field(default=0, ge=0)
    turns: TurnsMode = "auto"
    """detailed: one request a turn; batch: plain messages, up to 100 a request, without latency, tokens and cost; auto:
    in batches where there are no such figures."""
    on_change: Literal["auto", "update", "report", "recreate"] = "auto"
    on_existing: Literal["leave", "complete"] = "leave"
    """A session that the server had, and not from this ledger: leave it alone, or add the turns that it lacks."""
    on_conflict: Literal["report", "keep_first"] = "report"
    retry_rejected: bool = False
    transport: Literal["auto", "pyreqwest", "httpx"] = "auto"


class RejectsConfig(_Section):
    """What a line of rejects.jsonl holds."""

    include_record: bool | None = None
    """Null: unless mapping.drop, redact or content keep something back."""


class StopConfig(_Section):
    """When a run has to be through, wherever it is then; the next one goes on (exit 75)."""

    at: str | None = None
    """A time of day ("06:00": the next one, on this machine's clock) or a date with a time."""
    after: str | None = None
    """A length of time: 2h, 90m, 45s, 1h30m."""

    @field_validator("at", mode="before")
    @classmethod
    def _is_a_moment(cls, value: Any) -> Any:
        if isinstance(value, date):  # YAML knows dates, with a time and without
            value = value.isoformat()
        if isinstance(value, int):  # and takes 22:30 for 22 times 60 and 30
            shown = f"{value // 60:02}:{value % 60:02}" if 60 <= value < 1440 else "22:30"
            raise ValueError(f'put quotes around it: at: "{shown}" (YAML reads a number in a bare 22:30)')
        if isinstance(value, str):
            parse_moment(value)
        return value

    @field_validator("after", mode="before")
    @classmethod
    def _is_a_duration(cls, value: Any) -> Any:
        if isinstance(value, int | float):
            raise ValueError(f"{value} of what? write it with its unit: 2h, 90m, 45s")
        if isinstance(value, str):
            parse_duration(value)
        return value

    @model_validator(mode="after")
    def _one_deadline(self) -> StopConfig:
        if self.at is not None and self.after is not None:
            raise ValueError("give a moment (stop.at, --until) or a length of time (stop.after, --for), not both")
        return self


class Config(_Section):
    """Everything that one run is told. `api_key` comes from the environment only."""

    source: SourceConfig
    target: TargetConfig
    mapping: MappingConfig = MappingConfig()
    assembly: AssemblyConfig = AssemblyConfig()
    upload: UploadConfig = UploadConfig()
    rejects: RejectsConfig = RejectsConfig()
    stop: StopConfig = StopConfig()
    extent: Extent = Field(default="full", alias="import")
    """session: each session alone, what was said in its context; turns: and its turns; full: and their spans."""
    state_dir: Path = Field(default=Path(".trace-import"), validate_default=True)
    output_dir: Path | None = None
    keep_runs: int = Field(default=30, ge=1)
    """So many runs' manifests and rows are kept, and as many of runs that were interrupted; sessions for ever."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many sessions, to try things out."""
    base_dir: Path = Field(default=Path(), exclude=True)
    origin: str = Field(default="options", exclude=True)
    """What complaints about a setting begin with: the file, or "options"."""
    target_name: str | None = Field(default=None, exclude=True)
    """What the ledger calls the target, where its address is not what identifies it (an emulator's port)."""
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    id_salt: SecretStr | None = Field(default=None, exclude=True, repr=False)
    """Mixed into the hashes that stand for what is redacted in ids, so that nobody can guess it from them."""

    @field_validator("state_dir", "output_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return Path(os.path.abspath(value)) if value is not None else None

    @property
    def includes_record(self) -> bool:
        """Do the rejects hold the records?"""
        include = self.rejects.include_record
        return not self.mapping.keeps_back if include is None else include

    @model_validator(mode="after")
    def _custom_needs_a_mapping(self) -> Config:
        if self.source.format == "custom" and not self.mapping.trace:
            raise ValueError(
                "source.format is custom, so mapping.trace must say where things are, for example "
                '{id: "request_id", input: "prompt", output: "answer"}'
            )
        if self.mapping.trace and self.source.format != "custom":
            raise ValueError(f"mapping.trace is for source.format: custom, and the format is {self.source.format}")
        return self

    def sha256(self) -> str:
        """Hash of all settings (no secret is among them)."""
        return _sha256(self.model_dump(mode="json"))

    def mapping_sha256(self) -> str:
        """Hash of what decides how a record becomes a session: another one means that files are read again."""
        archive_bytes = self.source.max_archive_bytes
        hidden = {"stopping_reason"} if self.extent == "session" else None
        sent = {} if self.extent == "session" else {"import": self.extent, "turns": self.upload.turns}
        return _sha256(
            {
                "revision": MAPPING_REVISION,
                "mapping": self.mapping.model_dump(mode="json", exclude=hidden),
                **sent,
                "name": self.source.name,
                "format": self.source.format,
                "session_per": self.source.session_per,
                "max_record_bytes": self.source.max_record_bytes,
                **({"filters": filters} if (filters := self.source.filters()) else {}),
                **({"max_archive_bytes": archive_bytes} if archive_bytes != _MAX_ARCHIVE_BYTES else {}),
            }
        )

    def parts_sha256(self) -> str:
        """The same without what is sent of a trace (import): where its pieces lie does not change with that."""
        return self.model_copy(update={"extent": "session"}).mapping_sha256()


def load_config(
    path: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Read a YAML file, lay `overrides` ("source.paths": […]) over it, and check everything.

    Relative paths in the file are relative to the file; those in overrides to the working directory.
    Raises UsageError that names the file, the key and the nearest known key.
    """
    data, base = _read_yaml(Path(path)) if path is not None else ({}, Path.cwd())
    where = str(path) if path is not None else "options"
    for name in _HIDDEN & data.keys():
        raise UsageError(f"{where}: {name}: unknown key")
    data = {name: value for name, value in data.items() if value is not None}
    if path is not None:
        data.setdefault("state_dir", ".trace-import")
    _make_paths_absolute(data, base)
    environment_url = environ.get("GALTEA_API_URL")
    if environment_url and "base_url" not in _section(data, "target", where):
        data["target"]["base_url"] = environment_url
    laid_over = {key: value for key, value in (overrides or {}).items() if value is not None}
    if laid_over.get("target.version_id") or laid_over.get("target.product_id"):
        for anchor in ("version_id", "product_id"):
            _section(data, "target", where).pop(anchor, None)
    if laid_over.keys() >= {"stop.at", "stop.after"}:
        raise UsageError("give --until or --for, not both")
    if laid_over.keys() & {"stop.at", "stop.after"}:  # an option wins over either key of the file
        data["stop"] = {}
    for key, value in laid_over.items():
        *sections, leaf = key.split(".")
        place = data
        for name in sections:
            place = _section(place, name, where)
        place[leaf] = value
    has_unknown = not data.keys() <= set(_keys_of(Config)) or (
        isinstance(data.get("source"), dict) and not data["source"].keys() <= SourceConfig.model_fields.keys()
    )
    if not has_unknown and ("source" not in data or not _section(data, "source", where).get("paths")):
        raise UsageError(f"{where}: nothing to read; name files or folders in source.paths or with --source")
    _section(data, "target", where)
    key = environ.get("GALTEA_API_KEY", "").strip()
    salt = environ.get("TRACE_IMPORT_ID_SALT", "")
    try:
        return Config.model_validate(
            {
                **data,
                "base_dir": base,
                "origin": where,
                "api_key": SecretStr(key) if key else None,
                "id_salt": SecretStr(salt) if salt else None,
            }
        )
    except ValidationError as error:
        raise UsageError(_explain(error, where)) from error


def require_target(config: Config) -> Config:
    """The same config, or a UsageError: who sends needs a key and a version (or product)."""
    if not config.target.version_id and not config.target.product_id:
        raise UsageError(
            "no target version: set target.version_id or target.product_id, or give --version-id or --product-id"
        )
    if config.api_key is None:
        raise UsageError(
            "no API key: set the environment variable GALTEA_API_KEY (it never comes from an option or the YAML), "
            "or try --emulator"
        )
    return config


def normalise_base_url(value: str) -> str:
    """Lower-case scheme and host, no default port, no trailing slash: the form that the ledger is keyed by."""
    parts = urlsplit(value.strip())
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{value!r} is not an http(s) URL such as {DEFAULT_BASE_URL}")
    if parts.username or parts.password:
        raise ValueError("a user name or password in the URL is not supported; the key comes from GALTEA_API_KEY")
    if parts.query or parts.fragment:
        raise ValueError(f"{value!r} has a query or fragment; give the bare address such as {DEFAULT_BASE_URL}")
    scheme = parts.scheme.lower()
    host = parts.hostname if ":" not in parts.hostname else f"[{parts.hostname}]"
    default = 443 if scheme == "https" else 80
    netloc = host if parts.port in (None, default) else f"{host}:{parts.port}"
    return urlunsplit((scheme, netloc, parts.path.rstrip("/"), "", ""))


def _checked_url(url: str) -> str:
    """Sources are named in manifests and messages, so no secret may be in them; nor is one repeated in the refusal."""
    if url.lower().startswith("file://"):
        return urlsplit(url).path
    scheme, _, rest = url.partition("://")
    user = rest.partition("/")[0].rpartition("@")[0]
    if user and (":" in user or scheme.lower() in ("http", "https")):
        raise ValueError(
            f"a URL ({scheme}://…) with a user name or password in it; leave them out: credentials come from the "
            "environment, as the storage's own tools take them"
        )
    if scheme.lower() in ("http", "https") and ("?" in rest or "#" in rest):
        raise ValueError(
            f"a URL ({scheme}://…) with a query or a fragment, which may be a signature or a token; download the file, "
            "and name that"
        )
    if "::" in url:
        raise ValueError(f"a chained URL ({scheme}…); name the object itself: archives and compression are read anyway")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _GivenTwiceError(Exception):
    """The same key twice in one mapping."""


class _Loader(yaml.SafeLoader):
    """YAML's own words for it: keys are unique. PyYAML keeps the last one and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if (key.tag, key.value) in first:
                    raise _GivenTwiceError(
                        f"line {line}: {key.value} is given twice, first in line {first[key.tag, key.value]}; keep one"
                    )
                first[key.tag, key.value] = line
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> tuple[dict[str, Any], Path]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot read the configuration ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})") from error
    try:
        data = yaml.load(text, _Loader)
    except _GivenTwiceError as error:
        raise UsageError(f"{path}, {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{path}{line}: not YAML ({getattr(error, 'problem', None) or error})") from error
    except ValueError as error:  # something that looks like a date, and is none
        raise UsageError(f"{path}: not YAML ({error}); put quotes around what is no date") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}: the configuration must be a mapping with keys such as source and target")
    target = data.get("target")
    if "api_key" in data or (isinstance(target, dict) and "api_key" in target):
        raise UsageError(f"{path}: the API key does not belong in a file; set GALTEA_API_KEY in the environment")
    return data, path.resolve().parent


def _section(data: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    section = data.setdefault(name, {})
    if section is None:
        section = data[name] = {}
    if not isinstance(section, dict):
        raise UsageError(f"{where}: {name} must be a mapping, not {type(section).__name__}")
    return section


def _make_paths_absolute(data: dict[str, Any], base: Path) -> None:
    def absolute(value: Any) -> Any:
        is_path = isinstance(value, str) and value.strip() and "://" not in value
        return os.path.normpath(base / value) if is_path else value

    source = data.get("source")
    if isinstance(source, dict) and isinstance(source.get("paths"), list):
        source["paths"] = [absolute(path) for path in source["paths"]]
    elif isinstance(source, dict) and "paths" in source:
        source["paths"] = absolute(source["paths"])
    if isinstance(source, dict) and "ids" in source:
        source["ids"] = absolute(source["ids"])
    for name in ("state_dir", "output_dir"):
        if name in data:
            data[name] = absolute(data[name])
    target = data.get("target")
    if isinstance(target, dict) and "ca_file" in target:
        target["ca_file"] = absolute(target["ca_file"])


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            nearest = difflib.get_close_matches(str(problem["loc"][-1]), _keys_beside(problem["loc"]), n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            lines.append(f"{where}: {place}: unknown key{hint}")
        else:
            text = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "string_type" and isinstance(problem["input"], (bool, int, float, date)):
                text += "; put quotes around it, so that YAML takes it for a text"
            lines.append(f"{where}: {place}: {text}" if place else f"{where}: {text}")
    return "\n".join(lines)


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field is not None else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return [name for name in _keys_of(model) if model is not Config or name not in _HIDDEN]


def _keys_of(model: type[BaseModel]) -> list[str]:
    """As a user writes them: `import` is no name that Python would let a field have."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
