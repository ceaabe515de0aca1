"""Suppression of overlaps on the CPU: of boxes of one class that overlap, the most confident stays.

Agrees with ultralytics' non_max_suppression (8.4): NMS is by class, the 30,000 best candidates count, and at most 300
boxes are kept. Its time is bounded: it ends with the 300th box, and no candidate is compared with more than those.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from perception.core.detections import Boxes, Candidates, Detections
from perception.core.layouts import MAX_DETECTIONS

MAX_CANDIDATES = 30_000
"""ultralytics' max_nms."""
BLOCK = 128
"""Candidates that are compared with one another at once."""
PAIRS = 1 << 15
"""Candidates times those that stay, compared at once: what is computed of them fits into a processor's cache."""

_ORIGIN = np.zeros((), np.float32)  # numpy takes an array sooner than a number
_Doubles = npt.NDArray[np.float64]


def nms(candidates: Candidates, iou: float, image_hw: tuple[int, ...]) -> Detections:
    """Return the vehicles, best first: of two boxes of one class with an IoU above `iou`, the more confident stays.

    Candidates marked `final` are taken as they lie. Boxes are clipped to image_hw (height, width in pixels).
    """
    if candidates.final:
        return Detections(_clipped(candidates.xyxy, image_hw), candidates.confidence, candidates.class_id)
    if not len(candidates):
        return Detections.empty()
    order = np.argsort(-candidates.confidence, kind="stable")[:MAX_CANDIDATES]
    kept = order[_survivors(candidates.xyxy[order], candidates.class_id[order], iou)]
    xyxy = _clipped(candidates.xyxy.take(kept, 0), image_hw)  # for a few boxes several times faster than [kept]
    return Detections(xyxy, candidates.confidence.take(kept), candidates.class_id.take(kept))


def _survivors(xyxy: Boxes, class_id: npt.NDArray[np.int64], iou: float) -> npt.NDArray[np.int64]:
    """Indices that greedy NMS keeps, for boxes sorted by falling confidence; in double precision, as the kernels."""
    sides = xyxy.astype(np.float64).T
    kept: list[int] = []
    start = 0
    while start < len(xyxy) and len(kept) < MAX_DETECTIONS:
        size = max(BLOCK, PAIRS // len(kept)) if kept else BLOCK
        window = np.arange(start, min(start + size, len(xyxy)))
        start += size
        if kept:
            window = window[~_rivals(sides, class_id, window, np.array(kept), iou).any(axis=1)]
        known = len(kept)
        for first in range(0, len(window), BLOCK):
            block = window[first : first + BLOCK]
            if len(kept) > known:
                block = block[~_rivals(sides, class_id, block, np.array(kept[known:]), iou).any(axis=1)]
            _keep_best(kept, block, _rivals(sides, class_id, block, block, iou))
    return np.array(kept, np.int64)


def _keep_best(kept: list[int], block: npt.NDArray[np.int64], rivals: npt.NDArray[np.bool_]) -> None:
    """Adds those of a block, best first, that none of those before them drops, up to MAX_DETECTIONS."""
    waiting = np.ones(len(block), bool)
    while len(kept) < MAX_DETECTIONS and waiting.any():
        best = int(waiting.argmax())
        kept.append(int(block[best]))
        waiting &= ~rivals[:, best]
        waiting[best] = False


def _rivals(
    sides: _Doubles, class_id: npt.NDArray[np.int64], ones: npt.NDArray[np.int64], others: npt.NDArray[np.int64],
    iou: float,
) -> npt.NDArray[np.bool_]:  # fmt: skip
    """Return True for two boxes of one class that overlap by more than `iou`: (ones, others).

    sides: (4, n), left, top, right, bottom of all boxes. ones, others: which of them. Computes what suppression.cuh
    does, step by step, so that both keep the same boxes, of those turned inside out as well.
    """
    left, top, right, bottom = sides[:, ones, None]
    other_left, other_top, other_right, other_bottom = sides[:, None, others]
    overlap: npt.NDArray[np.bool_] = class_id[ones, None] == class_id[None, others]
    overlap &= (right > other_left) & (other_right > left) & (bottom > other_top) & (other_bottom > top)
    common = np.minimum(right, other_right) - np.maximum(left, other_left)
    common *= np.minimum(bottom, other_bottom) - np.maximum(top, other_top)
    area, other_area = (right - left) * (bottom - top), (other_right - other_left) * (other_bottom - other_top)
    overlap &= common > iou * (other_area + area - common)
    return overlap


def _clipped(xyxy: Boxes, image_hw: tuple[int, ...]) -> Boxes:
    height, width = image_hw
    clipped: Boxes = np.minimum(xyxy, _corner(height, width))
    return np.maximum(clipped, _ORIGIN, out=clipped)


@functools.lru_cache(maxsize=16)
def _corner(height: int, width: int) -> Boxes:
    """Return the largest coordinates of a box in an image of this size: (4,)."""
    limit = np.array((width, height, width, height), np.float32)
    limit.flags.writeable = False
    return limit
