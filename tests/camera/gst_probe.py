"""Reads a source with the Python of a venv with system site packages, and prints what it got as JSON.

python -m tests.camera.gst_probe '{"source": {"uri": "gst:..."}, "frames": 10, "locks": "/run/lock"}', from the root of
the project.
`until`: reads on until a logged line holds this text. `jetson`: an RTSP source goes through the pipeline of a Jetson,
with its hardware converter replaced by one that any desk has. `locks`: the folder of the locks of cameras.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from loguru import logger

from perception.app.stream import open_source, wait_until_open
from perception.camera import exclusive, gstreamer, opencv, outage
from perception.core.errors import EndOfStream, SourceError
from perception.core.frame import Frame
from perception.settings.model import SourceSettings
from perception.system.stop import StopFlag


def probe(task: dict[str, Any]) -> dict[str, Any]:
    """Return the output of the source: frames, the fault or end, and every logged line."""
    logged: list[str] = []
    logger.remove()
    logger.add(lambda text: logged.append(text.strip()), format="{message}")
    outage.BACKOFF_S = (0.05, 0.1)
    exclusive.FOLDER = Path(task["locks"])
    if task.get("jetson"):
        setattr(opencv, "is_jetson", lambda: True)  # noqa: B010
        gstreamer.TO_BGR = gstreamer.TO_BGR.replace("nvvidconv", "videoconvert")
    settings = SourceSettings.model_validate(task["source"])
    frames: list[dict[str, Any]] = []
    fault = ""
    reader = open_source(settings)
    try:
        wait_until_open(reader, StopFlag())
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not _done(task, frames, logged):
            frame = reader.read(0.1)
            if frame is not None:
                frames.append(_told(frame))
    except (SourceError, EndOfStream) as end:
        fault = str(end) or type(end).__name__
    closed = reader.close()
    gst = opencv.has_gstreamer()
    return {"gstreamer": gst, "frames": frames, "fault": fault, "logged": logged, "closed": closed}


def _done(task: dict[str, Any], frames: list[dict[str, Any]], logged: list[str]) -> bool:
    if "until" in task:
        return any(task["until"] in line for line in logged)
    return len(frames) >= int(task["frames"])


def _told(frame: Frame) -> dict[str, Any]:
    shape = [*frame.image.shape, str(frame.image.dtype)]
    age_s = time.monotonic() - frame.captured_at
    return {"id": frame.frame_id, "shape": shape, "age_s": age_s, "source": frame.source}


if __name__ == "__main__":
    print(json.dumps(probe(json.loads(sys.argv[1]))), flush=True)
    os._exit(0)  # a pipeline may hang in its thread
