"""The pipeline texts, as pure functions."""

from __future__ import annotations

import pytest

from perception.camera.gstreamer import SINK, csi_pipeline, rtsp_pipeline, user_pipeline
from perception.camera.uri import parse
from perception.core.errors import SourceError


def test_a_csi_camera_without_options_gives_720p_at_30_frames_a_second() -> None:
    assert csi_pipeline(parse("csi://0")) == (
        "nvarguscamerasrc sensor-id=0 ! "
        "video/x-raw(memory:NVMM),format=NV12,width=1280,height=720,framerate=30/1 ! "
        "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )


def test_the_options_of_a_csi_camera_reach_its_pipeline() -> None:
    pipeline = csi_pipeline(parse("csi://1?width=1920&height=1080&fps=60&flip=2"))
    assert "sensor-id=1 !" in pipeline
    assert "width=1920,height=1080,framerate=60/1" in pipeline
    assert "nvvidconv flip-method=2 !" in pipeline


def test_flip_0_needs_no_flip_method() -> None:
    assert csi_pipeline(parse("csi://0?flip=0")) == csi_pipeline(parse("csi://0"))


@pytest.mark.parametrize(
    ("fps", "fraction"),
    [("29.97", "29970/1000"), ("15", "15/1"), ("7.5", "7500/1000"), ("120.0", "120/1"), ("0.5", "500/1000")],
)
def test_a_rate_becomes_a_fraction(fps: str, fraction: str) -> None:
    assert f"framerate={fraction} !" in csi_pipeline(parse(f"csi://0?fps={fps}"))


def test_rtsp_on_a_jetson_keeps_its_url_quoted_and_ends_in_the_one_frame_sink() -> None:
    pipeline = rtsp_pipeline(parse("rtsp://u:p@cam:554/h264?a=1&b=2"), 5)
    assert 'rtspsrc location="rtsp://u:p@cam:554/h264?a=1&b=2" ' in pipeline
    assert "tcp-timeout=5000000 " in pipeline
    assert pipeline.endswith(SINK)
    assert " ! application/x-rtp,media=video ! decodebin ! " in pipeline  # a camera may offer its sound first


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ('rtsp://u:a"b@cam/1', r'"rtsp://u:a\"b@cam/1"'),
        ("rtsp://u:a\\b@cam/1", r'"rtsp://u:a\\b@cam/1"'),
        ("rtsp://u:a!b@cam/1", '"rtsp://u:a!b@cam/1"'),
        ("rtsp://u:a b@cam/1", '"rtsp://u:a b@cam/1"'),
        ("rtsp://u:a@b@cam/1", '"rtsp://u:a%40b@cam/1"'),
        ("rtsp://cam/1?mail=a@b", '"rtsp://cam/1?mail=a@b"'),
    ],
)
def test_no_sign_of_a_password_breaks_out_of_the_location(url: str, location: str) -> None:
    assert f"rtspsrc location={location} latency=" in rtsp_pipeline(parse(url), 5)


@pytest.mark.parametrize(
    "text",
    [
        "videotestsrc ! appsink",
        "videotestsrc ! videoconvert !appsink drop=true max-buffers=1",
        "v4l2src device=/dev/video0 ! image/jpeg ! jpegdec ! appsink name=sink",
    ],
)
def test_a_pipeline_that_ends_in_an_appsink_is_taken_as_it_is(text: str) -> None:
    assert user_pipeline(parse(f"gst:{text}")) == text


@pytest.mark.parametrize(
    "text", ["", "videotestsrc", "videotestsrc ! fakesink", "appsink ! videotestsrc", "videotestsrc ! appsinkx", "x !"]
)
def test_a_pipeline_without_an_appsink_at_its_end_is_refused_with_the_end_it_needs(text: str) -> None:
    with pytest.raises(SourceError, match="does not end in an appsink") as caught:
        user_pipeline(parse(f"gst:{text}"))
    assert f"! videoconvert ! {SINK}" in caught.value.cure


def test_a_refused_pipeline_does_not_show_its_password() -> None:
    with pytest.raises(SourceError) as caught:
        user_pipeline(parse("gst:rtspsrc location=rtsp://u:hunter2@cam user-pw=hunter2 ! fakesink"))
    assert "hunter2" not in str(caught.value)
