"""The score of a model against labels: average precision, recall at a threshold, and the best threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perception.core.detections import Detections, Scores
from perception.core.errors import SettingsError
from perception.workshop.accuracy.coco import Precision, average_precisions
from perception.workshop.accuracy.labels import Labels
from perception.workshop.accuracy.matching import match
from perception.workshop.accuracy.model_run import ModelRun
from perception.workshop.accuracy.threshold import F1Curve

MATCH_IOU = 0.5
"""The least overlap of a detection with the label of its vehicle."""


@dataclass(frozen=True, eq=False)
class Score:
    """One model against labels; the figures are 0 to 1.

    conf: the operating threshold of `recall`. classes: of which there are labels. precisions: by class. label_class:
    the class of each label, as a place in `classes`. found_at: the confidence at which each was found, 0 where it was
    not. extra: how many detections above `conf` are no labelled vehicle; labels may be incomplete.
    """

    title: str
    precision: str
    images: int
    conf: float
    classes: tuple[str, ...]
    missing: tuple[str, ...]
    precisions: Mapping[str, Precision]
    label_class: npt.NDArray[np.int64]
    found_at: npt.NDArray[np.float32]
    extra: int
    curve: F1Curve

    @property
    def map50_95(self) -> float:
        """Mean over the classes of the average precision at IoU 0.5 to 0.95."""
        return float(np.mean([one.ap50_95 for one in self.precisions.values()]))

    @property
    def map50(self) -> float:
        """Mean over the classes of the average precision at IoU 0.5."""
        return float(np.mean([one.ap50 for one in self.precisions.values()]))

    @property
    def is_found(self) -> npt.NDArray[np.bool_]:
        """For each label, True where it is found above the operating threshold."""
        found: npt.NDArray[np.bool_] = self.found_at > np.float32(self.conf)
        return found

    @property
    def recall(self) -> float:
        """The share of all labels that is found above the operating threshold."""
        return float(self.is_found.mean())

    @property
    def recall_at_all(self) -> float:
        """The share of all labels that is found, however low the confidence."""
        return float((self.found_at > 0).mean())

    def of_class(self, name: str) -> npt.NDArray[np.bool_]:
        """Return a mask of the labels of the class."""
        own: npt.NDArray[np.bool_] = self.label_class == self.classes.index(name)
        return own

    def recall_of(self, name: str) -> float:
        """Return the share of the labels of one class that is found above the operating threshold."""
        return float(self.is_found[self.of_class(name)].mean())

    def to_values(self) -> dict[str, Any]:
        """Return the figures as JSON takes them."""
        return {
            "title": self.title,
            "map50_95": _round(self.map50_95),
            "map50": _round(self.map50),
            "recall": _round(self.recall),
            "extra": self.extra,
            "best_conf": self.curve.best,
            "best_f1": _round(self.curve.at(self.curve.best)),
            "missing": list(self.missing),
            "by_class": {
                name: {
                    "labels": int(self.of_class(name).sum()),
                    "ap50_95": _round(precision.ap50_95),
                    "ap50": _round(precision.ap50),
                    "recall": _round(self.recall_of(name)),
                }
                for name, precision in self.precisions.items()
            },
        }


def score(run: ModelRun, labels: Sequence[Labels], judged: Sequence[str], conf: float) -> Score:
    """Return the score of a run against labels whose class ids are places in `run.classes`.

    judged: the classes that count. conf: the operating threshold. SettingsError where no label is of these classes.
    """
    used = {int(number) for one in labels for number in one.class_id}
    names = tuple(name for place, name in enumerate(run.classes) if place in used and name in judged)
    if not names:
        raise SettingsError(
            f"None of the labels is a {' or '.join(judged)}" if judged else "There is no class to judge",
            "Give pictures that show, and labels that name, the vehicles of the model.",
        )
    own = np.array([names.index(name) if name in names else -1 for name in run.classes], np.int64)
    labels = [_kept(one, own) for one in labels]
    found = [_of(one, own) for one in run.found]
    precisions = average_precisions(found, labels, run.sizes)
    hits = [match(one.xyxy, one.class_id, real.xyxy, real.class_id, MATCH_IOU) for one, real in zip(found, labels)]
    confidence = np.concatenate([one.confidence for one in found])
    is_hit = np.concatenate(hits) >= 0
    label_class = np.concatenate([one.class_id for one in labels])
    return Score(
        title=run.title,
        precision=run.precision,
        images=run.pictures,
        conf=conf,
        classes=names,
        missing=tuple(name for name in names if name in run.missing),
        precisions={names[number]: precision for number, precision in precisions.items()},
        label_class=label_class,
        found_at=_found_at(hits, [one.confidence for one in found], [len(one) for one in labels]),
        extra=int((~is_hit & (confidence > np.float32(conf))).sum()),
        curve=F1Curve.of(confidence, is_hit, len(label_class)),
    )


def _kept(labels: Labels, own: npt.NDArray[np.int64]) -> Labels:
    keep = own[labels.class_id] >= 0
    return Labels(labels.xyxy[keep], own[labels.class_id[keep]])


def _of(found: Detections, own: npt.NDArray[np.int64]) -> Detections:
    keep = own[found.class_id] >= 0
    return Detections(found.xyxy[keep], found.confidence[keep], own[found.class_id[keep]])


def _found_at(
    hits: Sequence[npt.NDArray[np.int64]], confidences: Sequence[Scores], counts: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Return for each label of all pictures the confidence of its detection, 0 where there is none."""
    parts = []
    for places, confidence, count in zip(hits, confidences, counts):
        part = np.zeros(count, np.float32)
        part[places[places >= 0]] = confidence[places >= 0]
        parts.append(part)
    return np.concatenate(parts)


def _round(value: float) -> float:
    return round(value, 5)
