"""Cameras through OpenCV: set, read back, refuse the difference."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
from loguru import logger

from perception.camera import gstreamer
from perception.camera.capture import Borrower, Picture, UnusableSource
from perception.camera.exclusive import lock_camera
from perception.camera.picture_file import MAX_PIXELS
from perception.camera.uri import SourceUri
from perception.core.errors import SourceError
from perception.core.redact import redact_value
from perception.settings.model import SourceSettings
from perception.system.jetson import is_jetson
from perception.system.lock import Lock
from perception.system.opencv_process import NOTHING, prepare_opencv
from perception.system.reasons import lack_of_memory

BACKLOG_S = 5.0
"""FFmpeg examines a stream for so long at most (analyzeduration)."""


def open_capture(
    target: str, api: int, parameters: Sequence[int] = (), variables: Mapping[str, str] = NOTHING
) -> cv2.VideoCapture | None:
    """Return an open VideoCapture, or None where it does not open. variables: as prepare_opencv takes them.

    Raises UnusableSource for pictures that are too large to be decoded.
    """
    prepare_opencv(cv2, variables)
    try:
        capture = cv2.VideoCapture(target, api, list(parameters)) if parameters else cv2.VideoCapture(target, api)
    except cv2.error as error:
        if lack_of_memory(error):
            raise
        logger.debug(f"OpenCV: {error}")
        return None
    if not capture.isOpened():
        capture.release()
        return None
    width, height = _size_of(capture)
    if width * height > MAX_PIXELS:
        capture.release()
        raise UnusableSource(
            f"{redact_value(target)} is {width}x{height} pixels large, of {MAX_PIXELS:,} at most, and is not decoded",
            "Scale it down.",
        )
    return capture


def _size_of(capture: cv2.VideoCapture) -> tuple[int, int]:
    """Return width and height in pixels, as the driver or the file says."""
    width, height = (int(capture.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    return width, height


def rate_of(capture: cv2.VideoCapture) -> float:
    """Return the nominal frame rate; 0 where it is unknown, as drivers and files then report nonsense."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= 1000 else 0.0


def summary_of(capture: cv2.VideoCapture) -> str:
    """Return size and rate in one phrase."""
    width, height = _size_of(capture)
    rate = rate_of(capture)
    return f"{width}x{height}" + (f" at {rate:g} fps" if rate else "")


class Camera(Borrower):
    """A live source that OpenCV reads. A picture is stamped as soon as it is grabbed, before it is converted."""

    def __init__(
        self, capture: cv2.VideoCapture, uri: SourceUri, lock: Lock | None = None, clocked: bool = False
    ) -> None:
        """lock: released with the camera. clocked: the position in its stream is one of each picture's own."""
        super().__init__()
        self._capture = capture
        self._uri = uri
        self._lock = lock
        self._clocked = clocked
        self.summary = summary_of(capture)
        self.fps = rate_of(capture)

    def read(self) -> Picture | None:
        """Return the next picture; None for one that cannot be decoded. SourceError when the camera gives no more."""
        if not self._capture.grab():
            raise SourceError(f"{self._uri.label} gives no more pictures")
        captured_at = time.monotonic()
        position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC) if self._clocked else None
        found, image = self._capture.retrieve(self.borrowed())
        if not found or image is None:
            return None
        self.note_size(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UnusableSource(
                f"{self._uri.label} gives {image.dtype} pictures of shape {image.shape}, not BGR of 8 bits: "
                "put `videoconvert ! video/x-raw,format=BGR` before its appsink"
            )
        return Picture(image, captured_at, position_ms=position_ms)

    def close(self) -> None:
        """Release the camera and its lock."""
        self._capture.release()
        if self._lock:
            self._lock.release()


def open_v4l2(uri: SourceUri, settings: SourceSettings) -> Camera:
    """Open a USB camera and read each setting back. SourceError names both values where they differ."""
    device = Path(uri.target)
    if not device.exists():
        found = sorted(str(path) for path in Path("/dev").glob("video*"))
        raise SourceError(
            f"There is no camera at {device}",
            f"Found: {', '.join(found) or 'none at all'}. Without a camera: make demo",
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(
            f"This user may not open {device}", "Join its group: sudo usermod -aG video $USER; log in again."
        )
    variables = {"OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": str(max(round(settings.stall_s), 1))}
    with _released_on_fault(lock_camera(uri, device)) as lock:
        capture = open_capture(str(device), cv2.CAP_V4L2, (), variables)
        if capture is None:
            raise SourceError(
                f"{device} did not open: it is in use, or no camera",
                f"See who holds it: fuser -v {device}. No camera? make demo",
            )
        with _released_on_fault(capture):
            _set_and_read_back(capture, uri)
    return Camera(capture, uri, lock)


class _Releasable(Protocol):
    def release(self) -> None: ...


R = TypeVar("R", bound=_Releasable)


@contextmanager
def _released_on_fault(held: R) -> Iterator[R]:
    try:
        yield held
    except BaseException:
        held.release()
        raise


def _set_and_read_back(capture: cv2.VideoCapture, uri: SourceUri) -> None:
    wanted = dict(uri.options)
    if "format" in wanted:
        code = cv2.VideoWriter_fourcc(*wanted["format"])  # type: ignore[attr-defined]
        capture.set(cv2.CAP_PROP_FOURCC, code)
    properties = {"width": cv2.CAP_PROP_FRAME_WIDTH, "height": cv2.CAP_PROP_FRAME_HEIGHT, "fps": cv2.CAP_PROP_FPS}
    for name, number in properties.items():
        if name in wanted:
            capture.set(number, wanted[name])
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # not every driver obeys; the mailbox drops old ones anyway
    got: dict[str, object] = {name: capture.get(number) for name, number in properties.items()}
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    got["format"] = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24))
    refuse_difference(uri, wanted, got)


def refuse_difference(uri: SourceUri, wanted: dict[str, object], got: dict[str, object]) -> None:
    """Raise SourceError for the first setting that the camera did not take, naming both values."""
    for name, value in wanted.items():
        actual = got[name]
        same = (
            abs(actual - value) < 0.5
            if isinstance(actual, float) and isinstance(value, (int, float))
            else actual == value
        )
        if not same:
            shown = f"{actual:g}" if isinstance(actual, float) else actual
            raise SourceError(
                f"{uri.label}: asked for {name} {value}, the camera gives {shown}",
                f"List what it offers: v4l2-ctl --list-formats-ext -d {uri.target}",
            )


def open_rtsp(uri: SourceUri, settings: SourceSettings) -> Camera:
    """Open an RTSP stream: decoded in hardware on a Jetson, by FFmpeg elsewhere."""
    if is_jetson() and has_gstreamer():
        return open_pipeline(uri, gstreamer.rtsp_pipeline(uri, settings.stall_s), settings)
    # prefer_tcp is OpenCV's own default. fpsprobesize 0: the stream states its rate, and guessing it from 20 pictures
    # takes two seconds at ten a second.
    variables = {"OPENCV_FFMPEG_CAPTURE_OPTIONS": "rtsp_flags;prefer_tcp|fpsprobesize;0"}
    # One decoder thread: frame threads would hold back as many pictures as there are threads, unseen by any stamp.
    parameters = known({**_timeouts(settings), "CAP_PROP_N_THREADS": 1})
    capture = open_capture(uri.target, cv2.CAP_FFMPEG, parameters, variables)
    if capture is None:
        raise SourceError(
            f"{uri.label} did not open: no answer, wrong credentials, or no such stream",
            f"Try it: ffplay -rtsp_transport tcp '{uri.label}'",
        )
    _let_go_backlog(capture, uri)
    return Camera(capture, uri, clocked=True)


def _let_go_backlog(capture: cv2.VideoCapture, uri: SourceUri) -> None:
    """Drop the pictures that FFmpeg gathered while it examined the stream, which come all at once.

    They would be stamped as fresh. The first that takes half its period or more to come is the end of them.
    """
    rate = rate_of(capture)
    for count in range(round(rate * BACKLOG_S)):
        asked = time.monotonic()
        if not capture.grab() or time.monotonic() - asked > 0.5 / rate:
            logger.debug(f"{uri.label}: {count} pictures from before it was open were let go")
            return


def _timeouts(settings: SourceSettings) -> dict[str, int]:
    return {
        "CAP_PROP_OPEN_TIMEOUT_MSEC": round(settings.open_timeout_s * 1000),
        "CAP_PROP_READ_TIMEOUT_MSEC": round(settings.stall_s * 1000),
    }


def known(parameters: dict[str, int]) -> list[int]:
    """Return names and values in a row, as VideoCapture takes them, without those that this OpenCV does not know."""
    return [part for name, value in parameters.items() if hasattr(cv2, name) for part in (getattr(cv2, name), value)]


@functools.cache
def _pipelines_take_timeouts() -> bool:
    """Return True if OpenCV's GStreamer backend takes time limits; that of 4.6 refuses to open with them."""
    trial = open_capture("videotestsrc num-buffers=1 ! appsink", cv2.CAP_GSTREAMER, known(_timeouts(SourceSettings())))
    if trial is not None:
        trial.release()
    return trial is not None


def open_csi(uri: SourceUri, settings: SourceSettings) -> Camera:
    """Open a CSI camera, through Argus and GStreamer."""
    _require_gstreamer(uri)
    with _released_on_fault(lock_camera(uri)) as lock:
        return open_pipeline(uri, gstreamer.csi_pipeline(uri), settings, lock)


def open_pipeline(uri: SourceUri, pipeline: str, settings: SourceSettings, lock: Lock | None = None) -> Camera:
    """Open a GStreamer pipeline that ends in an appsink. lock: of its camera, taken."""
    _require_gstreamer(uri)
    capture = open_capture(
        pipeline, cv2.CAP_GSTREAMER, known(_timeouts(settings)) if _pipelines_take_timeouts() else ()
    )
    if capture is None:
        raise SourceError(
            f"{uri.label} did not start",
            "Try its pipeline with gst-launch-1.0 -v, less the appsink. No camera? make demo",
        )
    return Camera(capture, uri, lock)


def _require_gstreamer(uri: SourceUri) -> None:
    if not has_gstreamer():
        raise UnusableSource(
            f"{uri.label} needs GStreamer, and the OpenCV {cv2.__version__} at {cv2.__file__} has none",
            "On a Jetson use JetPack's own: a venv with --system-site-packages, no pip opencv. No camera? make demo",
        )


def has_gstreamer() -> bool:
    """Return True if this OpenCV was built with GStreamer, as its build information says."""
    lines = (line.split() for line in cv2.getBuildInformation().splitlines())
    return any(words[:2] == ["GStreamer:", "YES"] for words in lines)
