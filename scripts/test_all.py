#!/usr/bin/env python3
"""Runs the suite, without torch, on every Python from 3.10 to 3.13 that this machine has.

PYTHONS="3.10 3.12" names some of them (one that is missing is then an error); FAST=1 leaves slow tests out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")


def interpreter(version: str) -> str | None:
    """The path of Python `version`: on PATH, or among pyenv's."""
    candidates = [shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)]
    for path in candidates:
        # A shim of pyenv lies on PATH for versions that are not switched on, and then only complains.
        if path and subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            return path
    return None


def run(version: str, python: str, fast: bool) -> bool:
    """Sets up .venv-<version> and runs the tests in it; True where they pass."""
    venv = ROOT / f".venv-{version}"
    inside = venv / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", venv], check=True)
    install = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]
    subprocess.run([*install, str(ROOT / "requirements-dev.txt")], check=True)
    # Data-bound tests and those of torch ran on the main Python; here it is the language and the libraries that count.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PILOT_DATA")}
    chosen = ["-m", "not slow"] if fast else []
    return subprocess.run([inside, "-m", "pytest", "-q", *chosen], cwd=ROOT, env=environment).returncode == 0


def main() -> int:
    """0 where every Python found passes, 1 otherwise."""
    if len(sys.argv) > 1:
        sys.stderr.write(f"{__doc__}\nIt takes no arguments.\n")
        return 2
    wanted = os.environ.get("PYTHONS", "").split()
    verdicts: dict[str, str] = {}
    for version in wanted or VERSIONS:
        python = interpreter(version)
        if python is None:
            verdicts[version] = "MISSING" if wanted else "not found"
            continue
        verdicts[version] = "passed" if run(version, python, bool(os.environ.get("FAST"))) else "FAILED"
    for version, verdict in verdicts.items():
        print(f"Python {version}: {verdict}")
    none_ran = not any(verdict in ("passed", "FAILED") for verdict in verdicts.values())
    return int(none_ran or any(verdict.isupper() for verdict in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
