"""The start of the pilot on an engine: its parts, and the share of CUDA's own initialisation."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median

from perception.core.errors import BackendError
from perception.lab.benchmark import start_cost
from perception.lab.benchmark.start_cost import Start
from perception.reporting.lines import FRAME

# A context as the pilot makes it, and nothing else; then it holds still to be measured.
CONTEXT_ALONE = """
import time
import pycuda.driver as cuda
started = time.perf_counter()
cuda.init()
context = cuda.Device(0).retain_primary_context()
context.push()
print("Vehicle detection: none, CUDA took", time.perf_counter() - started, flush=True)
time.sleep(1)
context.pop()
"""
FRAMES = 400
MARKS = {
    "process start to first log line": "",
    "to Loading": "Loading vehicle detection model",
    "to Serving": "Serving with",
    "to the first vehicle line": FRAME,
}
"""The parts of a start, each with what its last line holds."""
STAMP = "%Y-%m-%d %H:%M:%S.%f"
STAMP_LENGTH = len("2000-01-01 00:00:00.000")

Rows = dict[str, dict[str, float]]


class Watch:
    """Samples a starting process: keeps the peak of its anonymous memory in MiB; BackendError where it loads torch."""

    def __init__(self) -> None:
        self.anonymous = 0.0

    def __call__(self, pid: int) -> None:
        """Sample the process once."""
        self.anonymous = max(self.anonymous, _anonymous_mib(pid))
        if _has_torch(pid):
            raise BackendError("The pilot imported torch on its way to an engine")


def measure(root: Path, engine: Path, clip: Path, names: Sequence[str], rounds: int) -> tuple[Rows, Rows]:
    """Return seconds to the first vehicle line (median, worst) and memory peaks by process, and the pilot's parts.

    Libraries do not count as anonymous memory. The pilot's run fails where torch was imported.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "pilot.yaml"
        config.write_text(
            json.dumps(
                {
                    "model": {"weights": str(engine.absolute()), "names": list(names)},
                    "engine": {"require": True, "dir": str(root / "engines")},
                    "log": {"dir": folder},
                    "run": {"max_frames": FRAMES},
                }
            )
        )
        pilot = [str(root / "pilot.py"), "--config", str(config), "--source", f"{clip.absolute()}?loop=1"]
        ours, ours_anonymous = _starts([sys.executable, *pilot], rounds)
        alone, alone_anonymous = _starts([sys.executable, "-c", CONTEXT_ALONE], rounds)
    rows = _compared(_row(ours, ours_anonymous), _row(alone, alone_anonymous), cuda_seconds(alone))
    return rows, _parts(ours)


def _starts(command: Sequence[str], rounds: int) -> tuple[list[Start], float]:
    """Return so many starts, and the highest peak of anonymous memory in MiB."""
    watch = Watch()
    return [start_cost.measure(command, watch) for _ in range(rounds)], watch.anonymous


def _compared(ours: dict[str, float], alone: dict[str, float], cuda_s: Sequence[float]) -> Rows:
    cuda = _seconds(cuda_s)
    return {
        "the pilot": ours,
        "a process with a CUDA context and nothing else": alone,
        "CUDA's own initialisation": cuda,
        "the pilot beyond that process": _less(ours, alone),
        "the pilot beyond CUDA's initialisation": _less(ours, cuda),
    }


def _less(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value - other[name], 3) for name, value in one.items() if name in other}


def _seconds(values: Sequence[float]) -> dict[str, float]:
    return {"median s": round(median(values), 3), "max s": round(max(values), 3)}


def _row(starts: Sequence[Start], anonymous: float) -> dict[str, float]:
    return _seconds([start.first_s for start in starts]) | {
        "resident MiB": round(max(start.resident for start in starts), 1),
        "of it anonymous MiB": round(anonymous, 1),
    }


def cuda_seconds(starts: Sequence[Start]) -> list[float]:
    """Return the seconds from cuInit to a current context that each CONTEXT_ALONE printed."""
    return [float(start.lines[-1].split()[-1]) for start in starts]


def _parts(starts: Sequence[Start]) -> Rows:
    each = [parts(start) for start in starts]
    return {name: _seconds([one[name] for one in each]) for name in MARKS}


def parts(start: Start) -> dict[str, float]:
    """Return the seconds of the parts of a start of the pilot, by the time stamps of its own log."""
    stamped = []
    for line in start.lines:
        try:
            stamped.append((datetime.strptime(line[:STAMP_LENGTH], STAMP), line))
        except ValueError:  # a line of a library
            continue
    found: dict[str, float] = {}
    before = start.begun
    for name, mark in MARKS.items():
        at = next((stamp for stamp, line in stamped if mark in line), None)
        if at is None:
            raise BackendError(f"The pilot's log has no line with a time stamp and {mark!r}")
        found[name] = (at - before).total_seconds()
        before = at
    return found


def _anonymous_mib(pid: int) -> float:
    """Return the resident memory of a process that no file backs."""
    path = Path(f"/proc/{pid}/status")
    try:
        lines = path.read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    fields = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("RssAnon", "RssShmem"))}
    return sum(map(int, fields.values())) / 1024


def _has_torch(pid: int) -> bool:
    """Return True if a library of torch is loaded into a process."""
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:  # it has just ended
        return False
