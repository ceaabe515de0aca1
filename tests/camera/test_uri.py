"""URIs are parsed, or refused with a sentence that helps; credentials are never shown."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.app.stream import open_source
from perception.camera.uri import parse, redact
from perception.core.errors import SourceError
from perception.settings.model import SourceSettings

PASSWORDS = [
    "hunter2",
    "hun@ter2",
    "hunter:2",
    "hunt/er2",
    "hun#ter2",
    "hun?ter2",
    "@:/#?hunter2",
    "hun ter2",
    "hu\nnt",
]


def refusal(text: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "scheme", "target"),
    [
        ("csi://0", "csi", "0"),
        ("csi://1?width=1280", "csi", "1"),
        ("csi://", "csi", "0"),
        ("CSI://2", "csi", "2"),
        ("v4l2:///dev/video0", "v4l2", "/dev/video0"),
        ("v4l2://3", "v4l2", "/dev/video3"),
        ("0", "v4l2", "/dev/video0"),
        (" 12 ", "v4l2", "/dev/video12"),
        ("rtsp://host/path", "rtsp", "rtsp://host/path"),
        ("rtsps://host:322/", "rtsp", "rtsps://host:322/"),
        ("RTSP://host", "rtsp", "RTSP://host"),
        ("gst:videotestsrc ! appsink", "gst", "videotestsrc ! appsink"),
        ("gst://videotestsrc ! appsink", "gst", "videotestsrc ! appsink"),
        ("file:///clip.mp4", "file", "/clip.mp4"),
        ("file://clip.mp4", "file", "clip.mp4"),
        ("clip.mp4", "file", "clip.mp4"),
        ("/data/clip.mp4?loop=1", "file", "/data/clip.mp4"),
        ("images:///folder", "images", "/folder"),
        ("photo.JPG", "images", "photo.JPG"),
    ],
)
def test_each_form_of_a_source_gives_its_scheme_and_target(text: str, scheme: str, target: str) -> None:
    uri = parse(text)
    assert (uri.scheme, uri.target) == (scheme, target)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (
            "csi://0?width=1280&height=720&fps=29.97&flip=2",
            {"width": 1280, "height": 720, "fps": 29.97, "flip": 2},
        ),
        ("v4l2:///dev/video0?format=mjpg&fps=30", {"format": "MJPG", "fps": 30.0}),
        ("file:///c.mp4?loop=1&realtime=0", {"loop": True, "realtime": False}),
        ("file:///c.mp4?loop=yes", {"loop": True}),
        ("c.mp4?realtime=true", {"realtime": True}),
        ("images:///d?loop=no", {"loop": False}),
        ("csi://0", {}),
    ],
)
def test_options_come_out_typed_and_only_those_that_were_given(text: str, options: dict[str, Any]) -> None:
    found = parse(text).options
    assert found == options
    assert {name: type(value) for name, value in found.items()} == {n: type(v) for n, v in options.items()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("csi://0?widht=1280", ["unknown option widht", "Did you mean width?"]),
        ("file:///c.mp4?realtim=1", ["unknown option realtim", "Did you mean realtime?"]),
        ("images:///d?zzz=1", ["unknown option zzz", "images:// has loop"]),
        ("csi://0?width=wide", ["width is 'wide'", "whole number of pixels"]),
        ("csi://0?width=0", ["width is '0'", "whole number of pixels"]),
        ("csi://0?fps=0", ["fps is '0'", "above 0"]),
        ("csi://0?fps=nan", ["fps is 'nan'"]),
        ("csi://0?fps=inf", ["fps is 'inf'"]),
        ("csi://0?flip=8", ["flip is '8'", "0 to 7"]),
        ("csi://0?flip=", ["flip is ''"]),
        ("v4l2:///dev/video0?format=JPEG2000", ["format is 'JPEG2000'", "FOURCC"]),
        ("file:///c.mp4?loop=maybe", ["loop is 'maybe'", "0 or 1"]),
    ],
)
def test_a_wrong_option_is_refused_with_its_value_and_what_is_allowed(text: str, words: list[str]) -> None:
    fault = str(refusal(text))
    assert [word for word in words if word not in fault] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://cam/video", ["unknown scheme http://", "rtsp://host/path", "csi://0"]),
        ("rstp://u:hunter2@cam/video", ["unknown scheme rstp://"]),
        ("csi://front", ["names no sensor", "csi://0"]),
        ("file://", ["has no path"]),
        ("images://?loop=1", ["has no path"]),
        ("rtsp://", ["names no host"]),
        ("rtsp:/cam/1", ["names no host"]),
        ("rtsp://cam:port/1", ["a port that is none"]),
        ("rtsp://cam:99999/1", ["a port that is none"]),
        ("", ["The source is empty"]),
        ("  ", ["The source is empty"]),
        ("?loop=1", ["The source is empty"]),
        ("images:///a%00b", ["NUL"]),
        ("a\0b", ["NUL"]),
        ("x" * 5000, ["too long"]),
        ("9" * 5000, ["too long"]),
    ],
)
def test_what_is_no_source_is_refused_with_a_sentence_and_exit_code_3(text: str, words: list[str]) -> None:
    fault = refusal(text)
    assert [word for word in words if word not in str(fault)] == []
    assert fault.exit_code == 3


def test_open_source_refuses_a_uri_at_once_and_starts_nothing() -> None:
    with pytest.raises(SourceError, match="Did you mean width"):
        open_source(SourceSettings(uri="csi://0?widht=1"))


def test_a_folder_is_images_and_a_file_is_a_video(tmp_path: Path) -> None:
    assert parse(str(tmp_path)).scheme == "images"
    assert parse(str(tmp_path / "clip.mkv")).scheme == "file"


def test_a_question_mark_in_the_name_of_a_file_is_no_query(tmp_path: Path) -> None:
    odd = tmp_path / "where?loop=1"
    odd.write_bytes(b"x")
    uri = parse(str(odd))
    assert (uri.target, uri.options) == (str(odd), {})
    odd.unlink()
    gone = parse(str(odd))
    assert (gone.target, gone.options) == (str(tmp_path / "where"), {"loop": True})


def test_percent_signs_in_a_file_uri_are_decoded_and_in_a_path_they_are_not() -> None:
    assert parse("file:///a%20b%3Fc%23.mp4?loop=1").target == "/a b?c#.mp4"
    assert parse("/a%20b.mp4").target == "/a%20b.mp4"


def test_the_name_of_a_file_keeps_its_at_sign_in_the_label() -> None:
    for text in ("file:///home/me@work/a@b.mp4", "/home/me@work/a@b.mp4", "images:///me@work"):
        assert parse(text).label == text


@pytest.mark.parametrize(
    ("text", "camera", "live"),
    [
        ("csi://0", True, True),
        ("rtsp://h", True, True),
        ("0", True, True),
        ("gst:x ! appsink", True, True),
        ("c.mp4", False, False),
        ("c.mp4?realtime=1", False, True),
        ("images:///d", False, False),
    ],
)
def test_cameras_are_live_and_a_file_is_live_only_in_real_time(text: str, camera: bool, live: bool) -> None:
    uri = parse(text)
    assert (uri.camera, uri.live) == (camera, live)


def label_or_fault(text: str) -> str:
    try:
        uri = parse(text)
    except SourceError as fault:
        return str(fault)
    return uri.label


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "form",
    [
        "rtsp://admin:{}@cam:554/h264",
        "RTSPS://admin:{}@cam/h264",
        "rtsp:/admin:{}@cam/h264",
        "rstp://admin:{}@cam/h264",
        "http://admin:{}@cam/h264",
        "rtsp://admin:{}@",
        'gst:rtspsrc location="rtsp://admin:{}@cam/h264" ! decodebin ! appsink',
        "gst:rtspsrc location='rtsp://admin:{}@cam/h264' ! decodebin ! appsink",
        'gst:rtspsrc location=rtsp://cam user-id=admin user-pw="{}" ! appsink',
        "gst:rtspsrc location=rtsp://cam user-id=admin user-pw = '{}' ! appsink",
    ],
)
def test_a_password_of_any_signs_is_in_no_label_and_no_refusal(form: str, password: str) -> None:
    shown = label_or_fault(form.format(password))
    assert password not in shown
    for part in ("hunter", "hun", "ter2", "er2", "hunt"):
        assert part not in shown
    assert "***" in shown


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("query", ["", "?channel=1", "?token=hunter2"])
@pytest.mark.parametrize("form", ["admin:{}@192.0.2.7/live", "rtsp//admin:{}@h/1", "//admin:{}@cam/1", ":{}@cam"])
def test_credentials_without_a_scheme_are_refused_unseen(form: str, query: str, password: str) -> None:
    fault = refusal(form.format(password) + query)
    assert "has credentials, but no scheme" in fault.what
    assert fault.cure == "Write rtsp://USER:PASSWORD@HOST/PATH."
    for part in ("admin", "hun", "ter2"):
        assert part not in str(fault)


def test_a_file_whose_name_looks_like_credentials_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "10:30@gate.mp4").touch()
    assert parse("10:30@gate.mp4?loop=1").target == "10:30@gate.mp4"
    assert parse("/clips/10:30 me@work.mp4").label == "/clips/10:30 me@work.mp4"


def test_a_password_in_the_query_of_a_path_is_unseen() -> None:
    assert "hunter2" not in str(refusal("192.0.2.7/live?user=admin&password=hunter2"))


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam/1?user=admin&password=hunter2",
        "rtsp://cam/1?usr=admin&x=hunter2",
        "rtsp://cam:port/1?pwd=hunter2",
        "http://cam/video.cgi?usr=admin&pwd=hunter2",
        "gst:souphttpsrc location=http://cam/video?u=admin&p=hunter2 ! appsink",
        'gst:souphttpsrc location="http://cam/video?u=admin&p=hunter2" ! appsink',
        "gst:rtspsrc location=rtsp://admin:hunter2@cam/1 ! appsink",
        "gst:rtspsrc location=rtsp://admin:hun\\ hunter2@cam/1 ! appsink",
        "gst:rtspsrc location=rtsp://cam/1 user-id=admin user-pw=hunter2 ! appsink",
        "gst:rtspsrc user-pw=hun\\ hunter2 ! appsink",
        'gst:rtspsrc user-pw="hun hunter2',
        "gst:souphttpsrc proxy-pw=hunter2 ! appsink",
    ],
)
def test_a_password_in_a_query_or_a_pipeline_is_redacted(text: str) -> None:
    shown = label_or_fault(text)
    assert "hunter2" not in shown
    assert "***" in shown


def test_redaction_leaves_the_rest_of_a_label_readable() -> None:
    assert parse("rtsp://admin:hunter2@cam:554/h264/1").label == "rtsp://***@cam:554/h264/1"
    pipeline = 'gst:rtspsrc location="rtsp://u:hunter2@cam/1?a=b" latency=0 ! appsink drop=true'
    assert parse(pipeline).label == "gst:rtspsrc *** ! appsink ***"
    assert redact("gst:v4l2src device=/dev/video0 ! appsink") == "gst:v4l2src *** ! appsink"


@pytest.mark.parametrize(
    "properties",
    [
        "secret-key=hunter2",
        "streamid=hunter2",
        "stream-id = 'hunter2'",
        'extra-headers="headers,Authorization=(string)hunter2"',
        'location="srt://h:1?passphrase=hunter2"',
        "anything=hunter2",
        "name=hunter2 hunter2. ! queue",
        '! "video/x-raw,hunter2=1"',
        "! Hunter2=hunter2",
    ],
)
@pytest.mark.parametrize(
    "start", ["gst:", "GST:", "Gst: ", "gst://", "gts:", "gst;", "gstreamer:", "gst ", "pipeline:", ""]
)
def test_of_a_pipeline_its_elements_alone_are_shown_however_it_is_announced(start: str, properties: str) -> None:
    shown = label_or_fault(f"{start}srtsrc {properties} ! decodebin ! appsink drop=true")
    assert "hunter2" not in shown.lower()
    assert "! decodebin ! appsink" in shown


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:hunter2",
        "rtsp://admin:hunter2/live",
        "rtsp:admin:hunter2",
        "rtsps://hunter2:hunter2:192.0.2.7/x",
        "rtmp://h/app/hunter2",
        "srt://h:1234?streamid=hunter2",
        "gts:srtsrc streamid=hunter2",
        "rtsp;//admin:hunter2@cam/1",
        "rtsp//admin:hunter2@cam/1",
        "rtsp://cam/1?a=b@hunter2",
        "rtsp://cam/user=admin_password=hunter2_channel=1",
        "csi://0?width=rtsp://admin:hunter2@cam",
        "csi://0?rtsp://admin:hunter2@cam=1",
        "file:///c.mp4?loop=rtsp://admin:hunter2@cam",
    ],
)
def test_credentials_in_an_odd_place_are_unseen(text: str) -> None:
    assert "hunter2" not in label_or_fault(text)


def test_no_source_puts_characters_into_a_refusal_that_a_terminal_obeys() -> None:
    for text in ("csi://0?\x1b[2J=1", "csi://0?width=\x1b[2J\r\nFORGED", "x\x1b://a\nb", "rtsp://\x1b[2J:\n/", "?\n"):
        assert str(refusal(text)).isprintable()


def test_the_target_keeps_the_credentials_that_the_label_hides() -> None:
    assert parse("rtsp://admin:hunter2@cam/1").target == "rtsp://admin:hunter2@cam/1"


STARTS = ["", "csi://", "v4l2://", "rtsp://", "rtsp:", "gst:", "file://", "images://", "http://", "demo://", "?", "0"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(STARTS), st.text(max_size=60))
def test_any_text_is_understood_or_refused_and_nothing_else_happens(start: str, text: str) -> None:
    assert label_or_fault(start + text)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["rtsp://", "rtsps://", "RTSP://", "rtsp:/", "rtsp:", "rtspt://"]),
    st.text(string.printable + "äß€@:/#?&=%", min_size=1, max_size=20),
    st.sampled_from(["@cam/1", "@cam:554/1?x=y", "@", "@cam:bad/"]),
)
def test_no_credential_of_an_rtsp_url_reaches_a_label_or_a_refusal(start: str, secret: str, end: str) -> None:
    # The mark makes the secret findable: a single letter would be found in any text.
    shown = label_or_fault(f"{start}user:{secret}S3CR3T{secret}{end}")
    assert "S3CR3T" not in shown


@given(st.text(string.ascii_letters + string.digits + " @:/#?%", min_size=1, max_size=20))
def test_a_percent_encoded_password_is_always_accepted(secret: str) -> None:
    encoded = quote(secret, safe="")
    uri = parse(f"rtsp://user:{encoded}@cam:554/1")
    assert uri.target == f"rtsp://user:{encoded}@cam:554/1"
    assert uri.label == "rtsp://***@cam:554/1"
