"""Matching of detections with vehicles, and selection by confidence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perception.core.boxes import overlaps
from perception.core.detections import Boxes, Detections


def match(
    found: Boxes,
    found_class: npt.NDArray[np.int64],
    real: Boxes,
    real_class: npt.NDArray[np.int64],
    iou: float,
) -> npt.NDArray[np.int64]:
    """Return for each detection (n, 4), best first, the place of its vehicle (m, 4), or -1; each vehicle once.

    Its vehicle is the one of its class that it overlaps most, by at least `iou`.
    """
    overlap = np.where(found_class[:, None] == real_class[None, :], overlaps(found, real), 0.0)
    place = np.full(len(found), -1, np.int64)
    free = np.ones(len(real), bool)
    for number, row in enumerate(overlap):
        open_ones = np.flatnonzero(free & (row >= iou))
        if len(open_ones):
            best = open_ones[np.argmax(row[open_ones])]
            place[number], free[best] = best, False
    return place


def above(found: Detections, least: float) -> Detections:
    """Return the detections whose confidence is above `least`."""
    return chosen(found, found.confidence > least)


def chosen(found: Detections, which: npt.NDArray[np.bool_]) -> Detections:
    """Return the detections that `which` (n,) is true of."""
    return Detections(found.xyxy[which], found.confidence[which], found.class_id[which])
