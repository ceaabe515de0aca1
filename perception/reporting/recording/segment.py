"""One video that is being written, with its records beside it; and the frames that wait in memory to go into one."""

from __future__ import annotations

import errno
import io
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from perception.core.frame import Image
from perception.reporting.recording.commands import Stream
from perception.reporting.recording.encoder import Encoder
from perception.system.own_files import open_unlinked

MAX_BYTES = 64 * 2**20
"""As JPEG, a 720p picture of a road takes 0.1 to 0.2 MB: this is some ten seconds at 30 fps."""
QUALITY = 92
_NO_IMAGE = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFrame:
    """A frame to record. image: (H, W, 3) uint8 BGR, which nobody changes.

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
        self.size = stream.size
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
        """Return the moment up to which the video lasts."""
        return self.start_s + self._written / self._fps

    def add(self, frame: RecordedFrame) -> None:
        """Append a frame and its record. OSError where one of them cannot be written."""
        self.fill(frame.moment_s)
        self.last_s = frame.moment_s
        image = fitted(frame.image, self.size)
        if (frame.moment_s - self.start_s) * self._fps > self._written - 1:
            self._put(image)
        self._last = image
        if self._records and self._records.write(frame.record) != len(frame.record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(self, moment_s: float) -> None:
        """Repeat the last picture until the video lasts up to a picture before this moment."""
        while self._last is not None and (moment_s - self.start_s) * self._fps >= self._written + 1:
            self._put(self._last)

    def _put(self, image: Image) -> None:
        self._encoder.write(image)
        self._written += 1

    def close(self, wait_s: float) -> bool:
        """End the files. Waits up to wait_s for the video; True if it is finished. May be repeated."""
        if self._records:
            with suppress(OSError):  # what a full disk says here it has said before
                self._records.close()
        return self._encoder.close(wait_s)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    frame: RecordedFrame  # without its image
    jpeg: npt.NDArray[np.uint8]


class PreRoll:
    """The frames of the last keep_s seconds, fewer where they take more than max_bytes."""

    def __init__(self, keep_s: float, max_bytes: int = MAX_BYTES) -> None:
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._kept: deque[_Kept] = deque()
        self.bytes = 0

    def add(self, frame: RecordedFrame) -> None:
        """Keep a frame, and forget what is too old."""
        if self._keep_s == 0:
            return
        _, jpeg = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        self._kept.append(_Kept(replace(frame, image=_NO_IMAGE), np.asarray(jpeg, np.uint8)))
        self.bytes += jpeg.nbytes
        while self.bytes > self._max_bytes or self._kept[0].frame.moment_s < frame.moment_s - self._keep_s:
            self.bytes -= self._kept.popleft().jpeg.nbytes
            if not self._kept:
                return

    def take(self) -> Iterator[RecordedFrame]:
        """Give up each frame, oldest first."""
        while self._kept:
            kept = self._kept.popleft()
            self.bytes -= kept.jpeg.nbytes
            yield replace(kept.frame, image=np.asarray(cv2.imdecode(kept.jpeg, cv2.IMREAD_COLOR), np.uint8))


def even(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size with odd sides cut by a pixel: H.264 players want even ones."""
    return max(size[0] // 2 * 2, 2), max(size[1] // 2 * 2, 2)


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """Return the image with this width and height, contiguous: cut by a pixel, or scaled."""
    width, height = size
    if (image.shape[1] // 2 * 2, image.shape[0] // 2 * 2) == size:
        image = image[:height, :width]
    elif (image.shape[1], image.shape[0]) != size:
        image = np.asarray(cv2.resize(image, size), np.uint8)
    return np.ascontiguousarray(image)
