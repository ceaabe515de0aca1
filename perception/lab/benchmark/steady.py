"""Long runs: growth of memory, growth of the age of frames, and the account of every frame."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from perception.app.stream import frames
from perception.camera import open_source
from perception.lab.benchmark.frame_cost import Detector
from perception.settings.model import RunSettings, SourceSettings
from perception.system.stop import StopFlag


def resident_mib() -> float:
    """Return the resident memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def memory_by_frame(service: Detector, uri: str, count: int, step: int) -> dict[int, float]:
    """Return the resident MiB after every `step` of `count` frames of the source."""
    settings, memory = SourceSettings(uri=uri), {}
    with open_source(settings) as source:
        for frame in frames(source, RunSettings(max_frames=count), StopFlag()):
            service.detect([frame])
            if (frame.frame_id + 1) % step == 0:
                memory[frame.frame_id + 1] = resident_mib()
    return memory


@dataclass(frozen=True, slots=True)
class Ages:
    """Ages of frames when they were taken, in ms; counts of all that were captured; the source's period."""

    ages_ms: list[float]
    processed: int
    dropped: int
    captured: int
    period_ms: float


def slow_consumer(uri: str, fps: float, duration_s: float) -> Ages:
    """Take frames of a live source at `fps` for duration_s."""
    settings = SourceSettings(uri=uri)
    ages, ids, began = [], [], 0.0
    with open_source(settings) as source:
        for frame in frames(source, RunSettings(duration_s=duration_s), StopFlag()):
            began = began or frame.captured_at
            ages.append((time.monotonic() - frame.captured_at) * 1000)
            ids.append(frame.frame_id)
            time.sleep(1 / fps)
        elapsed_s = time.monotonic() - began
    if (last := source.read(0)) is not None:  # what lay in the mailbox at the end was captured, too
        ids.append(last.frame_id)
    dropped = sum(later - earlier - 1 for earlier, later in zip([-1, *ids], ids))
    return Ages(ages, len(ids), dropped, source.captured, elapsed_s * 1000 / source.captured)
