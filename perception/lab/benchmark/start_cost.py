"""The start of a process up to its first vehicle line, and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from perception.core.errors import BackendError
from perception.lab.benchmark import predict
from perception.reporting.lines import FRAME

FRAMES = 20
LOOK_S = 0.05
BOXES = '{"xyxy"'
"""The beginning of a frame in the output of predict.py."""


def pilot_command(root: Path, weights: Path, clip: Path) -> list[str]:
    """Return the command that runs the pilot over the first frames of a clip."""
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
    """Return the command that runs ultralytics' predict over the first frames of a clip."""
    return [sys.executable, predict.__file__, str(weights), str(clip), str(FRAMES)]


@dataclass(frozen=True, slots=True)
class Start:
    """One start: seconds to the first line of a frame, the lines up to it, and the peak of memory in MiB.

    begun: wall clock. resident: all memory of the process.
    """

    begun: datetime
    first_s: float
    lines: tuple[str, ...]
    resident: float


def measure(command: Sequence[str], look: Callable[[int], None] = lambda pid: None) -> Start:
    """Run a command to its end. look: called with its pid every LOOK_S, while it prints; may raise.

    Raises BackendError for one that fails, or prints no frame.
    """
    begun, started = datetime.now(), time.perf_counter()
    first_s, lines, last, looked = None, list[str](), "it said nothing", 0.0
    with subprocess.Popen(  # noqa: S603 - our own commands
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            last = line
            if first_s is None:
                lines.append(line)
                first_s = time.perf_counter() - started if line.startswith(BOXES) or FRAME in line else None
            if time.perf_counter() - looked > LOOK_S:
                looked = time.perf_counter()
                try:
                    look(process.pid)
                except BaseException:
                    process.kill()
                    raise
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if first_s is None or process.returncode:
        raise BackendError(f"{' '.join(command[:3])} ended with {process.returncode}: {last.strip()}")
    return Start(begun, first_s, tuple(lines), usage.ru_maxrss / 1024)
