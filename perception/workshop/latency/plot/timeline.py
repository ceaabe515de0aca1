"""Latency over time in a fixed number of bins, which widen as the log grows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perception.workshop.latency.columns import NO_TIME, STAGES, Columns, Floats, Integers

BINS = 1024
FIRST_SHIFT = 7
"""The narrowest bin lasts 2**7 ms."""

FEWEST = 24

# Coarser than those of LatencyHistogram, since each bin has its own: a percentile is off by at most 2.5 %.
_RATIO = math.log(1.05)
_SHORTEST_MS = 0.01
_BUCKETS = math.ceil(math.log(1e6 / _SHORTEST_MS) / _RATIO) + 1
_SUMS = ("frames", "dropped", "throttled", "readings", "milliwatts", "powers")
_STAGE_SUMS = tuple(f"{name}{what}" for name in (*STAGES, "total") for what in ("_us", "_frames"))


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """The bins from the first frame to the last. All (n,); a figure of a bin that has none is NaN."""

    start_ms: Integers
    width_ms: int
    frames: Integers
    dropped: Integers
    throttled: Integers
    p50_ms: Floats
    p95_ms: Floats
    p99_ms: Floats
    max_ms: Floats
    stage_ms: dict[str, Floats]
    temperature_c: Floats
    power_w: Floats


class Timeline:
    """Sums, maxima and coarse histograms by bin of time.

    Bins last 2**shift ms and begin at whole multiples of that, so where they lie depends on the earliest and the
    latest frame alone, not on the order of frames.
    """

    def __init__(self, shift: int = FIRST_SHIFT) -> None:
        """shift: of the narrowest bin."""
        self._shift = shift
        self._earliest_ms = 0
        self._latest_ms = 0
        self._empty = True
        self._sums = {name: np.zeros(BINS, np.int64) for name in (*_SUMS, *_STAGE_SUMS)}
        self._peaks = {name: np.full(BINS, -np.inf) for name in ("total", "temperature")}
        self._buckets = np.zeros((BINS, _BUCKETS), np.int32)

    def add(self, columns: Columns) -> None:
        """Take frames. Those without a moment are left out."""
        timed = columns.at_ms != NO_TIME
        if not timed.any():
            return
        at_ms = columns.at_ms[timed]
        self._reach(int(at_ms.min()), int(at_ms.max()))
        row = self._row(at_ms)
        self._sum("frames", row, np.ones(len(row), np.int64))
        self._sum("dropped", row, columns.dropped[timed])
        for name in (*STAGES, "total"):
            values = columns.times[name][timed]
            known = ~np.isnan(values)
            self._sum(f"{name}_us", row[known], np.rint(values[known] * 1000).astype(np.int64))
            self._sum(f"{name}_frames", row[known], np.ones(int(known.sum()), np.int64))
        total = columns.times["total"][timed]
        np.maximum.at(self._peaks["total"], row, total)
        self._count(row, total)
        self._add_board(columns)

    def _add_board(self, columns: Columns) -> None:
        for at_ms, reading in zip(columns.at_ms[columns.board_rows].tolist(), columns.readings):
            if at_ms == NO_TIME:
                continue
            row = (at_ms >> self._shift) - (self._earliest_ms >> self._shift)
            sums = self._sums
            sums["readings"][row] += 1
            sums["throttled"][row] += bool(reading.throttled)
            if reading.power_w is not None:
                sums["milliwatts"][row] += round(reading.power_w * 1000)
                sums["powers"][row] += 1
            if reading.temperature_c is not None:
                peaks = self._peaks["temperature"]
                peaks[row] = max(peaks[row], reading.temperature_c)

    def _row(self, at_ms: Integers) -> Integers:
        return np.asarray((at_ms >> self._shift) - (self._earliest_ms >> self._shift), np.int64)

    def _sum(self, name: str, row: Integers, values: Integers) -> None:
        np.add.at(self._sums[name], row, values)

    def _count(self, row: Integers, total_ms: Floats) -> None:
        bucket = (np.log(np.clip(total_ms, _SHORTEST_MS, 1e6) / _SHORTEST_MS) / _RATIO).astype(np.int64)
        first = int(row.min())
        size = (int(row.max()) - first + 1) * _BUCKETS
        counts = np.bincount((row - first) * _BUCKETS + bucket, minlength=size)
        self._buckets[first : first + size // _BUCKETS] += counts.reshape(-1, _BUCKETS).astype(np.int32)

    def _reach(self, earliest_ms: int, latest_ms: int) -> None:
        """Make the bins span these moments, too."""
        before = self._shift, self._earliest_ms >> self._shift
        if not self._empty:
            earliest_ms, latest_ms = min(self._earliest_ms, earliest_ms), max(self._latest_ms, latest_ms)
        shift = self._shift
        while (latest_ms >> shift) - (earliest_ms >> shift) >= BINS:
            shift += 1
        if not self._empty and (shift, earliest_ms >> shift) != before:
            wider = self._rebinned(shift, earliest_ms)
            self._sums, self._peaks, self._buckets = wider._sums, wider._peaks, wider._buckets
        self._shift, self._empty = shift, False
        self._earliest_ms, self._latest_ms = earliest_ms, latest_ms

    def _rebinned(self, shift: int, earliest_ms: int) -> Timeline:
        """Return the same in bins of this shift, the first of which holds `earliest_ms`."""
        other = Timeline(shift)
        other._earliest_ms, other._latest_ms, other._empty = earliest_ms, self._latest_ms, False
        rows = np.flatnonzero(self._sums["frames"])
        into = other._row((rows + (self._earliest_ms >> self._shift)) << self._shift)
        for name, values in other._sums.items():
            np.add.at(values, into, self._sums[name][rows])
        for name, tops in other._peaks.items():
            np.maximum.at(tops, into, self._peaks[name][rows])
        np.add.at(other._buckets, into, self._buckets[rows])
        return other

    def bins(self, most: int = BINS, frames_each: int = 1) -> Bins | None:
        """Return the bins; None where no frame had a moment.

        most: how many there may be. frames_each: how many frames a bin must have on average, where this leaves enough
        bins to see anything.
        """
        if self._empty:
            return None
        frames, shift = int(self._sums["frames"].sum()), self._shift
        while (count := self._count_at(shift)) > most or (count > FEWEST and frames < frames_each * count):
            shift += 1
        return self._rebinned(shift, self._earliest_ms)._bins()

    def _count_at(self, shift: int) -> int:
        return (self._latest_ms >> shift) - (self._earliest_ms >> shift) + 1

    def _bins(self) -> Bins:
        first = self._earliest_ms >> self._shift
        used = slice(0, (self._latest_ms >> self._shift) - first + 1)
        sums = {name: values[used] for name, values in self._sums.items()}
        peaks = {name: np.where(np.isinf(tops[used]), np.nan, tops[used]) for name, tops in self._peaks.items()}
        p50, p95, p99 = (np.minimum(self._percentile(percent)[used], peaks["total"]) for percent in (50, 95, 99))
        return Bins(
            (np.arange(used.stop) + first) << self._shift,
            1 << self._shift,
            sums["frames"],
            sums["dropped"],
            sums["throttled"],
            p50,
            p95,
            p99,
            peaks["total"],
            {name: _ratio(sums[f"{name}_us"], 1000 * sums[f"{name}_frames"]) for name in (*STAGES, "total")},
            peaks["temperature"],
            _ratio(sums["milliwatts"], 1000 * sums["powers"]),
        )

    def _percentile(self, percent: int) -> Floats:
        """Return a percentile of each bin, (BINS,) ms."""
        reached = np.cumsum(self._buckets, axis=1)
        rank = np.maximum(np.ceil(reached[:, -1] * percent / 100), 1)
        bucket = (reached < rank[:, None]).sum(axis=1)
        return np.asarray(_SHORTEST_MS * np.exp((bucket + 0.5) * _RATIO), np.float64)


def _ratio(above: Integers, below: Integers) -> Floats:
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)
