"""Whatever is typed as a source: understood or refused, never with its password, and a pipeline that is whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perception.camera import gstreamer
from perception.camera.uri import SourceUri, parse, redact
from perception.core.errors import SourceError
from tests.fuzz.mutations import fault_of, mutated

VALID = [
    b"csi://0?width=1280&height=720&fps=60&flip=2",
    b"v4l2:///dev/video0?width=640&format=MJPG",
    b"rtsp://admin:p%40ss@192.0.2.7:554/stream?channel=1",
    b"rtsps://[2001:db8::1]:322/a#b",
    b'gst:rtspsrc location="rtsp://u:p@cam/1" latency=0 ! decodebin ! appsink drop=true',
    b"file:///clip.mp4?realtime=1&loop=0",
    b"images:///folder?loop=yes",
    b"admin:p%40ss@192.0.2.7/live?channel=1",
    b"rtsp//admin:p%40ss@h/1",
    b"demo://drive?seed=1&vehicles=6&light=night&rain=0.5&fps=25",
    b"0",
]
TEXTS = st.one_of(
    mutated(VALID).map(lambda data: data.decode("utf-8", "surrogateescape")),
    mutated(VALID).map(lambda data: data.decode("latin-1")),
    st.text(max_size=60),
)


def pipeline_of(uri: SourceUri) -> str:
    """The text that GStreamer would get."""
    if uri.scheme == "csi":
        return gstreamer.csi_pipeline(uri)
    return gstreamer.rtsp_pipeline(uri, 5.0) if uri.scheme == "rtsp" else gstreamer.user_pipeline(uri)


@given(TEXTS)
def test_any_text_is_understood_or_refused(text: str) -> None:

    def understand() -> None:
        uri = parse(text)
        if uri.scheme in ("csi", "rtsp", "gst"):
            assert "appsink" in pipeline_of(uri)

    fault = fault_of(understand)
    assert fault is None or (isinstance(fault, SourceError) and fault.what)


@given(TEXTS)
def test_what_is_redacted_once_stays_as_it_is(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(
    st.sampled_from(["rtsp://", "rtsps://", "RTSP://", "rtsp//", "//", ""]),
    st.text(max_size=12),
    st.text(max_size=12),
    st.text(max_size=12),
)
def test_no_password_reaches_a_label_or_a_refusal(start: str, before: str, after: str, path: str) -> None:
    text = f"{start}user:{before}S3CR3T{after}@cam/{path.replace('@', '')}"
    try:
        shown = parse(text).label
    except SourceError as fault:
        shown = str(fault)
    assert "S3CR3T" not in shown
