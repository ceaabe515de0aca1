"""Pipeline texts for GStreamer, as pure functions."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from perception.camera.capture import UnusableSource
from perception.camera.uri import SourceUri

# Holds one buffer and drops older ones: the newest frame wins inside the pipeline, too.
SINK = "appsink drop=true max-buffers=1 sync=false"
# The hardware converter gives BGRx; only the last step, which drops the fourth byte, runs on the CPU.
TO_BGR = "nvvidconv{flip} ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR"


def csi_pipeline(uri: SourceUri) -> str:
    """nvarguscamerasrc to BGR for csi://SENSOR?width&height&fps&flip. Defaults: 1280x720 at 30 frames a second."""
    width, height = uri.options.get("width", 1280), uri.options.get("height", 720)
    caps = f"video/x-raw(memory:NVMM),format=NV12,width={width},height={height},framerate={_fraction(uri)}"
    flip = f" flip-method={uri.options['flip']}" if uri.options.get("flip") else ""
    return f"nvarguscamerasrc sensor-id={int(uri.target)} ! {caps} ! {TO_BGR.format(flip=flip)} ! {SINK}"


def _fraction(uri: SourceUri) -> str:
    rate = uri.options.get("fps", 30.0)
    return f"{int(rate)}/1" if rate == int(rate) else f"{round(rate * 1000)}/1000"


def rtsp_pipeline(uri: SourceUri, timeout_s: float) -> str:
    """RTSP over TCP, decoded in hardware, to BGR. timeout_s: seconds of silence after which the pipeline fails.

    rtspsrc picks the stream's own depayloader, and decodebin prefers nvv4l2decoder on a Jetson.
    """
    location = _quoted(_with_one_at(uri.target))
    source = f"rtspsrc location={location} latency=100 protocols=tcp tcp-timeout={int(timeout_s * 1e6)}"
    # A camera with sound offers an audio stream, too, and decodebin would take whichever comes first.
    return f"{source} ! application/x-rtp,media=video ! decodebin ! {TO_BGR.format(flip='')} ! {SINK}"


def _with_one_at(url: str) -> str:
    """The URL with each @ of its password as %40: GStreamer ends the credentials at the first one, FFmpeg the last."""
    credentials, at, _ = urlsplit(url).netloc.rpartition("@")
    return url.replace(credentials, credentials.replace("@", "%40"), 1) if at else url


def user_pipeline(uri: SourceUri) -> str:
    """The pipeline of a gst: source, which must end in an appsink. UnusableSource where it does not."""
    last = uri.target.rpartition("!")[2].strip()
    if not re.match(r"appsink(\s|$)", last):
        raise UnusableSource(
            f"The pipeline {uri.label!r} does not end in an appsink", f"End it with: ! videoconvert ! {SINK}"
        )
    return uri.target


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
