"""The annotated run as a video file (--record), or in a window (--show)."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from loguru import logger

from perception.errors import SettingsError
from perception.frame import Report
from perception.reporting.annotate import annotate
from perception.reporting.encoder import Encoder, open_encoder
from perception.reporting.writable import check_writable

FALLBACK_FPS = 25.0
"""At which a video plays whose source does not tell its rate."""

# An .mp4 whose index could not be written at its end plays nowhere, so a recording ends while there is room for it.
RESERVE_BYTES = 32 * 2**20


class VideoSink:
    """Writes each annotated frame to an .mp4. The first frame gives the size and the rate; others are scaled to it.

    Where the disk is about to be full, the video ends with a warning, and the run goes on.
    """

    def __init__(self, path: Path) -> None:
        """Raises SettingsError for a path that cannot be written."""
        if path.suffix.lower() != ".mp4":
            raise SettingsError(f"--record {path}: the name must end in .mp4")
        check_writable("--record", path)
        self._path = path
        self._encoder: Encoder | None = None
        self._size = (0, 0)
        self._ended = False

    def write(self, report: Report) -> None:
        """Appends one frame."""
        if self._ended:
            return
        if not self._has_room():
            self._end(f"The disk of {self._path} is full")
            return
        image = annotate(report)
        if self._encoder is None:
            self._size = (image.shape[1], image.shape[0])
            self._encoder = open_encoder(self._path, report.frame.fps or FALLBACK_FPS, self._size)
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size), np.uint8)
        try:
            self._encoder.write(image)
        except OSError as error:
            self._end(f"{self._path} cannot be written any more ({error.strerror})")

    def _end(self, reason: str) -> None:
        logger.warning(f"{reason}: the video ends here, the run goes on")
        self._ended = True
        self.close()

    def _has_room(self) -> bool:
        try:
            return shutil.disk_usage(self._path.parent).free >= RESERVE_BYTES
        except OSError:
            return False

    def close(self) -> None:
        """Finishes the file."""
        if self._encoder is not None:
            encoder, self._encoder = self._encoder, None
            encoder.close()


class WindowSink:
    """Shows each annotated frame. `closed` turns true when the user presses q or Esc, or closes the window."""

    TITLE = "vehicle pilot"

    def __init__(self) -> None:
        """Raises SettingsError where no window can be shown."""
        if any(words[:2] == ["GUI:", "NONE"] for words in map(str.split, cv2.getBuildInformation().splitlines())):
            raise SettingsError(
                "--show needs a window, and this OpenCV is a headless build",
                "Use --record out.mp4, or an OpenCV with a window (opencv-python, or the system's python3-opencv).",
            )
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise SettingsError(
                "--show needs a display, and there is none (DISPLAY is not set)", "Use --record out.mp4."
            )
        self.closed = False

    def write(self, report: Report) -> None:
        """Shows one frame."""
        cv2.imshow(self.TITLE, annotate(report))
        pressed = cv2.waitKey(1) & 0xFF
        self.closed = pressed in (ord("q"), 27) or cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) < 1

    def close(self) -> None:
        """Closes the window."""
        cv2.destroyAllWindows()
