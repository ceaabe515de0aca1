"""Pictures with known vehicles, and what a model finds in them, made up for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from perception.core.detections import Detections
from perception.settings.model import COCO_VEHICLES
from perception.workshop.accuracy.labels import Labels
from perception.workshop.accuracy.model_run import ModelRun

SIZE = (480, 640)
BICYCLE, CAR, MOTORCYCLE, BUS, TRUCK = range(5)


def labels_of(pictures: int, classes: Sequence[int] = (CAR, CAR, CAR, TRUCK)) -> list[Labels]:
    """In each picture a row of vehicles of these classes, each 60 pixels wide."""
    boxes = [(10 + 80 * place, 100, 70 + 80 * place, 150) for place in range(len(classes))]
    return [Labels.of(boxes, list(classes)) for _ in range(pictures)]


def seen(
    labels: Sequence[Labels],
    confidence: Callable[[int], float] = lambda _: 0.8,
    *,
    shift_px: float = 0,
    model: str = "model.onnx",
    precision: str = "fp32",
    known: Sequence[str] = COCO_VEHICLES,
) -> ModelRun:
    """A model that finds every labelled vehicle: number n, counted over all pictures, with `confidence(n)`, 0 not."""
    number = 0
    found = []
    for one in labels:
        scores = np.array([confidence(number + place) for place in range(len(one))], np.float32)
        number += len(one)
        keep = np.flatnonzero(scores > 0)
        order = keep[np.argsort(-scores[keep], kind="stable")]
        boxes = (one.xyxy + np.float32(shift_px)).astype(np.float32)
        found.append(Detections(boxes[order], scores[order], one.class_id[order]))
    return ModelRun(
        model=model,
        backend="fake",
        precision=precision,
        classes=COCO_VEHICLES,
        known=tuple(known),
        class_names=("person", *known),
        sizes=(SIZE,) * len(labels),
        found=tuple(found),
    )


def blind(run: ModelRun, precision: str = "int8") -> ModelRun:
    """The same model, finding nothing."""
    return replace(run, found=tuple(Detections.empty() for _ in run.found), precision=precision)
