"""The core that a measurement runs on, and the clocks of the GPU."""

from __future__ import annotations

import os
import subprocess

from perception.core.errors import BackendError


def stay_on(core: int | None) -> None:
    """Pin the calling thread to one core; None leaves it free. BackendError where there is no such core."""
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
    except OSError:
        allowed = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        raise BackendError(f"There is no core {core} for this process", f"Give one of {allowed}.") from None


def clocks() -> str:
    """Return the clocks of the GPU by nvidia-smi; a Jetson has none: see its power mode instead."""
    query = ["nvidia-smi", "--query-gpu=clocks.sm,clocks.mem", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"
