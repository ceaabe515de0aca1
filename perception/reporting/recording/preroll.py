"""The seconds before a vehicle: pictures kept as JPEG in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from perception.reporting.recording.segment import Shot

MAX_BYTES = 64 * 2**20
"""As JPEG, a 720p picture of a road takes 0.1 to 0.2 MB: this is some ten seconds at 30 fps."""
QUALITY = 92
_NO_IMAGE = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    shot: Shot  # without its image
    jpeg: npt.NDArray[np.uint8]


class PreRoll:
    """The shots of the last keep_s seconds, fewer where they take more than max_bytes."""

    def __init__(self, keep_s: float, max_bytes: int = MAX_BYTES) -> None:
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._kept: deque[_Kept] = deque()
        self.bytes = 0

    def add(self, shot: Shot) -> None:
        """Keeps a shot, and forgets what is too old."""
        if self._keep_s == 0:
            return
        _, jpeg = cv2.imencode(".jpg", shot.image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        self._kept.append(_Kept(replace(shot, image=_NO_IMAGE), np.asarray(jpeg, np.uint8)))
        self.bytes += jpeg.nbytes
        while self.bytes > self._max_bytes or self._kept[0].shot.moment_s < shot.moment_s - self._keep_s:
            self.bytes -= self._kept.popleft().jpeg.nbytes
            if not self._kept:
                return

    def take(self) -> Iterator[Shot]:
        """Gives up each shot, oldest first."""
        while self._kept:
            kept = self._kept.popleft()
            self.bytes -= kept.jpeg.nbytes
            yield replace(kept.shot, image=np.asarray(cv2.imdecode(kept.jpeg, cv2.IMREAD_COLOR), np.uint8))
