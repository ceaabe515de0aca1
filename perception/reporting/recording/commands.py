"""Command lines of the programs that turn raw pictures on their stdin into H.264 in an .mp4."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple


class Stream(NamedTuple):
    """The pictures that go in, and the file that comes out.

    size: width and height in pixels, both even. fragmented: written in pieces that play by themselves, so that the file
    plays after a kill; else with one index, which every player and editor takes.
    """

    path: Path
    fps: float
    size: tuple[int, int]
    fragmented: bool


KEY_FRAME_S = 2.0
"""A fragment begins at a key frame: this much is lost when the power is cut."""

BITS_PER_PIXEL = 0.15
"""NVIDIA's element asks for a rate: this is 4.1 Mbit/s for 720p at 30 fps."""


def ffmpeg_command(program: str, stream: Stream) -> list[str]:
    """Return the command line of ffmpeg with libx264."""
    width, height = stream.size
    flags = "+frag_keyframe+empty_moov+default_base_moof" if stream.fragmented else "+faststart"
    return [
        *(program, "-v", "error", "-nostdin", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", f"{stream.fps:g}", "-i", "-"),
        *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-threads", "2"),
        *("-g", str(_key_interval(stream)), "-movflags", flags, "-flush_packets", "1", str(stream.path.absolute())),
    ]


def hardware_pipeline(stream: Stream) -> list[str]:
    """Return the words for gst-launch-1.0: the encoder of a Jetson, to which pictures go as NV12 in its own memory."""
    rate = round(stream.size[0] * stream.size[1] * stream.fps * BITS_PER_PIXEL)
    key_frames = f"iframeinterval={_key_interval(stream)} idrinterval={_key_interval(stream)} insert-sps-pps=true"
    encode = (
        "video/x-raw,format=BGRx ! nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! "
        f"nvv4l2h264enc bitrate={rate} {key_frames} maxperf-enable=true"
    )
    return _pipeline(stream, encode)


def software_pipeline(stream: Stream) -> list[str]:
    """Return the words for gst-launch-1.0: libx264."""
    encode = f"video/x-raw,format=I420 ! x264enc speed-preset=veryfast key-int-max={_key_interval(stream)} threads=2"
    return _pipeline(stream, encode)


def _pipeline(stream: Stream, encode: str) -> list[str]:
    width, height = stream.size
    rate = Fraction(stream.fps).limit_denominator(1001)
    # Without faststart, for which GStreamer would keep the whole video in /tmp until its end.
    mux = f"mp4mux fragment-duration={round(KEY_FRAME_S * 1000)}" if stream.fragmented else "mp4mux"
    text = (
        f"fdsrc fd=0 blocksize={width * height * 3} ! rawvideoparse format=bgr width={width} height={height} "
        f"framerate={rate.numerator}/{rate.denominator} ! videoconvert ! {encode} ! h264parse ! {mux} ! filesink"
    )
    return [*text.split(), f"location={stream.path.absolute()}"]  # a word of its own: a path may hold blanks


def _key_interval(stream: Stream) -> int:
    return max(round(stream.fps * KEY_FRAME_S), 1)
