"""Completion of labels: a teacher's confident vehicles that no label overlaps, and classes that a source merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.core.boxes import overlaps, shares_inside
from perception.core.detections import Boxes, ClassIds, Detections
from perception.settings.model import COCO_VEHICLES
from perception.workshop.accuracy.labels import Labels

SAME = 0.5
"""Intersection over union from which two boxes are taken for one vehicle."""

_TRUCK, _CAR = COCO_VEHICLES.index("truck"), COCO_VEHICLES.index("car")


@dataclass(frozen=True)
class Rule:
    """The trust of a source in the teachers. Confidences from 0 to 1, sizes in pixels.

    alone: from where one teacher suffices. agreed: from where two that see the same box suffice. truck_from_car: the
    source has no trucks, and labels them as cars: two teachers that both see one, this confidently, correct it; None
    leaves the classes alone. least_px: the shorter side of what is added.
    """

    alone: float = 0.5
    agreed: float = 0.3
    truck_from_car: float | None = None
    least_px: float = 8.0


# The simulated pictures look foreign to teachers that learned on photographs, so there they must be surer.
RULES = {
    "india": Rule(),
    "openimages": Rule(),
    "carla": Rule(alone=0.6, agreed=0.4, truck_from_car=0.5),
}


def rule_for(file_name: str) -> Rule:
    """Return the rule of the source that begins the file's name; the default one for any other source."""
    return RULES.get(file_name.split("_")[0], Rule())


def complete(labels: Labels, teachers: Sequence[Detections], rule: Rule, image_hw: tuple[int, int]) -> Labels:
    """Return the labels with those that the teachers add. Every label keeps its box, and its place in the order.

    teachers: what each found in the same picture, of `image_hw` (height, width in pixels); class ids are places in
    config.COCO_VEHICLES.
    """
    kept = Labels(labels.xyxy, _corrected(labels, teachers, rule))
    found = _trusted(teachers, rule)
    order = np.argsort(-found.confidence, kind="stable")
    for at in order.tolist():
        box, class_id = found.xyxy[at : at + 1], found.class_id[at : at + 1]
        if not _is_known(box, int(class_id[0]), kept) and not _is_own_car(box[0], image_hw):
            kept = Labels(np.concatenate([kept.xyxy, box]), np.concatenate([kept.class_id, class_id]))
    return kept


def _trusted(teachers: Sequence[Detections], rule: Rule) -> Detections:
    """Return all detections that are confident enough, alone or because another teacher has them, too."""
    parts = []
    for place, own in enumerate(teachers):
        sure = own.confidence >= rule.alone
        for other in (*teachers[:place], *teachers[place + 1 :]):
            seconds = other.xyxy[other.confidence >= rule.agreed]
            if len(seconds) and len(own):
                seen_twice = (overlaps(own.xyxy, seconds) >= SAME).any(axis=1)
                sure = sure | (seen_twice & (own.confidence >= rule.agreed))
        large = (own.xyxy[:, 2:] - own.xyxy[:, :2]).min(axis=1, initial=np.inf) >= rule.least_px
        parts.append((own.xyxy[sure & large], own.confidence[sure & large], own.class_id[sure & large]))
    if not parts:
        return Detections.empty()
    boxes, confidences, classes = zip(*parts)
    return Detections(np.concatenate(boxes), np.concatenate(confidences), np.concatenate(classes))


def _is_known(box: Boxes, class_id: int, labels: Labels) -> bool:
    """Return True if a box (1, 4) repeats a label, or lies in one of its class, such as one of a whole group."""
    if not len(labels):
        return False
    same = overlaps(box, labels.xyxy)[0] >= 0.4
    within = (shares_inside(box, labels.xyxy)[0] >= 0.7) & (labels.class_id == class_id)
    # A label inside a larger box of its class is the visible part of the same vehicle.
    around = (shares_inside(labels.xyxy, box)[:, 0] >= 0.7) & (labels.class_id == class_id)
    return bool((same | within | around).any())


def _is_own_car(box: Boxes, image_hw: tuple[int, int]) -> bool:
    """Return True if a box (4,) is the dashboard or bonnet below a windscreen, which teachers take for a car."""
    height, width = image_hw
    return bool(box[2] - box[0] >= 0.9 * width and box[3] >= 0.98 * height and box[1] >= 0.4 * height)


def _corrected(labels: Labels, teachers: Sequence[Detections], rule: Rule) -> ClassIds:
    classes: ClassIds = labels.class_id.copy()
    if rule.truck_from_car is None or len(teachers) < 2:
        return classes
    agreed = classes == _CAR
    for found in teachers:
        trucks = found.xyxy[(found.class_id == _TRUCK) & (found.confidence >= rule.truck_from_car)]
        seen = (overlaps(labels.xyxy, trucks) >= 0.7).any(axis=1) if len(trucks) else np.zeros(len(classes), bool)
        agreed &= seen
    classes[agreed] = _TRUCK
    return classes
