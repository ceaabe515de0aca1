"""Sources: a URI goes in, frames come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from perception.camera import gstreamer, opencv
from perception.camera.capture import Borrower, Capture, Lend
from perception.camera.images import ImageFolder
from perception.camera.latest import Reader
from perception.camera.uri import SourceUri, parse
from perception.camera.video_file import VideoFile
from perception.settings.model import SourceSettings

_OPENERS: Mapping[str, Callable[[SourceUri, SourceSettings], Capture]] = {
    "csi": opencv.open_csi,
    "gst": lambda uri, settings: opencv.open_pipeline(uri, gstreamer.user_pipeline(uri), settings),
    "rtsp": opencv.open_rtsp,
    "v4l2": opencv.open_v4l2,
    "file": lambda uri, settings: VideoFile(uri),
    "images": lambda uri, settings: ImageFolder(uri),
    "demo": lambda uri, settings: _open_demo(uri),
}


def _open_demo(uri: SourceUri) -> Capture:
    from perception.app.demo import DemoDrive  # two dozen modules that only a demo needs

    return DemoDrive(uri)


def open_source(settings: SourceSettings, lend: Lend | None = None) -> Reader:
    """The source of `settings.uri`, opening in a thread of its own; `Reader.is_open` gives the verdict.

    lend: frames to decode into, for the sources that can; the others bring memory of their own.
    Raises SourceError at once for a URI that cannot be understood.
    """
    uri = parse(settings.uri)

    def open_capture() -> Capture:
        capture = _OPENERS[uri.scheme](uri, settings)
        if lend and isinstance(capture, Borrower):
            capture.borrow_from(lend)
        return capture

    return Reader(uri, open_capture, settings)
