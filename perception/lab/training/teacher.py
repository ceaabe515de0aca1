"""A teacher's detections in the labelled pictures. Its boxes are used, its parameters are not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from perception.core.detections import Detections
from perception.core.errors import SourceError
from perception.lab.benchmark.predict import OPTIONS
from perception.settings.model import COCO_VEHICLES
from perception.workshop.quantize.ultralytics_model import load

Seen = dict[str, Detections]
LEAST_CONFIDENCE = 0.05
"""Less confident detections of a teacher are not kept."""


def teacher_detections(weights: Path, images: Sequence[Path], notes_path: Path, device: str) -> Seen:
    """Return the detections of the teacher in a .pt by file name; class ids are places in config.COCO_VEHICLES.

    Notes are kept in `notes_path` and read from there the next time. device: as ultralytics names it, "cpu" or "0".
    Raises SourceError where the teacher must be asked and is not there.
    """
    notes = json.loads(notes_path.read_text()) if notes_path.exists() else {}
    missing = [path for path in images if path.name not in notes]
    if missing:
        if not weights.exists():
            raise SourceError(
                f"The teacher {weights} does not exist", "Labels are completed by it: see models/README.md."
            )
        notes.update(_predict(weights, missing, device))
        notes_path.parent.mkdir(parents=True, exist_ok=True)
        notes_path.write_text(json.dumps(notes))
    return {path.name: _detections(notes[path.name]) for path in images}


def _predict(weights: Path, images: Iterable[Path], device: str) -> dict[str, list[list[float]]]:
    model = load(str(weights))
    places = {number: COCO_VEHICLES.index(name) for number, name in model.names.items() if name in COCO_VEHICLES}
    options = {**OPTIONS, "conf": LEAST_CONFIDENCE, "iou": 0.6, "classes": list(places), "device": device}
    notes = {}
    for path in track(list(images), f"Asking {weights.name}"):
        boxes = model.predict(str(path), **options)[0].boxes
        rows = zip(boxes.cls.tolist(), boxes.conf.tolist(), boxes.xyxy.tolist())
        notes[path.name] = [[places[int(c)], round(s, 4), *(round(v, 2) for v in xyxy)] for c, s, xyxy in rows]
    return notes


def _detections(rows: list[list[float]]) -> Detections:
    table = np.asarray(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, 2:], table[:, 1], table[:, 0].astype(np.int64))
