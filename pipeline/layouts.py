"""Which files of a blob export are whole: those of windows that its manifests tell of.

Langfuse's scheduled export writes `{prefix}{project}/{table}/{window}.{jsonl|parquet|…}[.gz]` and, when all tables of
a window are there, `{prefix}{project}/manifests/{window}.json`. So a window without a manifest is being written, or
its export failed and will be tried again under the same names: it is left for a later run. Windows before the first
manifest come from a version of Langfuse that wrote none.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.readers.opening import Place
from pipeline.readers.places import content_of_small, files_in

_STAMP = r"(?P<window>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)"
_TABLE_FILE = re.compile(rf"(?P<project>(?:.*[/!])?)(?P<table>\w+)/{_STAMP}\.(?P<suffix>[a-z.]+)")
_MANIFEST_NAME = re.compile(rf"{_STAMP}\.json")
_MANIFESTS = "manifests"


@dataclass(frozen=True, slots=True)
class Committed:
    """The places without manifests, and what these say of them."""

    places: Sequence[Place]
    incomplete: Sequence[Place] = ()
    """Files of windows that have no manifest."""
    missing: Sequence[str] = ()
    """Files that a manifest names, of a table that is read, and that are not there."""


@dataclass(slots=True)
class _Project:
    """A folder with tables in it: the files of each by window, and the manifests."""

    tables: dict[str, dict[str, list[Place]]] = field(default_factory=dict)
    manifests: dict[str, Place] = field(default_factory=dict)


def committed(places: Sequence[Place], *, keep_incomplete: bool) -> Committed:
    """Take out manifests, and what lies there of windows that are not whole (unless it is to be kept)."""
    projects: dict[str, _Project] = defaultdict(_Project)
    manifests = set()
    for place in places:
        found = _TABLE_FILE.fullmatch(str(place))
        if found is None:
            continue
        project = projects[found["project"]]
        if found["table"] == _MANIFESTS and found["suffix"] == "json":
            project.manifests[found["window"]] = place
            manifests.add(place)
        else:
            project.tables.setdefault(found["table"], {}).setdefault(found["window"], []).append(place)
    incomplete: set[Place] = set()
    missing: list[str] = []
    for folder, project in projects.items():
        if not project.manifests:
            project.manifests = _manifests_beside(folder)
        if project.manifests:
            incomplete.update(_without_manifest(project))
            missing += _missing(folder, project)
    if keep_incomplete:
        incomplete.clear()
    left = [place for place in places if place not in manifests and place not in incomplete]
    return Committed(left, [place for place in places if place in incomplete], missing)


def _manifests_beside(folder: str) -> dict[str, Place]:
    """Manifests that no path or pattern of the configuration names."""
    files = files_in(f"{folder}{_MANIFESTS}")
    found = [(_MANIFEST_NAME.fullmatch(name), place) for name, place in files.items()]
    return {match["window"]: place for match, place in found if match is not None}


def _without_manifest(project: _Project) -> Iterator[Place]:
    first = min(project.manifests)
    for windows in project.tables.values():
        for window, files in windows.items():
            if window > first and window not in project.manifests:
                yield from files


def _missing(folder: str, project: _Project) -> Iterator[str]:
    """Manifests are looked into only where a table has no file for their window: mostly they need not be."""
    there: dict[str, frozenset[str]] = {}
    for window, manifest in sorted(project.manifests.items()):
        absent = [table for table, windows in project.tables.items() if window not in windows]
        for table, name in _files_in(manifest) if absent else ():
            if table in absent:
                if table not in there:  # a pattern may leave files out
                    there[table] = frozenset(files_in(f"{folder}{table}"))
                if name not in there[table]:
                    yield f"{folder}{table}/{name}"


def _files_in(manifest: Place) -> Iterator[tuple[str, str]]:
    """Table and name of each file that a manifest names; of one that is no manifest, nothing."""
    try:
        content = json.loads(content_of_small(manifest))
    except (ValueError, RecursionError):
        return
    files = content.get("files") if isinstance(content, dict) else None
    for file in files if isinstance(files, list) else []:
        key = file.get("key") if isinstance(file, dict) else None
        if isinstance(key, str) and "/" in key:
            yield key.split("/")[-2], key.split("/")[-1]
