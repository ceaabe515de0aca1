"""A frame on its way through the pilot: pixels, id, time of capture. Frozen, validated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perception.core.detections import Boxes, ClassIds, check_arrays

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The vehicles that are really in a frame of the synthetic drive, nearest last.

    xyxy: (n, 4) float32, tight boxes of whole silhouettes, cut at the frame, in pixels (a pixel i spans i to i+1).
    class_id: (n,) int64, places in config.COCO_VEHICLES. occluded: (n,) bool, too little of it shows, or it is too
    small, to ask a detector for it. Raises ValueError where the shapes disagree.
    """

    xyxy: Boxes
    class_id: ClassIds
    occluded: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        check_arrays("Truth", self.xyxy, self.occluded, self.class_id, "occluded")

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture on its way through the pilot.

    image: (H, W, 3) uint8 BGR. frame_id counts captured frames from 0, so a gap is a drop. captured_at: monotonic
    seconds, when the picture reached this process. source: where it came from, without credentials. truth: what is
    really there, known to the demo only. fps: the nominal rate of the source, 0 where unknown. live: pictures come at
    their own pace, captured_at is their time.
    """

    image: Image
    frame_id: int
    captured_at: float
    source: str
    truth: Truth | None = None
    fps: float = 0.0
    live: bool = False

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"Frame.image must be (H, W, 3) uint8, got {self.image.shape} {self.image.dtype}")
