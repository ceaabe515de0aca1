"""The cost of a latency report over a very long run: records are written, then the script runs as for a user."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perception.core.detections import Detections
from perception.core.frame import Frame
from perception.core.results import BackendInfo, BoardSnapshot, Report, Result, StageTimes
from perception.reporting.records import record_line

START_S = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
PERIOD_S = 1 / 30
BLOCK = 3000
RESTART = 400 * BLOCK
Whole = npt.NDArray[np.int64]
BACKEND = BackendInfo("tensorrt", "int8", (640, 640), 1, {2: "car"})
BOARD = BoardSnapshot(
    {"cpu": 58.2, "gpu": 61.0, "tj": 61.0},
    {"gpu": 99.0},
    rails_w={"VDD_IN": 7.2},
    gpu_load=0.61,
    memory_total_mib=7620.0,
    power_mode="15W",
)


def write_records(path: Path, count: int, seed: int = 1) -> None:
    """Write `count` records in the form of frames.jsonl, 30 a second: slow frames, drops, restarts, hot spells."""
    next_id = 0
    with path.open("w", encoding="utf-8", buffering=2**20) as file:
        for first in range(0, count, BLOCK):
            if first % RESTART == 0:
                next_id = 0
            random = np.random.default_rng((seed, first))
            dropped = (random.random(min(BLOCK, count - first)) > 0.998) * 2
            ids = next_id - 1 + np.cumsum(1 + dropped)
            next_id = int(ids[-1]) + 1
            file.writelines(_lines(first, ids, dropped, random))


def _lines(first: int, ids: Whole, dropped: Whole, random: np.random.Generator) -> Iterator[str]:
    count = len(ids)
    infer = 8 + random.gamma(4, 0.6, count) + 40 * (random.random(count) > 0.9995)
    pre, post = 0.3 + random.gamma(2, 0.05, count), 0.5 + random.gamma(2, 0.1, count)
    total = pre + infer + post + 0.05
    age = total + 5 + random.gamma(2, 2, count)
    hot = (first // BLOCK) % 50 == 7
    found = [_vehicles(shown) for shown in range(5)]
    frame = Frame(np.zeros((1, 1, 3), np.uint8), 0, 0.0, "csi://0?width=1280&height=720")
    for row in range(count):
        number = first + row
        stages = StageTimes(pre[row], infer[row], post[row])
        result = Result(found[number // 90 % 5], stages, total[row], age[row])
        board = _board(row, hot) if number % 30 == 0 else None
        report = Report(replace(frame, frame_id=ids[row]), result, dropped[row], BACKEND, board)
        yield record_line(report, START_S + number * PERIOD_S)


def _vehicles(count: int) -> Detections:
    box = np.array([312.4, 201.9, 402.7, 262.3], np.float32)
    return Detections(np.tile(box, (count, 1)), np.full(count, 0.8123, np.float32), np.full(count, 2))


def _board(row: int, hot: bool) -> BoardSnapshot:
    zones = {**BOARD.temperatures_c, "gpu": 98.5 if hot else 61.0 + row % 5}
    slowed = ("gpu-throttle-alert",) if hot else ()
    return replace(BOARD, temperatures_c=zones, power_w=7.2 + row % 3, throttling=slowed)


def measure(root: Path, path: Path) -> tuple[dict[str, float], int]:
    """Run the report over `path` in a process of its own; return its costs and the frames that it counted.

    Wall and processor seconds, and the peak of memory in MiB: its proportional set size, sampled every 0.1 s.
    """
    command = [sys.executable, str(root / "scripts" / "latency_report.py"), str(path), "--json"]
    before, began, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0.0
    with tempfile.TemporaryFile() as out:
        with subprocess.Popen(command, stdout=out) as process:  # noqa: S603 - our own script
            while process.poll() is None:
                peak = max(peak, _memory_mib(process.pid))
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
        took = time.perf_counter() - began
        out.seek(0)
        told = out.read()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"the report ended with {process.returncode}")
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    costs = {"wall s": round(took, 1), "cpu s": round(cpu, 1), "peak MiB": round(peak, 1)}
    return costs, int(json.loads(told)["frames"])


def _memory_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
