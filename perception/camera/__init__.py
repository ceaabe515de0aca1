"""Sources: a URI goes in, frames come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from perception.camera import gstreamer, opencv
from perception.camera.capture import Capture
from perception.camera.images import ImageFolder
from perception.camera.latest import Reader
from perception.camera.uri import SourceUri, parse
from perception.config import SourceSettings

_OPENERS: Mapping[str, Callable[[SourceUri, SourceSettings], Capture]] = {
    "csi": lambda uri, settings: opencv.open_pipeline(uri, gstreamer.csi_pipeline(uri), settings),
    "gst": lambda uri, settings: opencv.open_pipeline(uri, gstreamer.user_pipeline(uri), settings),
    "rtsp": opencv.open_rtsp,
    "v4l2": opencv.open_v4l2,
    "file": lambda uri, settings: opencv.VideoFile(uri),
    "images": lambda uri, settings: ImageFolder(uri),
    "demo": lambda uri, settings: _open_demo(uri),
}


def _open_demo(uri: SourceUri) -> Capture:
    from perception.camera.demo import DemoDrive  # two dozen modules that only a demo needs

    return DemoDrive(uri)


def open_source(settings: SourceSettings) -> Reader:
    """The source of `settings.uri`, opening in a thread of its own; `Reader.wait_until_open` gives the verdict.

    Raises SourceError at once for a URI that cannot be understood.
    """
    uri = parse(settings.uri)
    return Reader(uri, lambda: _OPENERS[uri.scheme](uri, settings), settings)
