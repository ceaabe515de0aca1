"""What was found against what was there, for runs on the synthetic drive."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from perception.config import COCO_VEHICLES
from perception.errors import SettingsError
from perception.frame import Boxes, Report, Truth

MATCH_IOU = 0.5
COUNTED_PX = 24.0
"""A vehicle lower than this in the picture is not asked for."""


@dataclass
class Score:
    """Counts over frames. wanted: vehicles that a detector should find; right and wrong: what it found."""

    wanted: int = 0
    found: int = 0
    right: int = 0
    wrong: int = 0

    @property
    def recall(self) -> float:
        """Share of the wanted vehicles that were found, 1 where none was wanted."""
        return self.found / self.wanted if self.wanted else 1.0

    @property
    def precision(self) -> float:
        """Share of the detections that were right, 1 where nothing was detected."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    def add(self, boxes: Boxes, names: list[str], truth: Truth) -> None:
        """Matches detections, best first, each with the vehicle of its class that it overlaps most, at IoU 0.5.

        boxes: (n, 4) in pixels; names: the class of each. A vehicle that is occluded or under 24 px high is not
        wanted; a detection of it is neither right nor wrong.
        """
        wanted = ~truth.occluded & (truth.xyxy[:, 3] - truth.xyxy[:, 1] > COUNTED_PX)
        classes = [COCO_VEHICLES[number] for number in truth.class_id.tolist()]
        overlap = iou_table(boxes, truth.xyxy)
        free = np.ones(len(truth), bool)
        self.wanted += int(wanted.sum())
        for row, name in enumerate(names):
            same = np.array([other == name for other in classes], bool) & free & (overlap[row] >= MATCH_IOU)
            # A wanted vehicle is taken before one that is not, whatever overlaps more: the rule of COCO's "ignore".
            hits = np.flatnonzero(same & wanted) if (same & wanted).any() else np.flatnonzero(same)
            if not hits.size:
                self.wrong += 1
                continue
            best = hits[overlap[row, hits].argmax()]
            free[best] = False
            self.found += int(wanted[best])
            self.right += int(wanted[best])


def iou_table(one: Boxes, other: Boxes) -> npt.NDArray[np.float32]:
    """The overlap of each box in `one` (n, 4) with each in `other` (m, 4), as (n, m)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - inter
    table: npt.NDArray[np.float32] = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return table


class TruthSink:
    """Scores each frame that carries its truth, and prints the ground truth line at the end.

    path: of a file that gets the truth itself as JSONL {frame_id, vehicles: [{class, xyxy, occluded}]}, or None.
    """

    def __init__(self, path: Path | None) -> None:
        """Raises SettingsError for a path that cannot be written."""
        self.score = Score()
        self._seen = False
        self._file: TextIO | None = None
        if path:
            try:
                self._file = path.open("w", encoding="utf-8")
            except OSError as error:
                raise SettingsError(f"--truth {path} cannot be written: {error.strerror}") from None

    def write(self, report: Report) -> None:
        """Scores one frame."""
        frame, found = report.frame, report.result.detections
        if frame.truth is None:
            return
        self._seen = True
        names = [report.backend.class_names[number] for number in found.class_id.tolist()]
        self.score.add(found.xyxy, names, frame.truth)
        if self._file:
            self._file.write(truth_line(frame.frame_id, frame.truth))

    def close(self) -> None:
        """Prints the line, on stdout and alone on it, so that a script can take it from there."""
        if self._file:
            self._file.close()
        if self._seen:
            score = self.score
            print(
                f"Ground truth: recall {score.recall:.2f} precision {score.precision:.2f} over {score.wanted} vehicles",
                flush=True,
            )


def truth_line(frame_id: int, truth: Truth) -> str:
    """One line of JSON on what is in a frame, boxes in pixels."""
    vehicles = [
        {"class": COCO_VEHICLES[number], "xyxy": [round(value, 2) for value in box], "occluded": occluded}
        for number, box, occluded in zip(truth.class_id.tolist(), truth.xyxy.tolist(), truth.occluded.tolist())
    ]
    return json.dumps({"frame_id": frame_id, "vehicles": vehicles}) + "\n"
