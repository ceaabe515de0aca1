"""Decoding: the output of a network, of any layout of layouts.py, becomes candidates in pixels of its input.

Agrees with ultralytics' non_max_suppression (8.4) and, for `yolov5`, with that of YOLOv5 (utils/general.py): the best
class of all decides what a box is, and thresholds are strict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from perception.core.detections import Boxes, Candidates, Scores
from perception.core.layouts import FARTHEST_PX, MAX_DETECTIONS, Layout

Floats = npt.NDArray[np.floating]
_Places = npt.NDArray[np.int64]


def decode(
    output: Floats, layout: Layout, conf: float, places: Sequence[int], input_hw: tuple[int, int] = (1, 1)
) -> Candidates:
    """Return the candidates in input pixels of one image's output, (values, n) or (n, values) as the layout has it.

    conf: confidence above which a box counts, 0 to 1. places: where the output has the vehicle classes; they are the
    class ids of what comes back. input_hw: (height, width) in pixels, for layouts in shares of it.
    """
    if layout.tail == "label":
        boxes, confidence, found = _labelled(output, conf, places)
    elif layout.tail == "objectness":
        boxes, confidence, found = _by_objectness(output, conf, places)
    else:
        boxes, confidence, found = _scored(output.T if layout.by_row else output, conf, places)
    with np.errstate(invalid="ignore", over="ignore"):  # broken numbers make broken boxes, which are left out below
        if not layout.corners:
            centre, half = boxes[:, :2], boxes[:, 2:] / 2
            boxes = np.concatenate([centre - half, centre + half], axis=1)
        if layout.shares:
            boxes = boxes * np.array(input_hw[::-1] * 2, np.float32)
    candidates = _sound(boxes, confidence, found)
    return _best(candidates) if layout.final else candidates


def _scored(output: Floats, conf: float, places: Sequence[int]) -> tuple[Boxes, Scores, _Places]:
    """Of (4 + classes, n): boxes as they are, confidences and classes of those that pass."""
    wanted = np.asarray(places, np.int64)
    # Few boxes pass, so the other classes are looked at for those alone: a tenth of the work of a full argmax.
    passed = np.flatnonzero(_above(output[4 + wanted], conf).any(axis=0))
    columns = output[:, passed].astype(np.float32, copy=False)
    best = columns[4:].argmax(axis=0)
    keep = np.isin(best, wanted)
    columns, best = columns[:, keep], best[keep]
    return columns[:4].T, columns[4 + best, np.arange(len(best))], best


def _by_objectness(output: Floats, conf: float, places: Sequence[int]) -> tuple[Boxes, Scores, _Places]:
    """Of (n, 5 + classes): a confidence is objectness times the score of the class."""
    rows = output[_above(output[:, 4], conf)].astype(np.float32, copy=False)  # no product is larger than it
    scores = rows[:, 5:] * rows[:, 4:5]
    best = scores.argmax(axis=1)
    confidence = scores[np.arange(len(best)), best]
    keep = _above(confidence, conf) & np.isin(best, places)
    return rows[keep, :4], confidence[keep], best[keep]


def _labelled(output: Floats, conf: float, places: Sequence[int]) -> tuple[Boxes, Scores, _Places]:
    """Of (n, 6): a place, a confidence, a label."""
    rows = output[_above(output[:, 4], conf) & np.isin(output[:, 5], places)].astype(np.float32, copy=False)
    return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)


def _above(scores: Floats, conf: float) -> npt.NDArray[np.bool_]:
    """Compares as float32: numpy would round the threshold to the half precision of the scores."""
    above: npt.NDArray[np.bool_] = scores.astype(np.float32, copy=False) > np.float32(conf)
    return above


def _sound(xyxy: Boxes, confidence: Scores, class_id: _Places) -> Candidates:
    """Leaves out what holds a NaN, an infinity or a box beyond all bounds: no broken number may become a vehicle."""
    sound = (np.abs(xyxy) < FARTHEST_PX).all(axis=1) & np.isfinite(confidence)
    return Candidates(xyxy[sound], confidence[sound], class_id[sound].astype(np.int64, copy=False))


def _best(found: Candidates) -> Candidates:
    """The most confident ones of a head that suppresses overlaps itself, in order."""
    best = np.argsort(-found.confidence, kind="stable")[:MAX_DETECTIONS]
    return Candidates(found.xyxy[best], found.confidence[best], found.class_id[best], final=True)
