"""Makes the files of a tree of tests/board/trees under a folder that then stands for `/`."""

from __future__ import annotations

from pathlib import Path

TREES = Path(__file__).with_name("trees")
NAMES = sorted(path.stem for path in TREES.glob("*.txt"))


def plant(name: str, root: Path) -> Path:
    """Writes the tree `name` and gives back its root."""
    for line in (TREES / f"{name}.txt").read_text().splitlines():
        path, content = line.split(" = ", 1)
        write(root, path, content.replace("\\n", "\n"))
    return root


def write(root: Path, path: str, content: str) -> None:
    """Writes or changes one file, ended by a line break as the kernel does it."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content + "\n")
