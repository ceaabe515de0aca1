"""Encoders of this machine that write pictures into an .mp4: hardware first, then libx264, then OpenCV's."""

from __future__ import annotations

import errno
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
from loguru import logger

from perception.core.frame import Image
from perception.reporting.recording.commands import Stream, ffmpeg_command, hardware_pipeline, software_pipeline
from perception.system.opencv_process import prepare_opencv

# NVENC by the names of JetPack 6 and 5. The Orin Nano has none, but the element that would use it.
NVENC_NODES = (Path("/dev/v4l2-nvenc"), Path("/dev/nvhost-msenc"))
FEED_BYTES, FEED_PICTURES = 64 * 2**20, 50
"""The most that waits for an encoder process, which takes a moment to start. A kill of the pilot loses it."""
STUCK_S = 10.0
"""An encoder that takes no picture for this long is given up."""
PROBE_S = 20.0
"""GStreamer reads all its plugins again after an update."""
NICENESS = 10


class Encoder(Protocol):
    """An .mp4 that is being written. Pictures are (H, W, 3) uint8 BGR of the size it was opened with."""

    def write(self, image: Image) -> None:
        """Append one picture, which must not change afterwards. OSError where it cannot be written any more."""
        ...

    def close(self, wait_s: float) -> bool:
        """End the file. Waits up to wait_s for it; True if it is finished. May be repeated."""
        ...


class Kind(NamedTuple):
    """A way to encode. title: for the log."""

    title: str
    open: Callable[[Stream], Encoder]


class PipeEncoder:
    """A program that is fed raw pictures by a thread, at low priority, in a session of its own.

    A session of its own: a Ctrl-C at the terminal is the pilot's, which ends the stream, and the program its file. It
    finishes the file also where the pilot was killed, unless it was killed, too.
    """

    def __init__(self, command: list[str], stream: Stream) -> None:
        self._path = stream.path
        self._process = subprocess.Popen(  # noqa: S603 - a program of the system, its arguments made by us
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        try:
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
        except OSError as error:
            logger.debug(f"The encoder runs at normal priority: {error}")
        waiting = min(max(FEED_BYTES // (stream.size[0] * stream.size[1] * 3), 2), FEED_PICTURES)
        self._pictures: queue.Queue[Image | None] = queue.Queue(waiting)
        self._fault: OSError | None = None
        self._told = False
        self._closed = False
        self._thread = threading.Thread(target=self._feed, name="encoder", daemon=True)
        self._thread.start()

    def write(self, image: Image) -> None:
        """See Encoder. Waits where the program is slower."""
        if self._fault:
            self._told = True
            raise self._fault
        try:
            self._pictures.put(image, timeout=STUCK_S)
        except queue.Full:
            self._told = True
            self._process.kill()
            raise OSError(errno.ETIMEDOUT, "the encoder takes no more pictures") from None

    def _feed(self) -> None:
        assert self._process.stdin
        with self._process.stdin as pipe:
            while (image := self._pictures.get()) is not None:
                if self._fault is None:
                    try:
                        rest = image.data.cast("B")
                        while rest:
                            rest = rest[pipe.write(rest) :]
                    except OSError as error:
                        self._fault = error
        if self._process.wait() and not self._told:
            logger.warning(f"The encoder ended with {self._process.returncode}: {self._path} may not play")

    def close(self, wait_s: float) -> bool:
        """See Encoder."""
        if not self._closed:
            self._closed = True
            try:
                self._pictures.put(None, timeout=STUCK_S)
            except queue.Full:
                self._process.kill()  # the feeding thread then fails, and takes what is left
                self._pictures.put(None)
        self._thread.join(wait_s)
        return not self._thread.is_alive()


class OpenCvEncoder:
    """An encoder of OpenCV's. A kill loses the file: its index comes last."""

    def __init__(self, writer: cv2.VideoWriter) -> None:
        self._writer = writer

    def write(self, image: Image) -> None:
        """See Encoder."""
        self._writer.write(image)

    def close(self, wait_s: float) -> bool:
        """See Encoder."""
        self._writer.release()
        return True


class Encoders:
    """The ways to encode that have not failed."""

    def __init__(self, kinds: list[Kind]) -> None:
        self._kinds = kinds
        self._told = ""

    def open(self, stream: Stream, place: Path) -> Encoder:
        """Return an encoder of the best kind. OSError where there is none."""
        while True:
            try:
                encoder = self._kinds[0].open(stream)
            except OSError:
                if not self.give_up_best():
                    raise
            else:
                break
        if self._kinds[0].title != self._told:
            self._told = self._kinds[0].title
            logger.info(f"Recording to {place} ({self._told})")
        return encoder

    def give_up_best(self) -> bool:
        """Take the next kind from here on. False where there is no other."""
        if len(self._kinds) < 2:
            return False
        failed = self._kinds.pop(0)
        if failed.title == self._told:
            logger.warning(f"The encoder does not work: {failed.title}")
        return True


def find_encoders() -> list[Kind]:
    """Return every way that this machine seems to have, best first. Asks other programs: takes up to some seconds."""
    return list(_kinds())


def _kinds() -> Iterator[Kind]:
    launch, inspect, ffmpeg = map(shutil.which, ("gst-launch-1.0", "gst-inspect-1.0", "ffmpeg"))
    if launch and inspect and any(node.exists() for node in NVENC_NODES) and _succeeds(inspect, "nvv4l2h264enc"):
        yield Kind("H.264 by the hardware encoder", _launcher(launch, hardware_pipeline))
    if ffmpeg and b" libx264 " in _said_by(ffmpeg, "-v", "error", "-encoders"):
        yield Kind("H.264", lambda stream: PipeEncoder(ffmpeg_command(ffmpeg, stream), stream))
    if launch and inspect and all(_succeeds(inspect, name) for name in ("x264enc", "rawvideoparse", "mp4mux")):
        yield Kind("H.264 by GStreamer", _launcher(launch, software_pipeline))
    yield Kind("H.264 by OpenCV; a kill loses the newest file", lambda stream: _open_with_opencv("avc1", stream))
    no_browser = "MPEG-4: browsers do not play it, VLC and mpv do, and a kill loses the newest file; ffmpeg would help"
    yield Kind(no_browser, lambda stream: _open_with_opencv("mp4v", stream))


def _launcher(program: str, pipeline: Callable[[Stream], list[str]]) -> Callable[[Stream], Encoder]:
    return lambda stream: PipeEncoder([program, "-q", *pipeline(stream)], stream)


def _open_with_opencv(codec: str, stream: Stream) -> Encoder:
    prepare_opencv(cv2)
    code = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(stream.path), code, stream.fps, stream.size)
    if not writer.isOpened():
        raise OSError(errno.EPIPE, f"this OpenCV cannot write {codec}")
    return OpenCvEncoder(writer)


def _succeeds(inspect: str, element: str) -> bool:
    return _ask(inspect, "--exists", element)[0] == 0


def _said_by(*command: str) -> bytes:
    return _ask(*command)[1]


def _ask(*command: str) -> tuple[int, bytes]:
    """Return exit code and stdout of a program of the system; a Ctrl-C at the terminal is not for it."""
    try:
        done = subprocess.run(  # noqa: S603 - its arguments are made here
            command, capture_output=True, timeout=PROBE_S, check=False, start_new_session=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return -1, b""
    return done.returncode, done.stdout
