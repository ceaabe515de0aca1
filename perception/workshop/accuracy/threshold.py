"""The best confidence threshold: where F1, the harmonic mean of precision and recall, is highest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GRID = np.arange(1, 1000) / 1000
"""Confidences that a threshold is looked for on."""
SMOOTHING = 51
"""Points of GRID that are averaged before the best is looked for: F1 is flat there, and its peak a matter of chance."""
MOVED = 0.02
"""A threshold that moved by less is the same one."""


@dataclass(frozen=True, eq=False)
class F1Curve:
    """F1 over all vehicles at each confidence of GRID, 0 to 1; every vehicle counts alike, whatever its class."""

    f1: npt.NDArray[np.float64]

    @classmethod
    def of(cls, confidence: npt.NDArray[np.floating], is_hit: npt.NDArray[np.bool_], label_count: int) -> F1Curve:
        """Return the curve of detections, each with its confidence and whether it is a vehicle that was labelled."""
        hits, found = (_above(values) for values in (confidence[is_hit], confidence))
        return cls(2 * hits / np.maximum(found + label_count, 1))

    @property
    def best(self) -> float:
        """The confidence at which the smoothed curve is highest."""
        half = SMOOTHING // 2
        padded = np.pad(self.f1, half, mode="edge")
        smooth = np.convolve(padded, np.full(SMOOTHING, 1 / SMOOTHING), mode="valid")
        return float(GRID[int(smooth.argmax())])

    def at(self, conf: float) -> float:
        """F1 where detections above `conf` count."""
        return float(self.f1[int(np.abs(GRID - conf).argmin())])


def _above(confidence: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Return how many lie above each confidence of GRID."""
    rising = np.sort(confidence.astype(np.float64))
    counts: npt.NDArray[np.int64] = len(rising) - np.searchsorted(rising, GRID, side="right")
    return counts


def suggested(reference: F1Curve, candidate: F1Curve, conf: float) -> float | None:
    """Return the candidate's equivalent of `conf` for the reference; None where it has not moved.

    It moves by as much as the best one moved, if that is more than MOVED. None, too, where F1 gains nothing by it.
    """
    shift = candidate.best - reference.best
    better = round(min(max(conf + shift, 0.01), 0.99), 2)
    if abs(shift) <= MOVED or candidate.at(better) <= candidate.at(conf):
        return None
    return better
