"""Cameras, streams, files and folders of images: a URI goes in, frames come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from perception.camera import gstreamer, opencv
from perception.camera.capture import Borrower, Capture, Lend
from perception.camera.images import ImageFolder
from perception.camera.reader import Reader
from perception.camera.uri import SourceUri, parse
from perception.camera.video_file import VideoFile
from perception.settings.model import SourceSettings

Opener = Callable[[SourceUri, SourceSettings], Capture]
"""Opens a source, in the reader's thread. Raises SourceError."""
OPENERS: Mapping[str, Opener] = MappingProxyType(
    {
        "csi": opencv.open_csi,
        "gst": lambda uri, settings: opencv.open_pipeline(uri, gstreamer.user_pipeline(uri), settings),
        "rtsp": opencv.open_rtsp,
        "v4l2": opencv.open_v4l2,
        "file": lambda uri, settings: VideoFile(uri),
        "images": lambda uri, settings: ImageFolder(uri),
    }
)
"""The sources of this package by scheme; app/stream.py adds demo://."""


def open_reader(settings: SourceSettings, openers: Mapping[str, Opener], lend: Lend | None = None) -> Reader:
    """Return the source of `settings.uri`, opening in a thread of its own; `Reader.is_open` gives the verdict.

    openers: by scheme. lend: frames to decode into, for the sources that can; the others bring memory of their own.
    Raises SourceError at once for a URI that cannot be understood.
    """
    uri = parse(settings.uri)
    opener = openers[uri.scheme]

    def open_capture() -> Capture:
        capture = opener(uri, settings)
        if lend and isinstance(capture, Borrower):
            capture.borrow_from(lend)
        return capture

    return Reader(uri, open_capture, settings)
