"""Average precision as COCO defines it, by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.core.detections import Boxes, Detections
from perception.core.layouts import MAX_DETECTIONS
from perception.workshop.accuracy.labels import Labels


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision of one class, 0 to 1: at IoU 0.5, and the mean over IoU 0.5 to 0.95."""

    ap50: float
    ap50_95: float


def average_precisions(
    found: Sequence[Detections], labels: Sequence[Labels], sizes: Sequence[tuple[int, int]]
) -> dict[int, Precision]:
    """Return the precision of each class that has a label, over pictures of `sizes` (height, width in pixels).

    Of a picture the best 300 detections count. A class of which nothing was found has 0. SettingsError where
    faster-coco-eval is not installed.
    """
    COCO, Evaluation = _import()
    classes = sorted({int(number) for one in labels for number in one.class_id})
    if not classes:
        return {}
    truth = COCO(_data_set(labels, sizes, classes))
    results = _results(found, classes)
    evaluation = Evaluation(truth, truth.loadRes(results), "bbox", print_function=_say_nothing)
    evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    # IoU x recall x class x area x most detections: of all areas, of the best 300.
    table = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    return {
        number: Precision(float(table[0, :, column].mean()), float(table[:, :, column].mean()))
        for column, number in enumerate(classes)
    }


def _import() -> tuple[Any, Any]:
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ModuleNotFoundError as missing:
        from perception.core.errors import SettingsError

        raise SettingsError(
            f"Accuracy cannot be measured: the package {missing.name!r} is missing", "pip install faster-coco-eval"
        ) from None
    return COCO, COCOeval_faster


def _say_nothing(*_: object) -> None:
    """Swallow the times that it would print."""


def _data_set(labels: Sequence[Labels], sizes: Sequence[tuple[int, int]], classes: Sequence[int]) -> dict[str, Any]:
    """Return labels as COCO's JSON has them; every id counts from 1, since 0 stands for none in places."""
    annotations = [
        {"image_id": picture, "category_id": int(number) + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for picture, one in enumerate(labels, 1)
        for number, box in zip(one.class_id, _corner_and_size(one.xyxy))
    ]
    return {
        "images": [{"id": number, "height": size[0], "width": size[1]} for number, size in enumerate(sizes, 1)],
        "annotations": [{"id": number, **one} for number, one in enumerate(annotations, 1)],
        "categories": [{"id": number + 1, "name": str(number)} for number in classes],
    }


def _results(found: Sequence[Detections], classes: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"image_id": picture, "category_id": int(number) + 1, "bbox": box, "score": float(score)}
        for picture, one in enumerate(found, 1)
        for number, score, box in zip(one.class_id, one.confidence, _corner_and_size(one.xyxy))
        if int(number) in classes
    ]


def _corner_and_size(xyxy: Boxes) -> list[list[float]]:
    boxes: list[list[float]] = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1).tolist()
    return boxes
