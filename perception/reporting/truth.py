"""Scores detections against the ground truth, for runs on the synthetic drive."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from loguru import logger

from perception.core.boxes import overlaps, shares_inside
from perception.core.detections import Boxes
from perception.core.frame import Truth
from perception.core.results import Report
from perception.reporting.output_file import free_name, reserve
from perception.reporting.vehicles import class_names
from perception.settings.model import COCO_VEHICLES
from perception.system.writable import check_writable

MATCH_IOU = 0.5
COUNTED_PX = 24.0
"""A vehicle that is no higher than this in the frame is not wanted."""
IGNORED_SHARE = 0.5


@dataclass
class Score:
    """Counts over frames. wanted: vehicles to find; found: those that were; wrong: detections where none is."""

    wanted: int = 0
    found: int = 0
    wrong: int = 0

    @property
    def recall(self) -> float:
        """Return the share of the wanted vehicles that were found, 1 where none was wanted."""
        return self.found / self.wanted if self.wanted else 1.0

    @property
    def precision(self) -> float:
        """Return the share of the detections that were right, 1 where none counts."""
        return self.found / (self.found + self.wrong) if self.found + self.wrong else 1.0

    def add(self, boxes: Boxes, names: list[str], truth: Truth) -> None:
        """Match detections, best first, each with the wanted vehicle of its class that it overlaps most, IoU 0.5.

        boxes: (n, 4) in pixels; names: the class of each. A vehicle that is occluded or under 24 px high is not
        wanted; a detection that lies by half or more on such a one of its class is neither right nor wrong. This is
        COCO's rule for regions to ignore, since of a vehicle that is half hidden only the part that shows is found.
        """
        wanted = ~truth.occluded & (truth.xyxy[:, 3] - truth.xyxy[:, 1] > COUNTED_PX)
        classes = np.array([COCO_VEHICLES[number] for number in truth.class_id.tolist()], dtype=object)
        iou, inside = overlaps(boxes, truth.xyxy), shares_inside(boxes, truth.xyxy)
        free = wanted.copy()
        self.wanted += int(wanted.sum())
        for row, name in enumerate(names):
            same = classes == name
            hits = np.flatnonzero(same & free & (iou[row] >= MATCH_IOU))
            if hits.size:
                free[hits[iou[row, hits].argmax()]] = False
                self.found += 1
            elif not (same & ~wanted & (inside[row] >= IGNORED_SHARE)).any():
                self.wrong += 1


class TruthSink:
    """Scores each frame that carries its truth, and prints the ground truth line at the end.

    path: of a file that gets the truth itself as JSONL {frame_id, vehicles: [{class, xyxy, occluded}]}, or None.
    """

    def __init__(self, path: Path | None, overwrite: bool = False) -> None:
        """overwrite: a file that is there is replaced; else it is kept, and another name taken.

        Raises SettingsError for a path that cannot be written. The file is opened with the first frame.
        """
        if path:
            check_writable("--truth", path)
            path = free_name("record.truth", path, overwrite)
        self._overwrite = overwrite
        self.score = Score()
        self._seen = False
        self._path = path
        self._file: TextIO | None = None

    def write(self, report: Report) -> None:
        """Score one frame."""
        frame, found = report.frame, report.result.detections
        if frame.truth is None:
            return
        self._seen = True
        self.score.add(found.xyxy, class_names(found, report.backend.class_names), frame.truth)
        if self._path:
            try:
                self._file = self._file or self._open(self._path)
                self._file.write(truth_line(frame.frame_id, frame.truth))
            except OSError as error:
                logger.warning(
                    f"{self._path} cannot be written ({error.strerror}): the truth ends here, the run goes on"
                )
                self._path = None

    def _open(self, path: Path) -> TextIO:
        path = reserve("record.truth", path, self._overwrite)
        # A pipe that nobody reads is a fault, and not waited for.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        os.set_blocking(descriptor, True)
        return open(descriptor, "w", encoding="utf-8", buffering=1)

    def close(self) -> None:
        """Print the line, on stdout and alone on it, so that a script can take it from there."""
        # What a full disk did not take was told already, and a stdout that nobody reads takes no line.
        with suppress(OSError):
            if self._file:
                self._file.close()
        with suppress(OSError):
            if self._seen:
                recall, precision = self.score.recall, self.score.precision
                print(
                    f"Ground truth: recall {recall:.2f} precision {precision:.2f} over {self.score.wanted} vehicles",
                    flush=True,
                )


def truth_line(frame_id: int, truth: Truth) -> str:
    """Return one line of JSON with the vehicles really in a frame, boxes in pixels."""
    vehicles = [
        {"class": COCO_VEHICLES[number], "xyxy": [round(value, 2) for value in box], "occluded": occluded}
        for number, box, occluded in zip(truth.class_id.tolist(), truth.xyxy.tolist(), truth.occluded.tolist())
    ]
    return json.dumps({"frame_id": frame_id, "vehicles": vehicles}) + "\n"
