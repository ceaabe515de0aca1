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
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
PERIOD_S = 1 / 30
BLOCK = 3000
RESTART = 400 * BLOCK
Whole = npt.NDArray[np.int64]
BOARD = (
    '{"temperatures_c":{"cpu":58.2,"gpu":%.1f,"tj":61.0},"throttle_from_c":{"gpu":99.0},"power_w":%.2f,'
    '"rails_w":{"VDD_IN":7.2},"gpu_load":0.61,"memory_total_mib":7620.0,"power_mode":"15W","throttling":%s}'
)
_VEHICLE = '{"class":"car","confidence":0.8123,"xyxy":[312.4,201.9,402.7,262.3]}'


def write_records(path: Path, count: int, seed: int = 1) -> None:
    """Write `count` records in the form of frames.jsonl, 30 a second: slow frames, drops, restarts, hot spells."""
    next_id = 0
    with path.open("w", encoding="ascii", buffering=2**20) as file:
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
    for row in range(count):
        number = first + row
        moment = (START + timedelta(seconds=number * PERIOD_S)).isoformat(timespec="milliseconds")
        board = "null"
        if number % 30 == 0:
            board = BOARD % (98.5 if hot else 61.0 + row % 5, 7.2 + row % 3, '["gpu-throttle-alert"]' if hot else "[]")
        yield (
            f'{{"schema":1,"ts":"{moment}","frame_id":{ids[row]},"source":"csi://0?width=1280&height=720",'
            f'"age_ms":{age[row]:.3f},"preprocess_ms":{pre[row]:.3f},"infer_ms":{infer[row]:.3f},'
            f'"postprocess_ms":{post[row]:.3f},"total_ms":{total[row]:.3f},"dropped":{dropped[row]},'
            f'"backend":"tensorrt","precision":"int8",'
            f'"vehicles":[{",".join([_VEHICLE] * (number // 90 % 5))}],"board":{board}}}\n'
        )


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
