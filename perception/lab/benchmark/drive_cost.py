"""The cost of rendering a frame of the synthetic drive."""

from __future__ import annotations

import cv2

from perception.drive import Drive, DriveSettings
from perception.lab.benchmark.timing import each_ms

SEEDS = range(1, 7)
STRIDE = 3


def measure(light: str, rain: float, count: int) -> list[float]:
    """Return the milliseconds of `count` frames at 1280x720, spread over six seeds, on one thread."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    numbers = range(0, count // len(SEEDS) * STRIDE, STRIDE)
    try:
        drives = [Drive(DriveSettings(seed=seed, light=light, rain=rain)) for seed in SEEDS]
        return [taken for drive in drives for taken in each_ms(drive.render, numbers)]
    finally:
        cv2.setNumThreads(threads)
