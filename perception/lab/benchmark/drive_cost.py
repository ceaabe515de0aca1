"""What a frame of the synthetic drive costs to render."""

from __future__ import annotations

import time

import cv2

from perception.drive import Drive, DriveSettings

SEEDS = range(1, 7)
STRIDE = 3


def measure(light: str, rain: float, count: int) -> list[float]:
    """Milliseconds of `count` frames at 1280x720, spread over six seeds, on one thread."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    taken = []
    try:
        for seed in SEEDS:
            drive = Drive(DriveSettings(seed=seed, light=light, rain=rain))
            for number in range(count // len(SEEDS)):
                started = time.perf_counter()
                drive.render(number * STRIDE)
                taken.append((time.perf_counter() - started) * 1000)
    finally:
        cv2.setNumThreads(threads)
    return taken
