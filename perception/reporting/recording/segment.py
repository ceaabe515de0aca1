"""One video that is being written: pictures at their capture times on a constant rate, with their records beside it."""

from __future__ import annotations

import errno
import io
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from perception.core.frame import Image
from perception.reporting.recording.commands import Stream
from perception.reporting.recording.encoder import Encoder
from perception.system.own_files import open_unlinked


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A picture to record, (H, W, 3) uint8 BGR, which nobody changes.

    moment_s: its place in time, from any start. wall_s: Unix seconds. fps: of the source. vehicles: how many it shows.
    record: its line of JSON.
    """

    image: Image
    moment_s: float
    wall_s: float
    fps: float
    vehicles: int
    record: bytes


class Segment:
    """A video with a constant rate in which each picture stands within one picture of its capture time.

    Where pictures are missing, the last one is repeated; where they come faster than the rate, some are left out. So
    the length of the video is the time from its first picture to its last one, and one picture more.
    """

    def __init__(self, encoder: Encoder, stream: Stream, start_s: float, records: Path | None) -> None:
        """records: of a file that gets the records, or None. OSError where that cannot be made."""
        self.path = stream.path
        self.start_s = start_s
        self.last_s = start_s
        self._encoder = encoder
        self._fps = stream.fps
        self._size = stream.size
        self._written = 0
        self._last: Image | None = None
        self._records: io.FileIO | None = None
        if records:
            try:
                descriptor = open_unlinked(records, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                self._records = open(descriptor, "ab", buffering=0)  # noqa: SIM115 - stays open until close
            except OSError:
                encoder.close(0)
                raise

    @property
    def end_s(self) -> float:
        """The moment up to which the video lasts."""
        return self.start_s + self._written / self._fps

    def add(self, shot: Shot) -> None:
        """Appends a picture and its record. OSError where one of them cannot be written."""
        self.fill(shot.moment_s)
        self.last_s = shot.moment_s
        image = fitted(shot.image, self._size)
        if (shot.moment_s - self.start_s) * self._fps > self._written - 1:
            self._put(image)
        self._last = image
        if self._records and self._records.write(shot.record) != len(shot.record):
            raise OSError(errno.ENOSPC, "No space left on device")

    def fill(self, moment_s: float) -> None:
        """Repeats the last picture until the video lasts up to a picture before this moment."""
        while self._last is not None and (moment_s - self.start_s) * self._fps >= self._written + 1:
            self._put(self._last)

    def _put(self, image: Image) -> None:
        self._encoder.write(image)
        self._written += 1

    def close(self, wait_s: float) -> bool:
        """Ends the files. Waits up to wait_s for the video, and says whether it is finished; may be repeated."""
        if self._records:
            with suppress(OSError):  # what a full disk says here it has said before
                self._records.close()
        return self._encoder.close(wait_s)


def even(size: tuple[int, int]) -> tuple[int, int]:
    """A size whose odd sides are cut by a pixel: H.264 players want even ones."""
    return max(size[0] // 2 * 2, 2), max(size[1] // 2 * 2, 2)


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """The picture with this width and height, contiguous: cut by a pixel, or scaled."""
    width, height = size
    if (image.shape[1] // 2 * 2, image.shape[0] // 2 * 2) == size:
        image = image[:height, :width]
    elif (image.shape[1], image.shape[0]) != size:
        image = np.asarray(cv2.resize(image, size), np.uint8)
    return np.ascontiguousarray(image)
