"""The agreement of two models in pictures without labels, at the operating threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perception.core.detections import Detections
from perception.workshop.accuracy.matching import above, match
from perception.workshop.accuracy.model_run import ModelRun
from perception.workshop.accuracy.score import MATCH_IOU

SURE_MARGIN = 0.15
"""A vehicle this far above the threshold is a sure one. Rounding moves a confidence by some hundredths."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Vehicles of one class: how many the reference has, how many the candidate has, and how many are the same."""

    reference: int
    candidate: int
    same: int

    @property
    def recall(self) -> float:
        """The share of the reference's that the candidate has, too; 1 where it has none."""
        return self.same / self.reference if self.reference else 1.0

    @property
    def precision(self) -> float:
        """The share of the candidate's that the reference has, too; 1 where it has none."""
        return self.same / self.candidate if self.candidate else 1.0


@dataclass(frozen=True, eq=False)
class UnlabelledScore:
    """A candidate's detections beside those of its reference, where there are no labels.

    by_class: vehicles above `conf`. sure, lost: the vehicles of which the reference is sure, and those of them that the
    candidate does not have at all above `conf`. sure_of_candidate, invented: the same the other way round. differences:
    of the confidences of each vehicle that both have, candidate less reference.
    """

    title: str
    precision: str
    missing: tuple[str, ...]
    images: int
    conf: float
    by_class: Mapping[str, Shared]
    sure: int
    lost: int
    sure_of_candidate: int
    invented: int
    differences: npt.NDArray[np.float64]

    @property
    def whole(self) -> Shared:
        """All classes together."""
        rows = self.by_class.values()
        return Shared(sum(r.reference for r in rows), sum(r.candidate for r in rows), sum(r.same for r in rows))

    @property
    def mean_difference(self) -> float | None:
        """The mean absolute difference of confidences; None where no vehicle is the same."""
        return round(float(np.abs(self.differences).mean()), 5) if len(self.differences) else None

    def to_values(self) -> dict[str, Any]:
        """Return the figures as JSON takes them."""
        return {
            "title": self.title,
            "sure": self.sure,
            "lost": self.lost,
            "sure_of_candidate": self.sure_of_candidate,
            "invented": self.invented,
            "mean_difference": self.mean_difference,
            "missing": list(self.missing),
            "by_class": {
                name: {
                    "reference": shared.reference,
                    "candidate": shared.candidate,
                    "recall": round(shared.recall, 5),
                    "precision": round(shared.precision, 5),
                }
                for name, shared in self.by_class.items()
            },
        }


def score_unlabelled(reference: ModelRun, candidate: ModelRun, conf: float) -> UnlabelledScore:
    """Compare two models' detections in the same pictures. ValueError where pictures or classes differ."""
    if reference.sizes != candidate.sizes or reference.classes != candidate.classes:
        raise ValueError("the two runs are not of the same pictures and classes")
    pairs = [(above(one, conf), above(two, conf)) for one, two in zip(reference.found, candidate.found)]
    partners = [_partners(one, two) for one, two in pairs]
    matched = [places >= 0 for places in partners]
    reversed_matched = [_taken(places, len(two)) for places, (_, two) in zip(partners, pairs)]
    sure_from = np.float32(min(conf + SURE_MARGIN, 0.9))
    sure, lost = _lost([one for one, _ in pairs], matched, sure_from)
    sure_of_candidate, invented = _lost([two for _, two in pairs], reversed_matched, sure_from)
    differences = [
        two.confidence[places[hit]] - one.confidence[hit] for (one, two), places, hit in zip(pairs, partners, matched)
    ]
    return UnlabelledScore(
        title=candidate.title,
        precision=candidate.precision,
        missing=candidate.missing,
        images=candidate.pictures,
        conf=conf,
        by_class=_by_class(reference.classes, pairs, matched),
        sure=sure,
        lost=lost,
        sure_of_candidate=sure_of_candidate,
        invented=invented,
        differences=np.concatenate(differences).astype(np.float64),
    )


def _partners(one: Detections, two: Detections) -> npt.NDArray[np.int64]:
    """For each of `one` the place of the vehicle in `two` that it is, or -1."""
    return match(one.xyxy, one.class_id, two.xyxy, two.class_id, MATCH_IOU)


def _taken(places: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.bool_]:
    taken = np.zeros(count, bool)
    taken[places[places >= 0]] = True
    return taken


def _lost(found: list[Detections], matched: list[npt.NDArray[np.bool_]], sure_from: np.float32) -> tuple[int, int]:
    """Return how many are sure, and how many of those have no partner."""
    sure = [one.confidence > sure_from for one in found]
    return sum(int(one.sum()) for one in sure), sum(int((one & ~hit).sum()) for one, hit in zip(sure, matched))


def _by_class(
    classes: tuple[str, ...], pairs: list[tuple[Detections, Detections]], matched: list[npt.NDArray[np.bool_]]
) -> dict[str, Shared]:
    """Return the counts of each class of which one of the two has a vehicle."""
    one, two = (np.concatenate([pair[side].class_id for pair in pairs]) for side in (0, 1))
    hit = np.concatenate(matched)
    rows = {
        name: Shared(int((one == place).sum()), int((two == place).sum()), int((hit & (one == place)).sum()))
        for place, name in enumerate(classes)
    }
    return {name: row for name, row in rows.items() if row.reference or row.candidate}
