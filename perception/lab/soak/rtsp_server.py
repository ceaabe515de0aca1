"""A small RTSP server on loopback: a moving ball, a clip or a folder of pictures, as H.264 or MJPEG.

For a Python that has GStreamer's gi, such as the system's. Prints its URL, without credentials, in one line once it
listens, and serves until it is ended.
"""

from __future__ import annotations

import argparse
import signal

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURE = "videotestsrc is-live=true pattern={pattern} ! video/x-raw,format=I420,width={width},height={height},"
# Sliced threads make two slices of a picture, of which the receiver loses one.
CODECS = {
    "h264": "x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast key-int-max={fps}"
    " ! rtph264pay config-interval=-1",
    "jpeg": "jpegenc ! rtpjpegpay",
}
FOLDER = 'multifilesrc location="{folder}/%05d.jpg" loop=true caps="image/jpeg,framerate={fps}/1" ! jpegdec'
PARTS = ("multifilesrc", "jpegdec", "videoconvert", "x264enc", "rtph264pay")
"""Of GStreamer, which --folder needs."""
SOUND = "audiotestsrc is-live=true wave=silence ! alawenc ! rtppcmapay"


def launch_text(options: argparse.Namespace) -> str:
    """Return the media of the stream; with --sound the sound comes first, as some cameras have it."""
    if options.clip or options.folder:
        source = f"filesrc location={options.clip} ! decodebin" if options.clip else FOLDER.format(**vars(options))
        encoder = CODECS["h264"].format(fps=options.fps)
        return f"( {source} ! videoconvert ! video/x-raw,format=I420 ! {encoder} name=pay0 pt=96 )"
    encoder = CODECS[options.codec].format(fps=options.fps)
    pattern = "white" if options.still else "ball"
    size = PICTURE.format(pattern=pattern, width=options.width, height=options.height)
    payloads = [f"{size}framerate={options.fps}/1 ! {encoder}"]
    if options.sound:
        payloads.insert(0, SOUND)
    return "( " + " ".join(f"{text} name=pay{n} pt={96 + n}" for n, text in enumerate(payloads)) + " )"


def lock(server: GstRtspServer.RTSPServer, factory: GstRtspServer.RTSPMediaFactory, user: str, password: str) -> None:
    """Admit this user alone."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for what in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("user", what, True)
    factory.set_permissions(permissions)


def main() -> None:
    """Serve as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="0", help="0: a free one")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--codec", choices=sorted(CODECS), default="h264")
    parser.add_argument("--user", help="USER:PASSWORD that alone may look")
    parser.add_argument("--sound", action="store_true", help="a silent sound track ahead of the picture")
    parser.add_argument("--still", action="store_true", help="one picture again and again")
    parser.add_argument("--clip", help="a video to serve once, instead of the ball")
    parser.add_argument("--folder", help="of 00000.jpg, 00001.jpg, ... to serve over and over, instead of the ball")
    parser.add_argument("--piped", action="store_true", help="end with the standard input, too")
    parser.add_argument("--probe", action="store_true", help="serve nothing: fail where --folder lacks a part")
    options = parser.parse_args()
    Gst.init(None)
    missing = [name for name in PARTS if Gst.ElementFactory.find(name) is None] if options.probe else []
    if missing:
        parser.exit(1, f"GStreamer lacks {', '.join(missing)}\n")
    if not options.probe:
        serve(parser, options)


def serve(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Serve until SIGTERM, and with --piped until the standard input ends."""
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    # By default it drops packets of a picture that is larger than its backlog, and sends the rest.
    server.connect("client-connected", lambda _, client: client.set_property("drop-backlog", False))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch_text(options))
    factory.set_shared(True)
    if options.user:
        lock(server, factory, *options.user.split(":", 1))
    server.get_mount_points().add_factory("/road", factory)
    if not server.attach(None):
        parser.exit(1, f"port {options.port} is taken\n")
    loop = GLib.MainLoop()
    if options.piped:
        GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: loop.quit())
    GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, loop.quit)
    print(f"rtsp://127.0.0.1:{server.get_bound_port()}/road", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
