"""The emulator is a second implementation: it must be able to disagree with ours."""

from __future__ import annotations

import ast
from pathlib import Path

import pipeline.emulator


def test_the_emulator_imports_nothing_of_ours() -> None:
    folder = Path(pipeline.emulator.__file__).parent
    imported = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Import):
                imported.update(name.name for name in node.names)
    ours = {name for name in imported if name.split(".")[0] == "pipeline"}
    assert {name for name in ours if not name.startswith("pipeline.emulator")} == set()
