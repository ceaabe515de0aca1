"""The figures of the model card: a detector over labelled pictures, over unseen drives, and over real footage."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.progress import track

from perception.camera.images import read_image
from perception.core.boxes import overlaps
from perception.core.detections import Boxes, Candidates, Detections
from perception.core.errors import SourceError
from perception.core.frame import Frame, Image, Truth
from perception.core.nms import nms
from perception.drive import Drive, DriveSettings
from perception.lab.benchmark.frame_cost import read_clip
from perception.lab.training.dataset import list_images
from perception.lab.training.scoring import Precisions, average_precision
from perception.reporting.truth import Score
from perception.settings.model import COCO_VEHICLES
from perception.workshop.accuracy.detector import places_of
from perception.workshop.accuracy.labels import Labels, read_labels
from perception.workshop.accuracy.matching import above, chosen

Detect = Callable[[Image], Detections]
"""A picture (H, W, 3) uint8 BGR in, its vehicles out; class ids are places in config.COCO_VEHICLES."""

CONDITIONS: Mapping[str, tuple[str, float]] = {
    "day": ("day", 0.0),
    "dusk": ("dusk", 0.0),
    "night": ("night", 0.0),
    "day, rain": ("day", 0.7),
    "night, rain": ("night", 0.7),
}
FIRST_SEED = 500
CALIBRATION_SEED = 200
"""Drives to choose a confidence on; neither trained on nor reported."""
CONFIDENCES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
FRAMES_A_SEED = 4
WHITE_CAR: tuple[float, float, float, float] = (830, 400, 980, 480)
"""About where the nearest car is at first in dashcam_a, in pixels."""


@dataclass(frozen=True)
class Split:
    """A validation split: the pictures' names, what was found in each, and its labels."""

    names: Sequence[str]
    found: Sequence[Detections]
    labels: Sequence[Labels]

    def of(self, *sources: str) -> Split:
        """Return the pictures of some sources, the word before the first underscore; all without any."""
        rows = [
            row for row in zip(self.names, self.found, self.labels) if not sources or row[0].split("_")[0] in sources
        ]
        return Split([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])

    def precision(self) -> Precisions:
        """Return the mAP with the class."""
        return average_precision(self.found, self.labels)

    def any_vehicle(self) -> float:
        """Return AP50 as if there was one class: of two boxes on one vehicle the less confident one goes."""
        merged = [_one_class(found) for found in self.found]
        return average_precision(merged, self.labels, any_vehicle=True).map50


def _one_class(found: Detections) -> Detections:
    same = np.zeros_like(found.class_id)
    return nms(Candidates(found.xyxy, found.confidence, same), 0.7, (2**20, 2**20))


def detect_split(detect: Detect, data: Path) -> Split:
    """Run the detector on every picture of the validation split of `data` (images/val, labels/val)."""
    paths = list_images(data / "images" / "val")
    found, labels = [], []
    for path in track(paths, "Validation pictures"):
        image = read_image(path)
        if image is None:
            raise SourceError(f"{path} cannot be read as a picture")
        found.append(detect(image))
        labels.append(read_labels(data / "labels" / "val" / f"{path.stem}.txt", (image.shape[0], image.shape[1])))
    return Split([path.name for path in paths], found, labels)


def drive_scores(detect: Detect, seeds: int, light: str, rain: float) -> dict[str, Score]:
    """Return scores over unseen drives at 1280x720, for "all" and by class name; `rain` from 0 to 1."""
    scores = {name: Score() for name in ("all", *COCO_VEHICLES)}
    for seed in track(range(FIRST_SEED, FIRST_SEED + seeds), f"Drive, {light}, rain {rain:g}"):
        for image, truth in _moments(seed, light, rain):
            found = detect(image)
            _score(scores["all"], found, truth)
            for number, name in enumerate(COCO_VEHICLES):
                own = found.class_id == number
                _score(scores[name], chosen(found, own), _of_class(truth, number))
    return scores


def by_confidence(detect: Detect, seeds: int, light: str, rain: float) -> dict[float, Score]:
    """Return scores over the drives for calibration, by the confidence from which a detection counts.

    detect: one that reports from the lowest of CONFIDENCES on.
    """
    scores = {least: Score() for least in CONFIDENCES}
    for seed in track(range(CALIBRATION_SEED, CALIBRATION_SEED + seeds), f"Calibration, {light}, rain {rain:g}"):
        for image, truth in _moments(seed, light, rain):
            found = detect(image)
            for least in CONFIDENCES:
                _score(scores[least], above(found, least), truth)
    return scores


def _of_class(truth: Truth, class_id: int) -> Truth:
    own = truth.class_id == class_id
    return Truth(truth.xyxy[own], truth.class_id[own], truth.occluded[own])


def _score(score: Score, found: Detections, truth: Truth) -> None:
    """Add a frame to the score, as the pilot does at the end of a demo; class ids are places in COCO_VEHICLES."""
    score.add(found.xyxy, [COCO_VEHICLES[number] for number in found.class_id.tolist()], truth)


def _moments(seed: int, light: str, rain: float) -> Iterator[tuple[Image, Truth]]:
    """Yield pictures of one drive, seconds apart, with three to eight vehicles as the seed says."""
    drive = Drive(DriveSettings(seed, 3 + seed % 6, fps=0.4, duration=FRAMES_A_SEED / 0.4, light=light, rain=rain))
    for number in range(FRAMES_A_SEED):
        yield drive.render(number)


@dataclass(frozen=True)
class Followed:
    """A car was found in `found` of the `asked` frames in which its place is known, of `frames` in the clip."""

    found: int
    asked: int
    frames: int


def follow(detect: Detect, reference: Detect, clip: Path, start: Sequence[float] = WHITE_CAR) -> Followed:
    """Count the frames of a clip in which a detector finds the car that begins at about `start` (pixels).

    `reference` is followed from frame to frame to know where the car is. Frames in which it does not see the car
    cannot be judged. Raises SourceError for a clip without a frame.
    """
    place: Boxes = np.asarray([start], np.float32)
    found = asked = frames = 0
    for image in track(read_clip(clip, sys.maxsize), clip.name):
        frames += 1
        known = _cars(reference(image))
        overlap = overlaps(place, known)[0] if len(known) else np.zeros(1)
        if overlap.max() < 0.2:
            continue
        place = known[[int(overlap.argmax())]]
        own = _cars(detect(image))
        asked += 1
        found += bool(len(own) and overlaps(place, own).max() >= 0.5)
    return Followed(found, asked, frames)


def _cars(found: Detections) -> Boxes:
    cars: Boxes = found.xyxy[found.class_id == COCO_VEHICLES.index("car")]
    return cars


class Service:
    """A detector service as a plain function from a picture to vehicles in our own class ids."""

    def __init__(self, detect: Callable[[Frame], Detections], names: Mapping[int, str]) -> None:
        self._detect = detect
        self._places = places_of(COCO_VEHICLES, names)

    def __call__(self, image: Image) -> Detections:
        found = self._detect(Frame(image, 0, time.monotonic(), "evaluation"))
        return replace(found, class_id=self._places[found.class_id])
