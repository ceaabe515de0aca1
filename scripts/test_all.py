#!/usr/bin/env python3
"""Runs the suite, without torch, on every Python from 3.10 to 3.13 that this machine has, in the locked versions.

PYTHONS="3.10 3.12" names some of them (one that is missing is then an error); FAST=1 leaves slow tests out; LOWEST=1
takes the lowest versions that requirements.txt allows instead of the locked ones; TESTS="tests/backends ..." names what
runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
RANGES = "requirements.txt", "requirements-dev.txt"


def interpreter(version: str) -> str | None:
    """The path of Python `version`: on PATH, or among pyenv's."""
    candidates = [shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)]
    for path in candidates:
        # For versions that are not activated, the shim of pyenv on PATH only fails.
        if path and subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            return path
    return None


def install_locked(python: Path) -> None:
    """Installs what users and developers install."""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    subprocess.run([*pip, "-r", str(ROOT / "requirements-dev.lock")], check=True)


def install_lowest(python: Path) -> None:
    """Installs the lowest versions of what the pilot needs; then developers' tools, of today, which move none of them.

    Raises SystemExit where they do.
    """
    ranges, tools = (str(ROOT / name) for name in RANGES)
    _uv(python, "install", "--quiet", "--resolution", "lowest-direct", "-r", ranges)
    lowest = set(_uv(python, "freeze").split())
    _uv(python, "install", "--quiet", "-r", tools)
    if moved := sorted(lowest - set(_uv(python, "freeze").split())):
        sys.exit(f"The developers' tools need other versions than the lowest: {', '.join(moved)}")
    print(f"The lowest versions: {' '.join(sorted(lowest))}")


def _uv(python: Path, verb: str, *words: str) -> str:
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", verb, "--python", str(python), *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def run(version: str, python: str, fast: bool, lowest: bool) -> bool:
    """Sets up a venv and runs the tests in it; True where they pass."""
    venv = ROOT / (f".venv-{version}-lowest" if lowest else f".venv-{version}")
    inside = venv / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", venv], check=True)
    (install_lowest if lowest else install_locked)(inside)
    # Data-bound tests and those of torch ran on the main Python; here it is the language and the libraries that count.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PILOT_DATA")}
    chosen = ["-m", "not slow and not long"] if fast else []
    chosen += os.environ.get("TESTS", "").split()
    pytest = [str(inside), "-m", "pytest", "-q", "--numprocesses", "auto", "--dist", "loadfile"]
    return subprocess.run([*pytest, *chosen], cwd=ROOT, env=environment).returncode == 0


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
        fast, lowest = (bool(os.environ.get(name)) for name in ("FAST", "LOWEST"))
        verdicts[version] = "passed" if run(version, python, fast, lowest) else "FAILED"
    for version, verdict in verdicts.items():
        print(f"Python {version}: {verdict}")
    none_ran = not any(verdict in ("passed", "FAILED") for verdict in verdicts.values())
    return int(none_ran or any(verdict.isupper() for verdict in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
