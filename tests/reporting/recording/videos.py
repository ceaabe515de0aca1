"""Reports to record, and what a video holds."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2

from perception.core.frame import Frame, Image
from perception.core.results import Report
from perception.reporting.recording.recorder import Recorder
from perception.settings.model import RecordSettings
from tests.doubles.fakes import make_image, make_report
from tests.needs import path_of
from tests.processes import children, command_name


def report(
    value: int = 100,
    height: int = 48,
    width: int = 64,
    frame_id: int = 0,
    vehicles: int = 0,
    fps: float = 25.0,
    at: float | None = None,
) -> Report:
    """A grey frame of a finite source; with `at` one of a live source, captured at that second."""
    frame = Frame(make_image(value, height, width), frame_id, at or 0.0, "x", None, fps, at is not None)
    return replace(make_report(vehicles=vehicles), frame=frame)


def pictures(path: Path) -> list[Image]:
    """Every picture of a video; none where it does not play."""
    capture = cv2.VideoCapture(str(path))
    found: list[Image] = []
    while True:
        read, image = capture.read()
        if not read:
            capture.release()
            return found
        found.append(image)  # type: ignore[arg-type]


def greys(path: Path) -> list[float]:
    """The grey of each picture, away from what is written into it."""
    return [float(image[20:30, 40:60].mean()) for image in pictures(path)]


def length_s(path: Path) -> float:
    """Return the length that a player says the video has. The test needs("ffprobe")."""
    command = [path_of("ffprobe"), "-v", "error", "-of", "json", "-show_entries", "format=duration", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=20).stdout)
    return float(found["format"]["duration"])


def segments(folder: Path) -> list[Path]:
    """The videos of a folder, oldest first."""
    return sorted(folder.glob("*.mp4"), key=lambda path: (path.stem[:16], int(path.stem[17:] or 0)))


def records(video: Path) -> list[dict[str, Any]]:
    """The records beside a segment."""
    return [json.loads(line) for line in video.with_suffix(".jsonl").read_text().splitlines()]


def recorder(path: Path, clean: bool = False, overwrite: bool = False) -> Recorder:
    return Recorder(RecordSettings(path=path, clean=clean, overwrite=overwrite))


def encoders() -> list[int]:
    """The encoders among the children of this process."""
    return [child for child in children(os.getpid()) if command_name(child).startswith(("ffmpeg", "gst-launch"))]
