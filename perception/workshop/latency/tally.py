"""All that is counted of a log, in fixed memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from perception.core.histogram import LatencyHistogram
from perception.workshop.latency.columns import TIMES, Columns
from perception.workshop.latency.plot.timeline import Timeline
from perception.workshop.latency.sequence import Sequence
from perception.workshop.latency.worst import Worst

MOST_REASONS = 20


class BoardTally:
    """Over the board's snapshots. Power is summed in whole milliwatts: then the order of frames changes nothing."""

    def __init__(self) -> None:
        self.readings = 0
        self.hottest_c: float | None = None
        self.milliwatts = 0
        self.powers = 0
        self.most_w: float | None = None
        self.throttled = 0
        self.reasons: Counter[str] = Counter()

    def add(self, columns: Columns) -> None:
        """Takes the snapshots that came with frames."""
        for reading in columns.readings:
            self.readings += 1
            self.hottest_c = _higher(self.hottest_c, reading.temperature_c)
            self.most_w = _higher(self.most_w, reading.power_w)
            if reading.power_w is not None:
                self.milliwatts += round(reading.power_w * 1000)
                self.powers += 1
            self.throttled += bool(reading.throttled)
            self._count(dict.fromkeys(reading.throttled, 1))

    def merge(self, other: BoardTally) -> None:
        """Takes what `other` has counted."""
        self.readings += other.readings
        self.hottest_c = _higher(self.hottest_c, other.hottest_c)
        self.milliwatts += other.milliwatts
        self.powers += other.powers
        self.most_w = _higher(self.most_w, other.most_w)
        self.throttled += other.throttled
        self._count(other.reasons)

    def _count(self, reasons: Mapping[str, int]) -> None:
        for reason, count in reasons.items():
            if reason in self.reasons or len(self.reasons) < MOST_REASONS:
                self.reasons[reason] += count


class Tally:
    """Counts frames in order. Two over neighbouring stretches merge into exactly what one would have counted."""

    def __init__(self, gap_ms: int = 1000) -> None:
        """gap_ms: a longer time between two frames is a gap."""
        self.frames = 0
        self.dropped = 0
        self.broken = 0
        self.other = 0
        self.times = {name: LatencyHistogram() for name in TIMES}
        self.sums_us = dict.fromkeys(TIMES, 0)
        self.sequence = Sequence(gap_ms)
        self.timeline = Timeline()
        self.worst = Worst()
        self.board = BoardTally()

    def add(self, columns: Columns) -> None:
        """Takes the frames that come next."""
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

    def merge(self, other: Tally) -> None:
        """Takes what `other` has counted over the frames that come next."""
        self.frames += other.frames
        self.dropped += other.dropped
        self.broken += other.broken
        self.other += other.other
        for name, histogram in self.times.items():
            histogram.merge(other.times[name])
            self.sums_us[name] += other.sums_us[name]
        self.sequence.merge(other.sequence)
        self.timeline.merge(other.timeline)
        self.worst.merge(other.worst)
        self.board.merge(other.board)


def _higher(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else max(one, other)
