"""Everything that is counted of a log, in fixed memory."""

from __future__ import annotations

from collections import Counter

import numpy as np

from perception.core.histogram import LatencyHistogram
from perception.workshop.latency.columns import TIMES, Columns
from perception.workshop.latency.plot.timeline import Timeline
from perception.workshop.latency.sequence import FrameSequence
from perception.workshop.latency.worst import Worst

MOST_REASONS = 20


class BoardTally:
    """Counts of the board's snapshots. Power is summed in whole milliwatts, so that the order changes nothing."""

    def __init__(self) -> None:
        self.readings = 0
        self.hottest_c: float | None = None
        self.milliwatts = 0
        self.powers = 0
        self.most_w: float | None = None
        self.throttled = 0
        self.reasons: Counter[str] = Counter()

    def add(self, columns: Columns) -> None:
        """Take the snapshots that came with frames."""
        for reading in columns.readings:
            self.readings += 1
            self.hottest_c = _higher(self.hottest_c, reading.temperature_c)
            self.most_w = _higher(self.most_w, reading.power_w)
            if reading.power_w is not None:
                self.milliwatts += round(reading.power_w * 1000)
                self.powers += 1
            self.throttled += bool(reading.throttled)
            for reason in dict.fromkeys(reading.throttled):
                if reason in self.reasons or len(self.reasons) < MOST_REASONS:
                    self.reasons[reason] += 1


class LatencyTally:
    """Everything that is counted over frames in order, the same in whatever blocks they come."""

    def __init__(self, gap_ms: int = 1000) -> None:
        """gap_ms: a longer time between two frames is a gap."""
        self.frames = 0
        self.dropped = 0
        self.broken = 0
        self.other = 0
        self.times = {name: LatencyHistogram() for name in TIMES}
        self.sums_us = dict.fromkeys(TIMES, 0)
        self.sequence = FrameSequence(gap_ms)
        self.timeline = Timeline()
        self.worst = Worst()
        self.board = BoardTally()

    def add(self, columns: Columns) -> None:
        """Take the frames that come next."""
        if not len(columns):
            return
        self.frames += len(columns)
        self.dropped += int(columns.dropped.sum())
        for name, histogram in self.times.items():
            values = columns.times[name]
            values = values[~np.isnan(values)]
            histogram.add(values)
            self.sums_us[name] += int(np.rint(values * 1000).sum())
        self.sequence.add(columns)
        self.timeline.add(columns)
        self.worst.add(columns)
        self.board.add(columns)


def _higher(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)
