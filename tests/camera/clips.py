"""Small videos and images whose pictures carry their own number in black and white bars."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from perception.app.stream import open_source
from perception.camera.capture import Capture
from perception.camera.reader import Reader
from perception.core.errors import EndOfStream
from perception.core.frame import Frame, Image
from perception.settings.model import SourceSettings
from tests.needs import path_of

BITS = 10
BAR_PX = 16


def numbered(number: int) -> Image:
    """A picture of ten bars: bar b is white where bit b of the number is set."""
    image = np.zeros((96, BITS * BAR_PX, 3), np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            image[:, bit * BAR_PX : (bit + 1) * BAR_PX] = 255
    return image


def number_of(image: Image) -> int:
    """The number that `numbered` drew, also after a lossy codec."""
    centres = image[48, BAR_PX // 2 :: BAR_PX].mean(axis=1)
    return sum(1 << bit for bit in range(BITS) if centres[bit] > 127)


def write_clip(path: Path, count: int, fps: float = 25) -> Path:
    """A video of `count` numbered pictures."""
    size = (BITS * BAR_PX, 96)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)  # type: ignore[attr-defined]
    assert writer.isOpened()
    for number in range(count):
        writer.write(numbered(number))
    writer.release()
    return path


def cut_short(clip: Path, target: Path, share: float) -> Path:
    """The first part of a clip whose index lies at its front, so that what is left can still be played.

    The test needs("ffmpeg").
    """
    whole = target.with_name("index_first.mp4")
    command = [path_of("ffmpeg"), "-v", "error", "-i", str(clip), "-c", "copy", "-movflags", "faststart", str(whole)]
    subprocess.run(command, check=True)
    data = whole.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


@contextmanager
def opened(uri: str, **settings: object) -> Iterator[Reader]:
    """A source that is open, and closed again afterwards."""
    reader = open_source(SourceSettings.model_validate({"uri": uri, **settings}))
    try:
        assert reader.is_open(20)
        yield reader
    finally:
        assert reader.close(), "the reader's thread did not end"


def drain(reader: Reader, limit: int = 10_000, pause_s: float = 0) -> list[Frame]:
    """Every frame until the end of the stream, or `limit` of them; pause_s: what the consumer takes for each."""
    frames: list[Frame] = []
    while len(frames) < limit:
        try:
            frame = reader.read(5)
        except EndOfStream:
            return frames
        assert frame is not None, "nothing came for 5 s"
        frames.append(frame)
        time.sleep(pause_s)
    return frames


def numbers_of(capture: Capture, limit: int = 10_000) -> list[int]:
    """The numbers of a capture's pictures until it ends, or `limit` of them."""
    found: list[int] = []
    while len(found) < limit:
        try:
            picture = capture.read()
        except EndOfStream:
            return found
        assert picture is not None
        found.append(number_of(picture.image))
    return found
