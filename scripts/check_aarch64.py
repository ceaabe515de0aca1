#!/usr/bin/env python3
"""Proves that what a Jetson installs from the package index comes as ready wheels, but for what is listed as compiled.

JetPack 6 is Ubuntu 22.04 (glibc 2.35, Python 3.10), JetPack 7 is Ubuntu 24.04 (glibc 2.39, Python 3.12).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {"3.10": "aarch64-manylinux_2_35", "3.12": "aarch64-manylinux_2_39"}
COMPILED = "# compiled on the device:"


def main() -> int:
    """0 where every wheel is there for every target, 1 otherwise, with the resolver's own words."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        sys.stderr.write("uv is not installed here: pip install -r requirements-dev.txt\n")
        return 1
    lines = (ROOT / "requirements-jetson.txt").read_text().splitlines()
    compiled = {
        line.partition("#")[0].strip(): line.partition(COMPILED)[2].strip() for line in lines if COMPILED in line
    }
    wheels = [line for line in lines if line and not line.startswith("#") and COMPILED not in line]
    failed = False
    for version, platform in TARGETS.items():
        command = [uv, "pip", "compile", "-", "--python-version", version, "--python-platform", platform]
        done = subprocess.run(
            [*command, "--only-binary", ":all:", "--no-annotate", "--no-header", "--quiet"],
            input="\n".join(wheels),
            capture_output=True,
            text=True,
        )
        failed |= done.returncode != 0
        verdict = "does not resolve:" if done.returncode else f"{len(done.stdout.split())} packages, all ready wheels:"
        print(
            f"Python {version}, {platform}: {verdict}\n  {(done.stderr or done.stdout).strip().replace(chr(10), ' ')}"
        )
    for requirement, how in compiled.items():
        print(f"compiled on the device: {requirement}: {how}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
