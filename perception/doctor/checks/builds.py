"""Leftovers of builds beside the engines, and the calibration set that an INT8 build reads."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from perception.doctor.checks.machine import Machine, read_file
from perception.doctor.finding import Finding, ok, unknown, warning

OLD_S = 3600.0
"""A build's file that has not changed for an hour is not being written any more."""
FEW_IMAGES = 100
"""The fewest images that an export accepts."""
KINDS = (".engine", ".json", ".onnx", ".cache")


def leftovers(machine: Machine) -> Iterator[Finding]:
    """Find files that a build began and never put in place: hidden, .tmp and .part; and sidecars without an engine."""
    folder = machine.folder("engine_dir", "engines")
    try:
        names = sorted(path.name for path in folder.iterdir() if _is_leftover(path, machine.now))
    except FileNotFoundError:
        yield ok(f"none: {folder} is not there")
        return
    except OSError as fault:
        yield unknown(f"{folder}: {fault.strerror or fault}")
        return
    if names:
        listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        cure = "rm " + " ".join(shlex.quote(str(folder / name)) for name in names[:4])
        yield warning("engine-leftovers", f"a build that did not end left {listed} in {folder}", cure)
    else:
        yield ok("none")


def _is_leftover(path: Path, now: float) -> bool:
    hidden = path.name.startswith(".") and any(f"{kind}." in path.name for kind in KINDS)
    alone = path.suffix == ".json" and "." not in path.stem and not path.with_suffix(".engine").exists()
    try:
        return (hidden or alone or path.suffix in (".tmp", ".part")) and path.stat().st_mtime < now - OLD_S
    except OSError:
        return False


def calibration(machine: Machine) -> Iterator[Finding]:
    """Count the images for an INT8 build, and check that their manifest is there."""
    folder = machine.project / "calibration"
    build = "python3 scripts/build_calibration_set.py VIDEO --force"
    text = read_file(folder / "manifest.json")
    try:
        images = sum(1 for path in (folder / "images").iterdir() if path.is_file())
    except OSError:
        images = 0
    if text is None and not images:
        yield ok("none; needed to build an INT8 engine alone")
        return
    try:
        manifest = json.loads(text or "")
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict):
        yield warning("calibration-manifest", f"{folder / 'manifest.json'} is missing or broken", build)
    elif images < FEW_IMAGES:
        yield warning("calibration-few", f"{images} images in {folder}: a build wants {FEW_IMAGES} or more", build)
    else:
        yield ok(f"{images} images")
