"""Latency over a window and over the whole run: percentiles, frames a second, drops. The clock is passed in."""

from __future__ import annotations

from collections.abc import Callable

from perception.core.frame import Frame
from perception.core.histogram import LatencyHistogram
from perception.core.results import BackendInfo, Report, Result, Summary
from perception.settings.model import Settings

# Times are put into the histograms this many at once: one by one would cost more than the rest of a frame's report.
BATCH = 1024


class _Span:
    """A stretch of the run. `since`: the time of the report before its first frame, None at the start of the run."""

    def __init__(self, since: float | None = None) -> None:
        self.since = since
        self.until = 0.0
        self.processed = 0
        self.intervals = 0
        self.dropped = 0
        self.total = LatencyHistogram()
        self.age = LatencyHistogram()

    def add(self, now: float, dropped: int) -> None:
        self.processed += 1
        self.dropped += dropped
        if self.since is None:
            self.since = now  # the interval before the first frame of all is not known
        else:
            self.intervals += 1
        self.until = now

    def summary(self) -> Summary:
        total, some = self.total, bool(self.total.count)
        elapsed = self.until - (self.since or 0.0)
        return Summary(
            frames=total.count,
            p50_ms=total.percentile(50) if some else None,
            p95_ms=total.percentile(95) if some else None,
            p99_ms=total.percentile(99) if some else None,
            max_ms=total.max_ms if some else None,
            age_p95_ms=self.age.percentile(95) if some else None,
            fps=self.intervals / elapsed if self.intervals and elapsed > 0 else None,
            dropped=self.dropped,
            dropped_share=self.dropped / max(self.processed + self.dropped, 1),
        )


class Meter:
    """Turns results into reports, and counts them. clock: monotonic seconds.

    warmup_frames: how many frames at the start the percentiles leave out. window_s: how often `window` has something.
    """

    def __init__(
        self, backend: BackendInfo, clock: Callable[[], float], warmup_frames: int = 5, window_s: float = 10.0
    ) -> None:
        self.latest: Summary | None = None  # of the last window that ended
        self.backend = backend
        self._clock = clock
        self._warmup_left = warmup_frames
        self._window_s = window_s
        self._last_id = -1  # ids count from 0: frames captured before the first one that came are dropped ones
        self._totals_ms: list[float] = []
        self._ages_ms: list[float] = []
        self._run = _Span()
        self._window = _Span()
        self._window_ends = clock() + window_s

    def measure(self, frame: Frame, result: Result) -> Report:
        """Count one frame; the gap in frame ids since the one before is the number dropped."""
        dropped = frame.frame_id - self._last_id - 1
        self._last_id = frame.frame_id
        now = self._clock()
        self._run.add(now, dropped)
        self._window.add(now, dropped)
        if self._warmup_left:
            self._warmup_left -= 1
        else:
            self._totals_ms.append(result.total_ms)
            self._ages_ms.append(result.age_ms)
            if len(self._totals_ms) == BATCH:
                self._settle()
        return Report(frame, result, dropped, self.backend)

    def window(self) -> Summary | None:
        """Return the summary of the window that has just ended, or None while it still runs."""
        now = self._clock()
        if now < self._window_ends:
            return None
        self._settle()
        summary = self._window.summary()
        self._window = _Span(since=self._window.until if self._window.processed else self._window.since)
        self._window_ends = now + self._window_s
        self.latest = summary
        return summary

    def apply(self, settings: Settings) -> None:
        """Take over log.summary_s, also for the window that runs."""
        self._window_ends += settings.log.summary_s - self._window_s
        self._window_s = settings.log.summary_s

    def run(self) -> Summary | None:
        """Return the summary of the whole run so far, None before its first frame."""
        self._settle()
        return self._run.summary() if self._run.processed else None

    def _settle(self) -> None:
        for span in (self._run, self._window):
            span.total.add(self._totals_ms)
            span.age.add(self._ages_ms)
        self._totals_ms.clear()
        self._ages_ms.clear()
