"""The annotated run as a video file (--record), or in a window (--show)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
from loguru import logger

from perception.errors import SettingsError
from perception.frame import Report
from perception.quiet import quiet_opencv
from perception.reporting.annotate import annotate

# H.264 where this OpenCV can write it, since browsers play it; else MPEG-4 Part 2, which players on a desk do.
CODECS = ("avc1", "mp4v")


class VideoSink:
    """Writes each annotated frame to an .mp4. The first frame gives the size; others are scaled to it."""

    def __init__(self, path: Path, fps: float = 25.0) -> None:
        """fps: at which the file plays. Raises SettingsError for a path that cannot be written."""
        if path.suffix.lower() != ".mp4":
            raise SettingsError(f"--record {path}: the name must end in .mp4")
        if not path.parent.is_dir():
            raise SettingsError(f"--record {path}: the folder {path.parent} does not exist", "Create it first.")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise SettingsError(f"--record {path} cannot be written by this user")
        self._path = path
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, report: Report) -> None:
        """Appends one frame."""
        image = annotate(report)
        if self._writer is None:
            self._size = (image.shape[1], image.shape[0])
            self._writer = self._open()
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size)  # type: ignore[assignment]
        self._writer.write(image)

    def _open(self) -> cv2.VideoWriter:
        for codec in CODECS:
            code = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]
            with quiet_opencv():
                writer = cv2.VideoWriter(str(self._path), code, self._fps, self._size)
            if writer.isOpened():
                browser = "" if codec == "avc1" else ": browsers do not play it, VLC and mpv do"
                logger.info(f"Recording to {self._path} ({codec}{browser})")
                return writer
        raise SettingsError(f"--record {self._path}: this OpenCV cannot write an .mp4", "Leave --record out.")

    def close(self) -> None:
        """Finishes the file."""
        if self._writer is not None:
            self._writer.release()


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
