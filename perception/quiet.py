"""Keeps OpenCV's own warnings off stderr where the pilot says the same in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

SILENT = 0
"""OpenCV's LOG_LEVEL_SILENT."""


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silences OpenCV's and FFmpeg's messages within the block; FFmpeg's stay off, unless its variable is set."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Of OpenCV 4.5 to 5.0 some have these two in a module of their own, some at the top, and some not at all.
    logging: Any = getattr(getattr(cv2, "utils", None), "logging", cv2)
    if not (hasattr(logging, "getLogLevel") and hasattr(logging, "setLogLevel")):
        yield
        return
    level = logging.getLogLevel()
    logging.setLogLevel(SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
