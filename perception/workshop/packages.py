"""Tells which package Python lacks. Standard library alone: a script imports it before all others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VENV = Path(__file__).resolve().parents[2] / ".venv"


@contextmanager
def exit_if_missing() -> Iterator[None]:
    """Run the imports in the block; a missing package ends the script with its name, the cure and exit code 2."""
    try:
        yield
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"{sys.executable} lacks the package {missing.name!r}. {_cure()}.\n")
        sys.exit(2)


def _cure() -> str:
    if Path(sys.prefix).resolve() == VENV.resolve():
        return f"Install it: {sys.executable} -m pip install --require-hashes -r requirements.lock"
    python = VENV / "bin" / "python"
    return f"Run this with {python}" if python.exists() else "README.md tells how to make the virtual environment"
