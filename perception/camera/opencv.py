"""Files and cameras through OpenCV: set, read back, refuse the difference."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from loguru import logger

from perception.camera import gstreamer
from perception.camera.capture import Picture
from perception.camera.pace import Pace
from perception.camera.uri import SourceUri
from perception.config import SourceSettings
from perception.errors import EndOfStream, SourceError
from perception.quiet import quiet_opencv

# A sound file may promise a few frames more than it holds (edit lists, variable rate); a cut one misses many.
TRUNCATED_FRAMES = 5
TRUNCATED_SHARE = 0.05


def _open(target: str, api: int, parameters: Sequence[int] = ()) -> cv2.VideoCapture | None:
    """An open VideoCapture, or None."""
    with quiet_opencv():
        try:
            capture = cv2.VideoCapture(target, api, list(parameters)) if parameters else cv2.VideoCapture(target, api)
        except cv2.error as error:
            logger.debug(f"OpenCV: {error}")
            return None
    if not capture.isOpened():
        capture.release()
        return None
    return capture


def _rate(capture: cv2.VideoCapture) -> float:
    """The nominal pictures a second, 0 where it is unknown: drivers and files say all kinds of things then."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= 1000 else 0.0


def _summary(capture: cv2.VideoCapture) -> str:
    width, height = (int(capture.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    rate = _rate(capture)
    return f"{width}x{height}" + (f" at {rate:g} fps" if rate else "")


class VideoFile:
    """Every frame of a file in order, exactly once; ?loop=1 starts again, ?realtime=1 plays at the file's own rate."""

    def __init__(self, uri: SourceUri) -> None:
        self._uri = uri
        self._capture = self._reopen()
        self._promised = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self.fps = _rate(self._capture)
        self._pace = Pace(self.fps if uri.options.get("realtime") else 0)
        self._delivered = 0
        self.summary = f"{_summary(self._capture)}, {self._promised or 'an unknown number of'} frames"

    def _reopen(self) -> cv2.VideoCapture:
        path = Path(self._uri.target)
        try:
            path.stat()
        except FileNotFoundError:
            raise SourceError(
                f"The file {path} does not exist", "Give the path of a video, or images:///FOLDER."
            ) from None
        except OSError as error:
            raise SourceError(f"The file {path} cannot be used: {error.strerror}") from None
        if not os.access(path, os.R_OK):
            raise SourceError(f"The file {path} cannot be read by this user", f"Allow it: chmod a+r {path}")
        name = str(path.absolute())  # FFmpeg takes what stands before a colon in a bare name for a protocol
        capture = _open(name, cv2.CAP_FFMPEG) or _open(name, cv2.CAP_GSTREAMER)
        if capture is None:
            raise SourceError(
                f"{path} is not a video that can be read: it is empty, cut off, or of another kind",
                f"Check it: ffprobe {path}",
            )
        return capture

    def read(self) -> Picture:
        """The next frame. EndOfStream after the last one."""
        found, image = self._capture.read()
        if not found:
            self._end_of_round()
            found, image = self._capture.read()
        if not found:
            raise SourceError(f"{self._uri.label} holds no frame that can be decoded", "Check the file with ffprobe.")
        self._delivered += 1
        self._pace.wait()
        return Picture(image, time.monotonic())  # type: ignore[arg-type]

    def _end_of_round(self) -> None:
        missing = self._promised - self._delivered
        if self._delivered and missing > TRUNCATED_FRAMES and missing > TRUNCATED_SHARE * self._promised:
            logger.warning(
                f"{self._uri.label} is truncated: it promises {self._promised} frames, {self._delivered} came"
            )
        if self._delivered and not self._uri.options.get("loop"):
            raise EndOfStream
        self.close()
        self._capture = self._reopen()
        self._promised = self._delivered = 0  # a round is judged once, and the file may be replaced meanwhile

    def close(self) -> None:
        """Releases the decoder."""
        self._capture.release()


class Camera:
    """A live source that OpenCV reads. A picture is stamped as soon as it is grabbed, before it is converted."""

    def __init__(self, capture: cv2.VideoCapture, uri: SourceUri) -> None:
        self._capture = capture
        self._uri = uri
        self.summary = _summary(capture)
        self.fps = _rate(capture)

    def read(self) -> Picture:
        """The next picture of the camera. SourceError when it gives no more."""
        if self._capture.grab():
            captured_at = time.monotonic()
            found, image = self._capture.retrieve()
            if found and image is not None:
                if image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
                    return Picture(image, captured_at)  # type: ignore[arg-type]
                raise SourceError(
                    f"{self._uri.label} gives {image.dtype} pictures of shape {image.shape}, not BGR of 8 bits: "
                    "put `videoconvert ! video/x-raw,format=BGR` before its appsink"
                )
        raise SourceError(f"{self._uri.label} gives no more pictures")

    def close(self) -> None:
        """Gives the camera back."""
        self._capture.release()


def open_v4l2(uri: SourceUri, settings: SourceSettings) -> Camera:
    """A USB camera with the settings asked for, each read back. SourceError that names both where they differ."""
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
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(max(round(settings.stall_s), 1)))
    capture = _open(str(device), cv2.CAP_V4L2)
    if capture is None:
        raise SourceError(
            f"{device} did not open: it is in use, or no camera",
            f"See who holds it: fuser -v {device}. No camera? make demo",
        )
    try:
        _set_and_read_back(capture, uri)
    except SourceError:
        capture.release()
        raise
    return Camera(capture, uri)


def _set_and_read_back(capture: cv2.VideoCapture, uri: SourceUri) -> None:
    wanted = dict(uri.options)
    if "format" in wanted:
        code = cv2.VideoWriter_fourcc(*wanted["format"])  # type: ignore[attr-defined]
        capture.set(cv2.CAP_PROP_FOURCC, code)
    properties = {"width": cv2.CAP_PROP_FRAME_WIDTH, "height": cv2.CAP_PROP_FRAME_HEIGHT, "fps": cv2.CAP_PROP_FPS}
    for name, number in properties.items():
        if name in wanted:
            capture.set(number, wanted[name])
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # a wish that not every driver grants: the mailbox drops old ones anyway
    got: dict[str, object] = {name: capture.get(number) for name, number in properties.items()}
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    got["format"] = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24))
    refuse_difference(uri, wanted, got)


def refuse_difference(uri: SourceUri, wanted: dict[str, object], got: dict[str, object]) -> None:
    """Raises SourceError for the first setting that the camera did not take, naming both values."""
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
    """An RTSP stream: decoded in hardware on a Jetson, by FFmpeg elsewhere."""
    if gstreamer.is_jetson() and has_gstreamer():
        return open_pipeline(uri, gstreamer.rtsp_pipeline(uri, settings.stall_s), settings)
    # One decoder thread: frame threads would hold back as many pictures as there are threads, unseen by any stamp.
    parameters = _known({**_timeouts(settings), "CAP_PROP_N_THREADS": 1})
    capture = _open(uri.target, cv2.CAP_FFMPEG, parameters)
    if capture is None:
        raise SourceError(
            f"{uri.label} did not open: no answer, wrong credentials, or no such stream",
            f"Try it: ffplay -rtsp_transport tcp '{uri.label}'",
        )
    return Camera(capture, uri)


def _timeouts(settings: SourceSettings) -> dict[str, int]:
    return {
        "CAP_PROP_OPEN_TIMEOUT_MSEC": round(settings.open_timeout_s * 1000),
        "CAP_PROP_READ_TIMEOUT_MSEC": round(settings.stall_s * 1000),
    }


def _known(parameters: dict[str, int]) -> list[int]:
    """Names and values in a row, as VideoCapture takes them, less those that this OpenCV lacks and would refuse."""
    return [part for name, value in parameters.items() if hasattr(cv2, name) for part in (getattr(cv2, name), value)]


@functools.cache
def _pipelines_take_timeouts() -> bool:
    """Whether GStreamer's side knows the time limits: OpenCV 4.6 has their names, and refuses to open with them."""
    trial = _open("videotestsrc num-buffers=1 ! appsink", cv2.CAP_GSTREAMER, _known(_timeouts(SourceSettings())))
    if trial is not None:
        trial.release()
    return trial is not None


def open_pipeline(uri: SourceUri, pipeline: str, settings: SourceSettings) -> Camera:
    """A GStreamer pipeline that ends in an appsink."""
    if not has_gstreamer():
        raise SourceError(
            f"{uri.label} needs GStreamer, and the OpenCV {cv2.__version__} at {cv2.__file__} has none",
            "On a Jetson use JetPack's own: a venv with --system-site-packages, no pip opencv. No camera? make demo",
        )
    capture = _open(pipeline, cv2.CAP_GSTREAMER, _known(_timeouts(settings)) if _pipelines_take_timeouts() else ())
    if capture is None:
        raise SourceError(
            f"{uri.label} did not start",
            "Try its pipeline with gst-launch-1.0 -v, less the appsink. No camera? make demo",
        )
    return Camera(capture, uri)


def has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer, as its build information says."""
    lines = (line.split() for line in cv2.getBuildInformation().splitlines())
    return any(words[:2] == ["GStreamer:", "YES"] for words in lines)
