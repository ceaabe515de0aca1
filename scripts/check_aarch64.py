#!/usr/bin/env python3
"""Checks that a Jetson gets ready wheels for all of requirements-jetson.lock but for what must be compiled.

JetPack 6 is Ubuntu 22.04 (glibc 2.35, Python 3.10), JetPack 7 is Ubuntu 24.04 (glibc 2.39, Python 3.12).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {"3.10": "aarch64-manylinux_2_35", "3.12": "aarch64-manylinux_2_39"}
COMPILED = "# compiled on the device:"


def main() -> int:
    """Return 0 where every wheel is there for every target, else 1, after printing the resolver's message."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        sys.stderr.write("uv is not installed here: pip install -r requirements-dev.lock\n")
        return 1
    lines = (ROOT / "requirements-jetson.txt").read_text().splitlines()
    compiled = {line.partition(">=")[0]: line.partition(COMPILED)[2].strip() for line in lines if COMPILED in line}
    # A locked package is the line of its version and the indented ones below it.
    locked = re.split(r"\n(?=\S)", (ROOT / "requirements-jetson.lock").read_text())
    wheels = "\n".join(entry for entry in locked if entry.partition("==")[0] not in compiled)
    failed = False
    for version, platform in TARGETS.items():
        done = _install(uv, version, platform, wheels)
        failed |= done.returncode != 0
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        added = [line.removeprefix("+ ") for line in said if line.startswith("+ ")]
        verdict = "does not install:" if done.returncode else f"{len(added)} packages, all ready wheels:"
        print(f"Python {version}, {platform}: {verdict}\n  {' '.join(said if done.returncode else added)}")
    for package, how in compiled.items():
        print(f"compiled on the device: {package}: {how}")
    return int(failed)


def _install(uv: str, version: str, platform: str, wheels: str) -> subprocess.CompletedProcess[str]:
    """Return a dry run of the installation on that platform, with every version and hash of the lock."""
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "wheels.lock"
        lock.write_text(wheels)
        command = [uv, "pip", "install", "--dry-run", "--target", folder, "--require-hashes", "--only-binary", ":all:"]
        where = ["--python-version", version, "--python-platform", platform, "--no-progress"]
        return subprocess.run([*command, *where, "-r", lock], capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
