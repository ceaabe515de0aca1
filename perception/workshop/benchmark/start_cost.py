"""From the start of a process to its first vehicle line, and the memory it takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from perception.errors import BackendError
from perception.workshop.benchmark import predict

FRAMES = 20


def pilot_command(root: Path, weights: Path, clip: Path) -> list[str]:
    """Runs the pilot over the first frames of a clip."""
    script = str(root / "pilot.py")
    return [
        sys.executable,
        script,
        "--model",
        str(weights),
        "--source",
        str(clip),
        "--allow-cpu",
        "--max-frames",
        str(FRAMES),
    ]


def predict_command(weights: Path, clip: Path) -> list[str]:
    """Runs ultralytics' predict over the first frames of a clip."""
    return [sys.executable, predict.__file__, str(weights), str(clip), str(FRAMES)]


def measure(command: Sequence[str]) -> tuple[float, float]:
    """Seconds to the first line that tells of a frame, and the peak of resident memory in MiB."""
    started = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - the commands above
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    first_s, last = None, ""
    for line in process.stdout:
        last = line
        if first_s is None and ("Vehicle detection:" in line or line.startswith('{"xyxy"')):
            first_s = time.perf_counter() - started
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if first_s is None or process.returncode:
        raise BackendError(f"{' '.join(command[:3])} ended with {process.returncode}: {last.strip()}")
    return first_s, usage.ru_maxrss / 1024
