"""What a network says becomes vehicles in image pixels: decoding of both kinds of head, and NMS.

Agrees with ultralytics' non_max_suppression (8.4): the best class of all decides what a box is, thresholds are
strict, NMS is by class, and at most 300 boxes are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from perception.frame import Boxes, Candidates, Detections, Scores

MAX_DETECTIONS = 300
"""ultralytics' max_det."""

FARTHEST_PX = 1e6
"""A box that reaches beyond this was not found in any picture; the areas of nearer ones do not overflow."""

Floats = npt.NDArray[np.floating]


def is_end_to_end(shape: tuple[int, ...], class_count: int) -> bool:
    """Tells an end-to-end head (batch, k, 6) from a raw one (batch, 4 + class_count, n).

    Raises ValueError, naming both layouts, for any other shape.
    """
    if len(shape) == 3 and shape[1] == 4 + class_count:
        return False
    if len(shape) == 3 and shape[2] == 6:
        return True
    raise ValueError(
        f"the output has shape {shape}; a detector of {class_count} classes gives "
        f"(batch, {4 + class_count}, n) or, end to end, (batch, k, 6)"
    )


def decode(output: Floats, conf: float, class_ids: Sequence[int], class_count: int) -> Candidates:
    """Candidates in input pixels from one image's output, (4 + class_count, n) raw or (k, 6) end to end.

    conf: confidence above which a box counts, 0 to 1. class_ids: the vehicle classes among class_count.
    """
    if is_end_to_end((1, *output.shape), class_count):
        return _decode_end_to_end(output, conf, class_ids)
    return _decode_raw(output, conf, class_ids)


def _decode_raw(output: Floats, conf: float, class_ids: Sequence[int]) -> Candidates:
    ids = np.asarray(class_ids, np.int64)
    vehicle_scores = output[4 + ids]
    # Few boxes pass, so the other classes are looked at for those alone: a tenth of the work of a full argmax.
    passed = np.flatnonzero((vehicle_scores > conf).any(axis=0))
    columns = output[:, passed].astype(np.float32, copy=False)
    best = columns[4:].argmax(axis=0)
    keep = np.isin(best, ids)
    columns, best = columns[:, keep], best[keep]
    centre, half = columns[:2].T, columns[2:4].T / 2
    with np.errstate(invalid="ignore", over="ignore"):  # broken numbers make broken boxes, which are left out below
        xyxy = np.concatenate([centre - half, centre + half], axis=1)
    confidence = columns[4 + best, np.arange(len(best))]
    return _sound(xyxy, confidence, best)


def _decode_end_to_end(output: Floats, conf: float, class_ids: Sequence[int]) -> Candidates:
    rows = output[(output[:, 4] > conf) & np.isin(output[:, 5], class_ids)][:MAX_DETECTIONS]
    rows = rows.astype(np.float32, copy=False)
    return _sound(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), final=True)


def _sound(xyxy: Boxes, confidence: Scores, class_id: npt.NDArray[np.int64], final: bool = False) -> Candidates:
    """Leaves out what holds a NaN, an infinity or a box beyond all bounds: no broken number may become a vehicle."""
    sound = (np.abs(xyxy) < FARTHEST_PX).all(axis=1) & np.isfinite(confidence)
    return Candidates(xyxy[sound], confidence[sound], class_id[sound].astype(np.int64, copy=False), final)


def nms(candidates: Candidates, iou: float, image_hw: tuple[int, int]) -> Detections:
    """Vehicles, best first: of two boxes of one class with an IoU above `iou`, the more confident stays.

    Candidates marked `final` keep all their boxes. Boxes are clipped to image_hw (height, width in pixels).
    """
    order = np.argsort(-candidates.confidence, kind="stable")
    xyxy, class_id = candidates.xyxy[order], candidates.class_id[order]
    if not candidates.final and len(order) > 1:
        keep = _survivors(xyxy, class_id, iou)
        order, xyxy, class_id = order[keep], xyxy[keep], class_id[keep]
    order, xyxy, class_id = order[:MAX_DETECTIONS], xyxy[:MAX_DETECTIONS], class_id[:MAX_DETECTIONS]
    height, width = image_hw
    limit = np.array([width, height, width, height], np.float32)
    return Detections(np.clip(xyxy, 0, limit), candidates.confidence[order], class_id)


def _survivors(xyxy: Boxes, class_id: npt.NDArray[np.int64], iou: float) -> npt.NDArray[np.int64]:
    """Indices that greedy NMS keeps, for boxes sorted by falling confidence."""
    areas = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    kept = []
    left = np.arange(len(xyxy))
    while left.size:
        first, rest = left[0], left[1:]
        kept.append(first)
        corner = np.maximum(xyxy[first, :2], xyxy[rest, :2])
        size = np.clip(np.minimum(xyxy[first, 2:], xyxy[rest, 2:]) - corner, 0, None)
        inter = size[:, 0] * size[:, 1]
        union = areas[first] + areas[rest] - inter
        left = rest[(class_id[rest] != class_id[first]) | (inter <= iou * union)]
    return np.array(kept, np.int64)
