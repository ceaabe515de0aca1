"""How large a tensor's values get, counted picture by picture, and the range that INT8 should cover of them.

INT8 here is symmetric: 127 steps up to the range and as many down; what lies beyond is cut. A wide range makes coarse
steps, a narrow one cuts vehicles off: each method weighs that in its own way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

BINS = 4096
STEPS = 127
PERCENTILE = 99.999
_TRIED_WIDTHS = 60
_KL_BINS = 2048
_KL_LEVELS = 128
_KL_STRIDE = 16

Counts = npt.NDArray[np.int64]


class MagnitudeHistogram:
    """Counts of magnitudes in BINS equal bins from 0 to a power of two, which doubles as larger values come.

    Because bins are merged in pairs then, the counts do not depend on the order of what is added.
    """

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(BINS, np.int64)
        self.largest = 0.0
        self._exponent: int | None = None

    @property
    def top(self) -> float:
        """Where the last bin ends."""
        return 2.0 ** (self._exponent or 0)

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Counts values of any shape. Raises ValueError for one that is no number."""
        magnitudes = np.abs(values).reshape(1, -1)
        largest = float(magnitudes.max(initial=0))
        if not math.isfinite(largest):
            raise ValueError("values that are no numbers")
        self._reach(largest)
        # cv2 counts in float32, exact up to 16 million: a picture's tensor is smaller.
        self.counts += cv2.calcHist([magnitudes], [0], None, [BINS], [0.0, self.top]).ravel().astype(np.int64)

    def _reach(self, largest: float) -> None:
        self.largest = max(self.largest, largest)
        needed = math.frexp(largest)[1]  # largest < 2 ** needed
        if self._exponent is None:
            if largest > 0:  # of zeros alone the first bin is right, however wide it is
                self._exponent = needed
            return
        while self._exponent < needed:
            merged = np.zeros(BINS, np.int64)
            merged[: BINS // 2] = self.counts[0::2] + self.counts[1::2]
            self.counts = merged
            self._exponent += 1

    @property
    def middles(self) -> npt.NDArray[np.float64]:
        """The magnitude in the middle of each bin."""
        middles: npt.NDArray[np.float64] = (np.arange(BINS, dtype=np.float64) + 0.5) * (self.top / BINS)
        return middles


def minmax(histogram: MagnitudeHistogram) -> float:
    """All of it: the largest magnitude."""
    return histogram.largest


def percentile(histogram: MagnitudeHistogram, share: float = PERCENTILE) -> float:
    """What `share` per cent of the values stay below: a few outliers do not decide for all."""
    below = np.cumsum(histogram.counts)
    place = int(np.searchsorted(below, share / 100 * below[-1]))
    return min(histogram.largest, (place + 1) * histogram.top / BINS)


def least_error(histogram: MagnitudeHistogram) -> float:
    """The range whose rounding and cutting change the values least, by the mean of squares."""
    values, counts = histogram.middles, histogram.counts

    def error(width: float) -> float:
        step = width / STEPS
        rounded = np.minimum(np.rint(values / step), STEPS) * step
        return float((counts * (rounded - values) ** 2).sum())

    widths: list[float] = (histogram.largest * np.geomspace(0.02, 1, _TRIED_WIDTHS)).tolist()
    return min(widths, key=error)


def entropy(histogram: MagnitudeHistogram) -> float:
    """The range that keeps the shape of the distribution, by the divergence of Kullback and Leibler.

    As TensorRT's entropy calibration does it (Migacz, "8-bit inference with TensorRT", GTC 2017).
    """
    bin_width = histogram.top / BINS
    edges = np.linspace(0, (int(histogram.largest / bin_width) + 1) * bin_width, _KL_BINS + 1)
    below = np.concatenate([[0.0], np.cumsum(histogram.counts)])
    counts = np.diff(np.interp(edges, np.linspace(0, histogram.top, BINS + 1), below))
    counts[0] = counts[1]  # the zeros of padding say nothing about a range
    widths = range(_KL_LEVELS, _KL_BINS + 1, _KL_STRIDE)
    best = min(widths, key=lambda width: _divergence(counts, width))
    return min(float(edges[best]), histogram.largest)


def _divergence(counts: npt.NDArray[np.float64], width: int) -> float:
    """Of the first `width` bins, with what lies beyond in the last of them, from the same in _KL_LEVELS levels."""
    kept = counts[:width]
    real = kept.copy()
    real[-1] += counts[width:].sum()
    level = np.arange(width) * _KL_LEVELS // width
    filled = kept > 0
    total = np.bincount(level, kept, _KL_LEVELS)
    share = total / np.maximum(np.bincount(level, filled, _KL_LEVELS), 1)
    coarse = np.where(filled, share[level], 0)
    if not coarse.sum():
        return math.inf
    real, coarse = real / real.sum(), coarse / coarse.sum()
    some = real > 0
    return float((real[some] * np.log(real[some] / np.maximum(coarse[some], 1e-9))).sum())


METHODS: Mapping[str, Callable[[MagnitudeHistogram], float]] = MappingProxyType(
    {"percentile": percentile, "mse": least_error, "minmax": minmax, "entropy": entropy}
)
"""From a histogram to the largest magnitude that INT8 holds; the usual one first."""


def range_of(method: str, histogram: MagnitudeHistogram) -> float:
    """The range by a method of METHODS, above 0 also for a tensor of zeros alone."""
    return METHODS[method](histogram) or 1.0 if histogram.largest else 1.0
