"""The annotated run in a window (--show)."""

from __future__ import annotations

import os
import sys

import cv2

from perception.core.errors import SettingsError
from perception.core.frame import Report
from perception.reporting.annotate import annotate


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
        """Show one frame."""
        cv2.imshow(self.TITLE, annotate(report))
        pressed = cv2.waitKey(1) & 0xFF
        self.closed = pressed in (ord("q"), 27) or cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) < 1

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()
