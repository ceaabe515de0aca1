"""Sets what OpenCV keeps for the whole process. The caller hands in its cv2, which is not imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

SILENT = 0
"""OpenCV's LOG_LEVEL_SILENT."""
NOTHING: Mapping[str, str] = MappingProxyType({})


def prepare_opencv(cv2: Any, variables: Mapping[str, str] = NOTHING) -> None:
    """Silence OpenCV and the FFmpeg in it, and set `variables`, which it reads from the environment alone.

    A variable that the user has set stays. The pilot says what OpenCV would, in one sentence and without credentials.
    For good, because the level belongs to the process: of two threads that set it and put it back, one may put back the
    silence of the other. A pipeline also speaks while it is read, and may show its password then.
    """
    for name, value in {"OPENCV_FFMPEG_LOGLEVEL": "-8", **variables}.items():
        os.environ.setdefault(name, value)
    # Of OpenCV 4.5 to 5.0 some have this in a module of its own, some at the top, and some not at all.
    logging: Any = getattr(getattr(cv2, "utils", None), "logging", cv2)
    if hasattr(logging, "setLogLevel"):
        logging.setLogLevel(SILENT)
