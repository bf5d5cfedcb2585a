"""Windows of a blob export: whole, being written, or copied in part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import load_config
from pipeline.errors import UsageError
from pipeline.finding import Found, find_sources

WINDOWS = ["2026-08-22T08-00-00", "2026-08-22T09-00-00", "2026-08-22T10-00-00"]


def window(
    project: Path, number: int, *, manifest: bool = True, tables: tuple[str, ...] = ("traces", "scores")
) -> None:
    """The files of one window, as Langfuse's scheduled export leaves them."""
    stamp = WINDOWS[number]
    for table in tables:
        (project / table).mkdir(parents=True, exist_ok=True)
        (project / table / f"{stamp}.jsonl.gz").touch()
    if manifest:
        (project / "manifests").mkdir(parents=True, exist_ok=True)
        files = [{"key": f"some/prefix/project-1/{table}/{stamp}.jsonl.gz", "table": table} for table in tables]
        content = {"version": 1, "projectId": "project-1", "files": files}
        (project / "manifests" / f"{stamp}.json").write_text(json.dumps(content))


def find(*paths: Path, home: Path, **settings: bool) -> Found:
    overrides = {"source.paths": [str(path) for path in paths], "source.allow_empty": True, "state_dir": home / "state"}
    return find_sources(load_config(overrides=overrides | {f"source.{k}": v for k, v in settings.items()}, environ={}))


def names(places: object) -> list[str]:
    return ["/".join(Path(str(place)).parts[-2:]) for place in places]  # type: ignore[attr-defined]


def test_a_window_without_a_manifest_is_left_for_a_later_run_and_told(tmp_path: Path) -> None:
    project = tmp_path / "exports" / "project-1"
    window(project, 0)
    window(project, 1, manifest=False)
    window(project, 2)
    found = find(tmp_path / "exports", home=tmp_path)
    assert names(found.places) == [f"{t}/{WINDOWS[n]}.jsonl.gz" for t in ("scores", "traces") for n in (0, 2)]
    assert names(found.incomplete) == [f"scores/{WINDOWS[1]}.jsonl.gz", f"traces/{WINDOWS[1]}.jsonl.gz"]
    assert (found.left_out, found.missing) == ([], [])
    anyway = find(tmp_path / "exports", home=tmp_path, import_incomplete=True)
    assert (len(anyway.places), anyway.incomplete) == (6, [])


def test_the_manifests_count_whatever_pattern_names_the_files(tmp_path: Path) -> None:
    project = tmp_path / "project-1"
    window(project, 0)
    window(project, 1, manifest=False)
    found = find(project / "traces" / "*.jsonl.gz", home=tmp_path)
    assert (names(found.places), names(found.incomplete)) == (
        [f"traces/{WINDOWS[0]}.jsonl.gz"],
        [f"traces/{WINDOWS[1]}.jsonl.gz"],
    )


def test_windows_before_the_first_manifest_are_from_a_version_that_wrote_none(tmp_path: Path) -> None:
    window(tmp_path / "project-1", 0, manifest=False)
    window(tmp_path / "project-1", 1)
    window(tmp_path / "project-2", 2, manifest=False)  # nor did any of this project
    found = find(tmp_path, home=tmp_path)
    assert (len(found.places), found.incomplete) == (6, [])


def test_what_a_manifest_names_and_nobody_copied_is_told(tmp_path: Path) -> None:
    project = tmp_path / "project-1"
    for number in range(3):
        window(project, number, tables=("observations_v2", "scores"))
    gone = project / "observations_v2" / f"{WINDOWS[1]}.jsonl.gz"
    gone.unlink()
    assert find(tmp_path, home=tmp_path).missing == [str(gone)]
    assert find(project / "scores", home=tmp_path).missing == []  # of a table that is not asked for
    pattern = project / "observations_v2" / f"{WINDOWS[0]}*"
    assert find(pattern, home=tmp_path).missing == [str(gone)]  # the third one is there, and not asked for
    (project / "manifests" / f"{WINDOWS[1]}.json").write_text('{"files": [')
    assert find(tmp_path, home=tmp_path).missing == []


@pytest.mark.parametrize("name", ["DEPRECATION_NOTICE.txt", "tmp/validation.txt"])
def test_notices_and_validation_files_are_no_exports(tmp_path: Path, name: str) -> None:
    window(tmp_path / "in", 0)
    (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "in" / name).touch()
    found = find(tmp_path / "in", home=tmp_path)
    assert (len(found.places), found.left_out) == (2, [str(tmp_path / "in" / name)])


def test_a_folder_with_manifests_only_holds_no_export(tmp_path: Path) -> None:
    window(tmp_path / "project-1", 0, tables=())
    found = find(tmp_path, home=tmp_path)
    assert (found.places, found.missing) == ([], [])
    with pytest.raises(UsageError, match="no such file"):
        find(tmp_path / "traces", home=tmp_path, allow_empty=False)
