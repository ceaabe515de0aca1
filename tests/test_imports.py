"""The imports of detector_service.py and pilot.py, which are files, not packages, and so unread by import-linter."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "detector_service.py": {"core", "system", "settings", "backends"},
    "pilot.py": {"core", "system", "settings", "camera", "backends", "board", "reporting", "app"},
}


def rooms(path: Path) -> set[str]:
    """The rooms of perception/ that a file imports from, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("perception.")}


@pytest.mark.parametrize("name", ALLOWED)
def test_the_files_beside_perception_import_what_lies_below_them(name: str) -> None:
    assert rooms(ROOT / name) <= ALLOWED[name]


def test_perception_holds_rooms_alone_none_too_small_or_too_large() -> None:
    files = {path for path in (ROOT / "perception").iterdir() if path.is_file()}
    assert {path.name for path in files} == {"__init__.py"}
    for folder in (path.parent for path in (ROOT / "perception").rglob("__init__.py")):
        count = sum(path.is_file() for path in folder.iterdir())
        has_rooms = any(path.is_dir() and path.name != "__pycache__" for path in folder.iterdir())
        assert count <= 15, folder
        assert has_rooms or count >= 3, folder
