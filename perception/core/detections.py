"""Boxes of vehicles: candidates before suppression, detections after it. Frozen, validated, numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
ClassIds = npt.NDArray[np.int64]


def check_arrays(
    noun: str,
    xyxy: npt.NDArray[Any],
    confidence: npt.NDArray[Any],
    class_id: npt.NDArray[Any],
    second: str = "confidence",
) -> None:
    count = len(xyxy)
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise ValueError(f"{noun}.xyxy must have shape (n, 4), got {xyxy.shape}")
    if confidence.shape != (count,):
        raise ValueError(f"{noun}.{second} must have shape ({count},), got {confidence.shape}")
    if class_id.shape != (count,):
        raise ValueError(f"{noun}.class_id must have shape ({count},), got {class_id.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Vehicles found in one frame.

    xyxy: (n, 4) float32, pixels of the frame, left top right bottom. confidence: (n,) float32, 0 to 1.
    class_id: (n,) int64, an id of the model that found them. Raises ValueError where the shapes disagree.
    """

    xyxy: Boxes
    confidence: Scores
    class_id: ClassIds

    def __post_init__(self) -> None:
        check_arrays("Detections", self.xyxy, self.confidence, self.class_id)

    def __len__(self) -> int:
        return len(self.xyxy)

    @classmethod
    def empty(cls) -> Detections:
        """No vehicle at all."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Boxes of vehicle classes that passed the threshold, before NMS unless `final`.

    Same shapes and units as Detections, not yet clipped to the frame. `final` says that NMS has nothing to do: the
    model (an end-to-end head) or the backend suppressed the overlaps, and what is left lies best first, 300 boxes at
    most. Raises ValueError where the shapes disagree.
    """

    xyxy: Boxes
    confidence: Scores
    class_id: ClassIds
    final: bool = False

    def __post_init__(self) -> None:
        check_arrays("Candidates", self.xyxy, self.confidence, self.class_id)

    def __len__(self) -> int:
        return len(self.xyxy)
