"""Training pictures from the synthetic drive: many seeds, few frames of each, every light and weather."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from perception.core.boxes import shares_inside
from perception.core.frame import Image, Truth
from perception.drive import Drive, DriveSettings
from perception.workshop.accuracy.labels import Labels, write_labels

FIRST_SEED = 1_000_000
"""Training takes this seed and those after it, so that every smaller one stays unseen."""

FRAMES_A_SEED = 6
LONG_SIDE_PX = 640
"""The size that the network sees: larger pictures are kept at it."""

LEAST_HEIGHT_PX = 5.0
"""The lowest vehicle worth a label, in a picture of LONG_SIDE_PX: 10 pixels of a 720p frame."""

# A wide choice of cameras, most of them as on a car.
_SIZES = ((1280, 720),) * 5 + ((1920, 1080),) * 2 + ((960, 540), (1280, 960), (800, 600), (1640, 1232), (640, 640))
_LIGHTS = ("day", "day", "day", "dusk", "night", "night")


@dataclass(frozen=True)
class Job:
    """One seed's worth of pictures for `folder`, `frames` of them."""

    folder: Path
    seed: int
    frames: int


def write_drive(folder: Path, frames: int, workers: int = 0) -> None:
    """Write `frames` pictures and their labels to folder/images and folder/labels, as `drive_<seed>_<number>`.

    The same number gives the same files. Seeds already written are skipped. workers: 0 for one per core.
    """
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    jobs = list(_jobs(folder, frames))
    count = min(workers or os.cpu_count() or 1, len(jobs))
    # Spawned, not forked: the caller may hold threads of other libraries.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        for _ in track(pool.map(_write_seed, jobs, chunksize=1), "Rendering the drive", total=len(jobs)):
            pass


def _jobs(folder: Path, frames: int) -> Iterator[Job]:
    for place, first in enumerate(range(0, frames, FRAMES_A_SEED)):
        yield Job(folder, FIRST_SEED + place, min(FRAMES_A_SEED, frames - first))


def settings_for(seed: int) -> DriveSettings:
    """Return the drive of a training seed: its weather, light, traffic and camera, drawn from the seed itself."""
    draw = np.random.default_rng(seed)
    width, height = _SIZES[int(draw.integers(len(_SIZES)))]
    rain = 0.0 if draw.random() < 0.5 else round(float(draw.random()), 3)
    light = _LIGHTS[int(draw.integers(len(_LIGHTS)))]
    vehicles = int(draw.integers(0, 13))
    # Frames lie seconds apart, so that no two show the same moment.
    return DriveSettings(seed, vehicles, width, height, fps=0.5, duration=2.0 * FRAMES_A_SEED, light=light, rain=rain)


def _write_seed(job: Job) -> None:
    cv2.setNumThreads(1)
    stems = [f"drive_{job.seed}_{number}" for number in range(job.frames)]
    # The label comes second, so a picture whose label is there is whole.
    if all((job.folder / "labels" / f"{stem}.txt").exists() for stem in stems):
        return
    drive = Drive(settings_for(job.seed))
    draw = np.random.default_rng([job.seed, 1])
    for number, stem in enumerate(stems):
        image, truth = drive.render(number)
        labels = worth_labelling(truth, (image.shape[0], image.shape[1]))
        write_labels_after(job.folder, stem, _shrunk(image), labels, (image.shape[0], image.shape[1]), draw)


def write_labels_after(
    folder: Path, stem: str, image: Image, labels: Labels, truth_hw: tuple[int, int], draw: np.random.Generator
) -> None:
    """Write a picture as a camera would give it, then its labels, which are in pixels of `truth_hw`."""
    quality = int(draw.integers(55, 101))
    cv2.imwrite(
        str(folder / "images" / f"{stem}.jpg"), through_a_camera(image, draw), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    write_labels(folder / "labels" / f"{stem}.txt", labels, truth_hw)


def worth_labelling(truth: Truth, image_hw: tuple[int, int]) -> Labels:
    """Return the part of a frame's truth that a detector should learn: tall enough, and enough of it in view.

    The truth says which vehicles are hidden, not how far; of those flagged, the ones that nearer boxes leave a half
    of are kept, since a detector that must ignore half a car learns to ignore cars.
    """
    boxes = truth.xyxy
    height = (boxes[:, 3] - boxes[:, 1]) * (LONG_SIDE_PX / max(image_hw))
    inside = shares_inside(boxes, boxes)
    # Nearest last: only those further on in the list can stand before a vehicle.
    hidden = np.triu(inside, k=1).max(axis=1, initial=0.0)
    keep = (height >= LEAST_HEIGHT_PX) & (~truth.occluded | ((hidden <= 0.5) & (height >= 2 * LEAST_HEIGHT_PX)))
    return Labels.of(boxes[keep], truth.class_id[keep])


def _shrunk(image: Image) -> Image:
    """Return the picture at most LONG_SIDE_PX long, by the interpolation of our own preprocessing."""
    scale = LONG_SIDE_PX / max(image.shape[:2])
    if scale >= 1:
        return image
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def through_a_camera(image: Image, draw: np.random.Generator) -> Image:
    """Return the picture with a lens's blur or a sensor's noise, one time in three each, as ours are too clean.

    image: (H, W, 3) uint8, not changed.
    """
    chance = draw.random()
    if chance < 1 / 3:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), float(draw.uniform(0.4, 1.2))), np.uint8)
    if chance < 2 / 3:
        noise = draw.normal(0, float(draw.uniform(2, 9)), image.shape)
        return np.asarray(np.clip(image + noise, 0, 255), np.uint8)
    return image
