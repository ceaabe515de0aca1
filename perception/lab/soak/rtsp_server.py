"""An RTSP camera on loopback: JPEG pictures of a folder, over and over, as H.264. For a Python that has GStreamer's gi.

Prints its URL once it listens, and serves until its standard input ends: so it never outlives who started it. Ends at
once, with a sentence on stderr, where a part of GStreamer is missing.
"""

from __future__ import annotations

import argparse

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PARTS = ("multifilesrc", "jpegdec", "videoconvert", "x264enc", "rtph264pay")
# Sliced threads make two slices of a picture, of which the receiver loses one.
MEDIA = (
    '( multifilesrc location="{folder}/%05d.jpg" loop=true caps="image/jpeg,framerate={fps}/1" ! jpegdec'
    " ! videoconvert ! video/x-raw,format=I420"
    " ! x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast key-int-max={fps}"
    " ! rtph264pay config-interval=-1 name=pay0 pt=96 )"
)


def main() -> None:
    """Serves until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="of 00000.jpg, 00001.jpg, ...; without it the parts are looked for, no more")
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--port", default="0", help="0: a free one")
    options = parser.parse_args()
    Gst.init(None)
    missing = [name for name in PARTS if Gst.ElementFactory.find(name) is None]
    if missing:
        parser.exit(1, f"GStreamer lacks {', '.join(missing)}\n")
    if options.folder is None:
        return
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    # By default it drops packets of a picture that is larger than its backlog, and sends the rest.
    server.connect("client-connected", lambda _, client: client.set_property("drop-backlog", False))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(MEDIA.format(folder=options.folder, fps=options.fps))
    factory.set_shared(True)
    server.get_mount_points().add_factory("/road", factory)
    if not server.attach(None):
        parser.exit(1, f"port {options.port} is taken\n")
    loop = GLib.MainLoop()
    GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: loop.quit())
    print(f"rtsp://127.0.0.1:{server.get_bound_port()}/road", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
