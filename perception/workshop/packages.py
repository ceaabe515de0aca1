"""What a script says where Python lacks a package. The standard library alone: it is there before all others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VENV = Path(__file__).resolve().parents[2] / ".venv"


@contextmanager
def needed() -> Iterator[None]:
    """Imports stand in the block: where a package is missing, its name and the cure are told, and exit code 2."""
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
