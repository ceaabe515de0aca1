"""What a network says becomes vehicles in image pixels: decoding of both kinds of head, and NMS.

Agrees with ultralytics' non_max_suppression (8.4): the best class of all decides what a box is, thresholds are
strict, NMS is by class, and at most 300 boxes are kept.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from perception.frame import Boxes, Candidates, Detections, Scores
from perception.heads import FARTHEST_PX, FEW, MAX_DETECTIONS, is_end_to_end

Floats = npt.NDArray[np.floating]

_ORIGIN = np.zeros((), np.float32)  # numpy takes an array sooner than a number


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
    passed = np.flatnonzero(_above(vehicle_scores, conf).any(axis=0))
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
    rows = output[_above(output[:, 4], conf) & np.isin(output[:, 5], class_ids)].astype(np.float32, copy=False)
    found = _sound(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))
    best = np.argsort(-found.confidence, kind="stable")[:MAX_DETECTIONS]
    return Candidates(found.xyxy[best], found.confidence[best], found.class_id[best], final=True)


def _above(scores: Floats, conf: float) -> npt.NDArray[np.bool_]:
    """Compares as float32: numpy would round the threshold to the half precision of the scores."""
    above: npt.NDArray[np.bool_] = scores.astype(np.float32, copy=False) > np.float32(conf)
    return above


def _sound(xyxy: Boxes, confidence: Scores, class_id: npt.NDArray[np.int64]) -> Candidates:
    """Leaves out what holds a NaN, an infinity or a box beyond all bounds: no broken number may become a vehicle."""
    sound = (np.abs(xyxy) < FARTHEST_PX).all(axis=1) & np.isfinite(confidence)
    return Candidates(xyxy[sound], confidence[sound], class_id[sound].astype(np.int64, copy=False))


def nms(candidates: Candidates, iou: float, image_hw: tuple[int, ...]) -> Detections:
    """Vehicles, best first: of two boxes of one class with an IoU above `iou`, the more confident stays.

    Candidates marked `final` are taken as they lie. Boxes are clipped to image_hw (height, width in pixels).
    """
    if candidates.final:
        return Detections(_clipped(candidates.xyxy, image_hw), candidates.confidence, candidates.class_id)
    count = len(candidates)
    if not count:
        return Detections.empty()
    if count <= FEW:
        kept = np.array(_best_of_few(candidates, iou))
    else:
        order = np.argsort(-candidates.confidence, kind="stable")
        kept = order[_survivors(candidates.xyxy[order], candidates.class_id[order], iou)]
    kept = kept[:MAX_DETECTIONS]
    xyxy = _clipped(candidates.xyxy.take(kept, 0), image_hw)  # for a few boxes several times faster than [kept]
    return Detections(xyxy, candidates.confidence.take(kept), candidates.class_id.take(kept))


def _clipped(xyxy: Boxes, image_hw: tuple[int, ...]) -> Boxes:
    height, width = image_hw
    clipped: Boxes = np.minimum(xyxy, _corner(height, width))
    return np.maximum(clipped, _ORIGIN, out=clipped)


@functools.lru_cache(maxsize=16)
def _corner(height: int, width: int) -> Boxes:
    """What no coordinate of a box in such an image may exceed: (4,)."""
    limit = np.array((width, height, width, height), np.float32)
    limit.flags.writeable = False
    return limit


def _survivors(xyxy: Boxes, class_id: npt.NDArray[np.int64], iou: float) -> npt.NDArray[np.int64]:
    """Indices that greedy NMS keeps, for boxes sorted by falling confidence; in double precision, as for a few."""
    boxes = xyxy.astype(np.float64)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    left = np.arange(len(boxes))
    while left.size:
        first, rest = left[0], left[1:]
        kept.append(first)
        corner = np.maximum(boxes[first, :2], boxes[rest, :2])
        size = np.clip(np.minimum(boxes[first, 2:], boxes[rest, 2:]) - corner, 0, None)
        inter = size[:, 0] * size[:, 1]
        union = areas[first] + areas[rest] - inter
        left = rest[(class_id[rest] != class_id[first]) | (inter == 0) | (inter <= iou * union)]
    return np.array(kept, np.int64)


def _best_of_few(candidates: Candidates, iou: float) -> list[int]:
    """The same for a few, best first, without numpy: one call of it costs more than all the arithmetic of a box."""
    confidence, class_ids = candidates.confidence.tolist(), candidates.class_id.tolist()
    order = sorted(range(len(confidence)), key=confidence.__getitem__, reverse=True)
    boxes = candidates.xyxy.tolist()
    kept: list[int] = []
    kept_of_class: dict[int, list[tuple[float, float, float, float, float]]] = {class_id: [] for class_id in class_ids}
    for index in order:
        left, top, right, bottom = boxes[index]
        area = (right - left) * (bottom - top)
        others = kept_of_class[class_ids[index]]
        for other_left, other_top, other_right, other_bottom, other_area in others:
            if right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top:
                continue  # they share nothing
            inter = ((right if right < other_right else other_right) - (left if left > other_left else other_left)) * (
                (bottom if bottom < other_bottom else other_bottom) - (top if top > other_top else other_top)
            )
            if inter > iou * (other_area + area - inter):
                break
        else:
            others.append((left, top, right, bottom, area))
            kept.append(index)
    return kept
