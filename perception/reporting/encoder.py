"""Writes pictures into an .mp4: H.264 by the ffmpeg program or by OpenCV where they can, since browsers play it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Protocol

import cv2
from loguru import logger

from perception.errors import SettingsError
from perception.frame import Image
from perception.quiet import quiet_opencv

# Then MPEG-4 Part 2, which players on a desk play and browsers do not.
CODECS = ("avc1", "mp4v")
FINISH_S = 1.5


class Encoder(Protocol):
    """An .mp4 that is being written."""

    def write(self, image: Image) -> None:
        """Appends one picture. OSError where it cannot be written any more."""
        ...

    def close(self) -> None:
        """Finishes the file."""
        ...


class FfmpegEncoder:
    """H.264 through the ffmpeg program, fed by a pipe."""

    def __init__(self, program: str, path: Path, fps: float, size: tuple[int, int]) -> None:
        """size: width and height in pixels; odd ones are cut by a pixel, since H.264 players want even ones."""
        self._path = path
        width, height = size
        raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-"]
        even = ["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p"]
        h264 = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-movflags", "+faststart"]
        self._process = subprocess.Popen(  # noqa: S603 - a program of the system, its arguments made here
            [program, "-v", "error", "-nostdin", "-y", *raw, *even, *h264, str(path.absolute())],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal is ours: we end the stream, and ffmpeg its file
        )

    def write(self, image: Image) -> None:
        """See Encoder."""
        assert self._process.stdin
        self._process.stdin.write(image.tobytes())

    def close(self) -> None:
        """See Encoder. An ffmpeg that needs longer than 1.5 s goes on by itself."""
        assert self._process.stdin
        try:
            self._process.stdin.close()
        except OSError as error:
            logger.debug(f"ffmpeg took no more: {error}")
        try:
            if self._process.wait(FINISH_S):
                logger.warning(f"ffmpeg ended with {self._process.returncode}: {self._path} may not play")
        except subprocess.TimeoutExpired:
            logger.debug("ffmpeg has not finished its file yet")


class OpenCvEncoder:
    """What OpenCV can write: H.264 in some builds, MPEG-4 Part 2 in all."""

    def __init__(self, writer: cv2.VideoWriter) -> None:
        self._writer = writer

    def write(self, image: Image) -> None:
        """See Encoder."""
        self._writer.write(image)

    def close(self) -> None:
        """See Encoder."""
        self._writer.release()


def open_encoder(path: Path, fps: float, size: tuple[int, int]) -> Encoder:
    """The best encoder that this machine has, named in the log. SettingsError where it has none."""
    program = shutil.which("ffmpeg")
    if program and _has_libx264(program):
        logger.info(f"Recording to {path} (H.264)")
        return FfmpegEncoder(program, path, fps, size)
    for codec in CODECS:
        code = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]
        with quiet_opencv():
            writer = cv2.VideoWriter(str(path), code, fps, size)
        if writer.isOpened():
            browser = (
                "H.264" if codec == "avc1" else "MPEG-4: browsers do not play it, VLC and mpv do; ffmpeg would help"
            )
            logger.info(f"Recording to {path} ({browser})")
            return OpenCvEncoder(writer)
    raise SettingsError(f"--record {path}: this OpenCV cannot write an .mp4", "Install ffmpeg, or leave --record out.")


def _has_libx264(program: str) -> bool:
    try:
        listed = subprocess.run(  # noqa: S603 - a program of the system
            [program, "-v", "error", "-encoders"], capture_output=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b" libx264 " in listed
