"""Latency over a window and over the whole run: percentiles, frames a second, drops. The clock is passed in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from perception.frame import BackendInfo, Frame, Report, Result, Summary


class Histogram:
    """Durations in buckets of equal ratio: percentiles of any number of values in fixed memory.

    Covers 1 us to 1,000 s; a percentile is off by at most 0.05 %.
    """

    _RATIO = math.log(1.001)
    _SHORTEST_MS, _LONGEST_MS = 1e-3, 1e6

    def __init__(self) -> None:
        self._counts = np.zeros(self._bucket(self._LONGEST_MS) + 1, np.int64)
        self.count = 0
        self.max_ms = 0.0

    def add(self, value_ms: float) -> None:
        """Counts one duration."""
        self._counts[self._bucket(value_ms)] += 1
        self.count += 1
        self.max_ms = max(self.max_ms, value_ms)

    def percentile(self, percent: float) -> float:
        """The duration that `percent` of all are not above, in milliseconds. ValueError where there is none."""
        if not self.count:
            raise ValueError("no duration was counted")
        rank = max(math.ceil(self.count * percent / 100), 1)
        bucket = int(np.searchsorted(np.cumsum(self._counts), rank))
        middle = self._SHORTEST_MS * math.exp((bucket + 0.5) * self._RATIO)
        return min(middle, self.max_ms)

    def _bucket(self, value_ms: float) -> int:
        value_ms = min(max(value_ms, self._SHORTEST_MS), self._LONGEST_MS)
        return int(math.log(value_ms / self._SHORTEST_MS) / self._RATIO)


@dataclass
class _Span:
    """A stretch of the run. `since`: when the frame before its first one was reported."""

    since: float | None = None
    until: float = 0.0
    frames: int = 0
    dropped: int = 0
    total: Histogram = field(default_factory=Histogram)
    age: Histogram = field(default_factory=Histogram)

    def add(self, now: float, result: Result, dropped: int, measured: bool) -> None:
        if self.since is None:
            self.since = now  # the first frame of all opens the stretch: its own interval is not known
        else:
            self.frames += 1
        self.until = now
        self.dropped += dropped
        if measured:
            self.total.add(result.total_ms)
            self.age.add(result.age_ms)

    def summary(self, processed: int) -> Summary:
        total, some = self.total, bool(self.total.count)
        elapsed = self.until - (self.since or self.until)
        return Summary(
            frames=total.count,
            p50_ms=total.percentile(50) if some else None,
            p95_ms=total.percentile(95) if some else None,
            p99_ms=total.percentile(99) if some else None,
            max_ms=total.max_ms if some else None,
            age_p95_ms=self.age.percentile(95) if some else None,
            fps=self.frames / elapsed if elapsed > 0 else None,
            dropped=self.dropped,
            dropped_share=self.dropped / max(processed + self.dropped, 1),
        )


class Meter:
    """Turns results into reports and keeps count. clock: monotonic seconds.

    warmup_frames: how many frames at the start the percentiles leave out. window_s: how often `window` has something.
    """

    def __init__(
        self, backend: BackendInfo, clock: Callable[[], float], warmup_frames: int = 5, window_s: float = 10.0
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._warmup_frames = warmup_frames
        self._window_s = window_s
        self._processed = 0
        self._processed_before_window = 0
        self._last_id: int | None = None
        self._run = _Span()
        self._window = _Span()
        self._window_ends = clock() + window_s

    def measure(self, frame: Frame, result: Result) -> Report:
        """Counts one frame; the gap in frame ids since the one before is what was dropped."""
        dropped = 0 if self._last_id is None else frame.frame_id - self._last_id - 1
        self._last_id = frame.frame_id
        now = self._clock()
        self._processed += 1
        measured = self._processed > self._warmup_frames
        self._run.add(now, result, dropped, measured)
        self._window.add(now, result, dropped, measured)
        return Report(frame, result, dropped, self._backend)

    def window(self) -> Summary | None:
        """The summary of the window that has just ended, or None while it still runs."""
        now = self._clock()
        if now < self._window_ends:
            return None
        summary = self._window.summary(self._processed - self._processed_before_window)
        self._processed_before_window = self._processed
        self._window = _Span(since=self._window.until if self._processed else None)
        self._window_ends = now + self._window_s
        return summary

    def run(self) -> Summary | None:
        """The summary of the whole run so far, None before its first frame."""
        return self._run.summary(self._processed) if self._processed else None
