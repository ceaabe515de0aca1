"""Measures the agreement of two detectors on the same pictures: by count, by overlap, by confidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perception.core.boxes import overlaps as overlap_of
from perception.core.detections import Detections

MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over `frames` pictures with `vehicles` of the reference.

    same_count: share of pictures with as many vehicles. ious, differences: of each pair that was matched, its overlap
    and its difference of confidence.
    """

    frames: int
    vehicles: int
    same_count: float
    ious: tuple[float, ...]
    differences: tuple[float, ...]

    @property
    def share_matched(self) -> float:
        """The share of the reference's vehicles that have a partner, 1 where it has none."""
        return len(self.ious) / self.vehicles if self.vehicles else 1.0

    def share_of_iou(self, least: float) -> float:
        """Return the share of matched vehicles with at least this overlap; see `_share`."""
        return self._share(np.asarray(self.ious) >= least)

    def share_of_confidence(self, most: float) -> float:
        """Return the share of matched vehicles whose confidences differ by at most this; see `_share`."""
        return self._share(np.asarray(self.differences) <= most)

    def _share(self, holds: npt.NDArray[np.bool_]) -> float:
        """Of no matched vehicle: 0 where there were some to match, else 1."""
        if not len(holds):
            return 0.0 if self.vehicles else 1.0
        return float(np.mean(holds))

    def __str__(self) -> str:
        return (
            f"{self.frames} frames, {self.vehicles} vehicles, {self.share_matched:.2%} matched: counts equal in "
            f"{self.same_count:.2%}, IoU >= 0.97 in {self.share_of_iou(0.97):.2%}, "
            f"confidence within 0.02 in {self.share_of_confidence(0.02):.2%}"
        )


def agreement(pairs: Iterable[tuple[Detections, Detections]]) -> Agreement:
    """Compare (reference, other) picture by picture; each vehicle has at most one partner, of its class."""
    frames = vehicles = same = 0
    ious: list[float] = []
    differences: list[float] = []
    for reference, other in pairs:
        frames += 1
        vehicles += len(reference)
        same += len(reference) == len(other)
        for overlap, difference in _matches(reference, other):
            ious.append(overlap)
            differences.append(difference)
    return Agreement(frames, vehicles, same / max(frames, 1), tuple(ious), tuple(differences))


def _matches(reference: Detections, other: Detections) -> Iterable[tuple[float, float]]:
    overlaps = overlap_of(reference.xyxy, other.xyxy)
    overlaps[reference.class_id[:, None] != other.class_id[None, :]] = 0
    while overlaps.size and overlaps.max() >= MATCH_IOU:
        one, two = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        yield float(overlaps[one, two]), abs(float(reference.confidence[one] - other.confidence[two]))
        overlaps[one, :] = 0
        overlaps[:, two] = 0
