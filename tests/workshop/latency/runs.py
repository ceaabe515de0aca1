"""Logs of made-up runs, written by the pilot's own code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from perception.core.detections import Detections
from perception.core.frame import Frame
from perception.core.results import BackendInfo, BoardSnapshot, Report, Result, StageTimes
from perception.reporting.lines import frame_line
from perception.reporting.records import record_line
from perception.workshop.latency.logs.sources import expand
from perception.workshop.latency.reading import Outcome, Query, read
from perception.workshop.latency.report import Figures, figures
from tests.doubles.fakes import INFO, make_image

START_S = 1_790_000_000.0
NOW = datetime.fromtimestamp(START_S + 86400, timezone.utc)
INT8 = replace(INFO, name="tensorrt", precision="int8")
FP16 = replace(INFO, name="pytorch", precision="fp16")
HOT = BoardSnapshot(temperatures_c={"cpu": 70.0, "gpu": 97.5}, power_w=14.25, throttling=("gpu-throttle-alert",))
COOL = BoardSnapshot(temperatures_c={"tj": 50.0, "cpu": 49.0}, power_w=7.0)


@dataclass(frozen=True)
class Step:
    """One frame of a run. at_s: since START_S."""

    frame_id: int
    at_s: float
    total_ms: float = 12.0
    infer_ms: float | None = 11.0
    preprocess_ms: float | None = 0.4
    postprocess_ms: float | None = 0.6
    dropped: int = 0
    backend: BackendInfo = INT8
    board: BoardSnapshot | None = None

    def report(self) -> Report:
        stages = StageTimes(self.preprocess_ms, self.infer_ms, self.postprocess_ms)
        result = Result(Detections.empty(), stages, self.total_ms, self.total_ms + 5)
        return Report(Frame(make_image(), self.frame_id, 0.0, "x"), result, self.dropped, self.backend, self.board)

    def record(self) -> str:
        return record_line(self.report(), START_S + self.at_s)

    def line(self) -> str:
        return frame_line(self.report())


def steady(count: int, first: int = 0, at_s: float = 0.0, total_ms: float = 12.0) -> list[Step]:
    """Frames at 30 a second."""
    return [Step(first + number, at_s + number / 30, total_ms) for number in range(count)]


def write(path: Path, steps: Iterable[Step]) -> Path:
    """frames.jsonl of a run."""
    path.write_text("".join(step.record() for step in steps))
    return path


def outcome_of(*names: str | Path, query: Query | None = None) -> Outcome:
    return read(expand([str(name) for name in names]), query or Query(NOW))


def figures_of(*names: str | Path, query: Query | None = None) -> Figures:
    return figures(outcome_of(*names, query=query), query or Query(NOW))


def plain(value: Any) -> Any:
    """Return the contents of an object, down to numbers, for comparing."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return plain(vars(value)) if hasattr(value, "__dict__") else value
