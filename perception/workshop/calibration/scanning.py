"""A first look at frames: a thumbnail and the sharpness of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perception.workshop.calibration.reading import Source, SourceFrame

SMALL_WH = (32, 18)
"""Width and height of a thumbnail, in pixels."""
SHARPNESS_WIDTH = 640
"""Sharpness is measured at this width in pixels, so that clips of different sizes are treated alike."""
PICTURE_WIDTH = 640
PICTURE_QUALITY = 85
"""Of JPEG: some 50 KiB a picture, in which a detector finds what it finds in the frame."""

Thumbnail = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class FrameCandidate:
    """One frame that may be chosen. source: place in the list of sources; frame, time_s: as in reading.SourceFrame.

    small: (18, 32) uint8 grey levels. sharpness: variance of the Laplacian, to be compared within its source alone.
    picture: for the detector; the file that holds it alone, or a JPEG at most PICTURE_WIDTH pixels wide.
    """

    source: int
    frame: int
    time_s: float | None
    small: Thumbnail
    sharpness: float
    picture: Path | bytes


@dataclass(frozen=True, slots=True)
class SourceScan:
    """A source after its scan. frames: all it has. unreadable: files of a folder that hold no image."""

    candidates: list[FrameCandidate]
    frames: int
    unreadable: list[str]


def scan(source: Source, number: int, length: int, most: int, passed: Callable[[], None]) -> SourceScan:
    """Scan every frame of a source, or where it has more than `most`, frames evenly spread over it.

    Between half of `most` and `most` frames are then scanned. number: the place of the source in the list. length: the
    frames it is thought to have, 0 where unknown. passed: called for each frame that goes by.
    """
    stride = 1
    while length > most * stride:
        stride *= 2
    candidates: list[FrameCandidate] = []
    unreadable: list[str] = []
    frames = 0

    def wants(frame: int) -> bool:
        return frame % stride == 0

    def count(frame: int) -> None:
        nonlocal frames
        frames = frame + 1
        passed()

    for frame in source.frames(wants, count):
        candidate = candidate_of(frame, number)
        if candidate is None:
            unreadable.append(str(frame.path))
            continue
        candidates.append(candidate)
        if len(candidates) > most:  # the file has more frames than it promised
            stride *= 2
            candidates = [candidate for candidate in candidates if wants(candidate.frame)]
    return SourceScan(candidates, frames, unreadable)


def candidate_of(frame: SourceFrame, source: int) -> FrameCandidate | None:
    """Return the candidate of one frame; None where its file holds no image."""
    if frame.image is None:
        return None
    grey = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, SMALL_WH, interpolation=cv2.INTER_AREA)
    sharpness = float(cv2.Laplacian(_at_width(grey, SHARPNESS_WIDTH), cv2.CV_32F).var())
    picture: Path | bytes | None = frame.path
    if picture is None:
        narrow = frame.image if frame.image.shape[1] <= PICTURE_WIDTH else _at_width(frame.image, PICTURE_WIDTH)
        picture = cv2.imencode(".jpg", narrow, [cv2.IMWRITE_JPEG_QUALITY, PICTURE_QUALITY])[1].tobytes()
    return FrameCandidate(source, frame.number, frame.time_s, np.asarray(small, np.uint8), sharpness, picture)


def _at_width(image: Any, width: int) -> Any:
    """Return an image (H, W) or (H, W, 3) at this width in pixels, its sides in proportion."""
    height = max(round(image.shape[0] * width / image.shape[1]), 1)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def shares(lengths: Sequence[int], count: int) -> list[int]:
    """Return how many frames of each source to scan, by their lengths (0: unknown, which may take all).

    `count` in all, by the length of each, and some more where short ones would get too few.
    """
    total = max(sum(lengths), 1)
    least = -(-count // (2 * len(lengths)))
    return [max(-(-count * length // total), least) if length else count for length in lengths]
