"""Average precision of detections against labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from perception.core.detections import Detections
from perception.workshop.accuracy.labels import Labels
from perception.workshop.accuracy.matching import match

IOUS = np.linspace(0.5, 0.95, 10)
"""The ten overlaps that mAP50-95 is the mean over."""


@dataclass(frozen=True)
class Precisions:
    """Average precision, 0 to 1: `map50` and `map50_95` over classes, `by_class` {class id: (AP50, AP50-95)}."""

    map50: float
    map50_95: float
    by_class: dict[int, tuple[float, float]]


def average_precision(found: Sequence[Detections], real: Sequence[Labels], any_vehicle: bool = False) -> Precisions:
    """Return the average precision over pictures, by ultralytics' own arithmetic; without classes that have no label.

    any_vehicle: every class counts as one, so that only the box matters. ImportError without ultralytics.
    """
    from ultralytics.utils.metrics import ap_per_class

    if any_vehicle:
        found = [replace(one, class_id=np.zeros_like(one.class_id)) for one in found]
        real = [replace(one, class_id=np.zeros_like(one.class_id)) for one in real]
    hits = [np.stack([_hits(a, b, iou) for iou in IOUS], 1) for a, b in zip(found, real)]
    confidence = np.concatenate([one.confidence for one in found])
    found_class = np.concatenate([one.class_id for one in found])
    real_class = np.concatenate([one.class_id for one in real])
    if not len(real_class):
        return Precisions(float("nan"), float("nan"), {})
    *_, precisions, classes = ap_per_class(np.concatenate(hits), confidence, found_class, real_class)[:7]
    by_class = {int(c): (float(row[0]), float(row.mean())) for c, row in zip(classes, precisions)}
    return Precisions(float(precisions[:, 0].mean()), float(precisions.mean()), by_class)


def _hits(found: Detections, real: Labels, iou: float) -> npt.NDArray[np.bool_]:
    return match(found.xyxy, found.class_id, real.xyxy, real.class_id, iou) >= 0
