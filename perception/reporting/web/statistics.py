"""Counters, histograms and the last ten minutes, made of the figures of frames in batches."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from perception.core.heat import shown_zone
from perception.core.results import BoardSnapshot, StageTimes
from perception.reporting.vehicles import class_names
from perception.reporting.web.sink import Measured

BUCKETS_S = (
    *(0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02),
    *(0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2),
)
"""Upper bounds in seconds: 1 to 200 ms, closest together where a frame of a Jetson lies."""

HISTORY_S = 600
RECENT_S = 10.0
STAGES = ("preprocess", "infer", "postprocess")


class PrometheusHistogram:
    """Durations by bucket, as Prometheus wants them. The last bucket has no upper bound."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, value_ms: float) -> None:
        """Count one duration."""
        seconds = value_ms / 1000
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Return each upper bound in seconds as text, with the count of durations not above it."""
        bounds = [f"{bound:g}" for bound in BUCKETS_S] + ["+Inf"]
        return list(zip(bounds, np.cumsum(self.counts).astype(float).tolist()))


@dataclass(frozen=True, slots=True)
class Second:
    """One second of the run. number: its place on the monotonic clock. Times in ms, None where no frame came.

    stages_ms: means by the order of STAGES, None for one that the backend does not tell.
    """

    number: int
    frames: int
    dropped: int
    p50_ms: float | None
    max_ms: float | None
    age_ms: float | None
    stages_ms: tuple[float | None, ...]
    temperature_c: float | None
    power_w: float | None


@dataclass(frozen=True, slots=True)
class Recent:
    """The last ten seconds: how many frames, their percentiles in ms, the mean of each stage, frames a second."""

    frames: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    age_p95_ms: float | None
    stages_ms: tuple[float | None, ...]
    fps: float | None
    vehicles: int


class Statistics:
    """All that was counted of the frames. For one thread."""

    def __init__(self) -> None:
        self.frames = 0
        self.dropped = 0
        self.vehicles: Counter[str] = Counter()
        self.total = PrometheusHistogram()
        self.stages = {name: PrometheusHistogram() for name in STAGES}
        self.latest: Measured | None = None
        self.history: deque[Second] = deque(maxlen=HISTORY_S)
        self._recent: deque[Measured] = deque(maxlen=4096)
        self._open: list[Measured] = []
        self._number: int | None = None

    def add(self, batch: Iterable[Measured]) -> None:
        """Count a batch of frames."""
        for measured in batch:
            self.frames += 1
            self.dropped += measured.dropped
            self.total.add(measured.result.total_ms)
            for histogram, value in zip(self.stages.values(), _stages(measured.result.stages)):
                if value is not None:
                    histogram.add(value)
            self.vehicles.update(class_names(measured.result.detections, measured.class_names))
            self.latest = measured
            self._recent.append(measured)
            self._open.append(measured)

    def tick(self, now: float, board: BoardSnapshot | None) -> None:
        """Close every second that is over. now: monotonic seconds."""
        current = math.floor(now)
        first = max(self._number if self._number is not None else current, current - HISTORY_S)
        for number in range(first, current):
            mine = [measured for measured in self._open if measured.ended_at < number + 1]
            self._open = self._open[len(mine) :]
            self.history.append(_second(number, mine, board))
        self._number = current

    def recent(self, now: float) -> Recent:
        """Return figures of the last ten seconds. now: monotonic seconds."""
        kept = [measured for measured in self._recent if now - measured.ended_at <= RECENT_S]
        if not kept:
            return Recent(0, None, None, None, None, None, (None,) * len(STAGES), None, 0)
        totals = np.array([measured.result.total_ms for measured in kept])
        p50, p95, p99 = np.percentile(totals, (50, 95, 99)).tolist()
        ages = np.percentile([measured.result.age_ms for measured in kept], 95)
        span_s = kept[-1].ended_at - kept[0].ended_at
        fps = (len(kept) - 1) / span_s if span_s > 0 else None
        stages = _means([_stages(measured.result.stages) for measured in kept])
        vehicles = len(kept[-1].result.detections)
        return Recent(len(kept), p50, p95, p99, float(totals.max()), float(ages), stages, fps, vehicles)


def hottest_c(board: BoardSnapshot | None) -> float | None:
    """Return the temperature shown for the board: of the GPU, else of the chip's hottest part, else the highest."""
    if board is None or not board.temperatures_c:
        return None
    known = board.temperatures_c
    zone = shown_zone(known)
    return known[zone] if zone else max(known.values())


def _second(number: int, frames: Sequence[Measured], board: BoardSnapshot | None) -> Second:
    results = [measured.result for measured in frames]
    totals = [result.total_ms for result in results]
    return Second(
        number,
        len(frames),
        sum(measured.dropped for measured in frames),
        float(np.median(totals)) if totals else None,
        max(totals, default=None),
        max((result.age_ms for result in results), default=None),
        _means([_stages(result.stages) for result in results]),
        hottest_c(board),
        board.power_w if board else None,
    )


def _stages(stages: StageTimes) -> tuple[float | None, ...]:
    return stages.preprocess_ms, stages.infer_ms, stages.postprocess_ms


def _means(rows: Sequence[tuple[float | None, ...]]) -> tuple[float | None, ...]:
    columns = [[value for value in column if value is not None] for column in zip(*rows)]
    return tuple(sum(column) / len(column) if column else None for column in columns) or (None,) * len(STAGES)
