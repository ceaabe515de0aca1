"""Keeps OpenCV's own messages off stderr: the pilot says the same in one sentence, and without credentials."""

from __future__ import annotations

import os
from typing import Any

import cv2

SILENT = 0
"""OpenCV's LOG_LEVEL_SILENT."""


def silence_opencv() -> None:
    """Silences OpenCV for the rest of the process, and FFmpeg in it, unless its variable is set.

    For good, because the level belongs to the process: of two threads that set it and put it back, one may put back the
    silence of the other. A pipeline also speaks while it is read, and may show its password then.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Of OpenCV 4.5 to 5.0 some have this in a module of its own, some at the top, and some not at all.
    logging: Any = getattr(getattr(cv2, "utils", None), "logging", cv2)
    if hasattr(logging, "setLogLevel"):
        logging.setLogLevel(SILENT)
