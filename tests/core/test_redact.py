"""The net for every text, what is known of one value, and what is left readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.core.redact import clean, elements, printable, redact, redact_address, redact_value

HIDDEN = (
    "rtsp://admin:S3cret@cam/1", "rtsp://admin:S3 cret@cam/1", "rtsp:/admin:S3cret@cam", "rtsp:admin:S3cret@cam",
    "rtsp://admin:S3cret", "rtsp://admin:S3cret/live", "rtsp:admin:S3cret", "rtsp://admin:54321", "http://root:54321/x",
    "rtsps://h/1?a=S3cret", "http://h/1?x=a@S3cret", "https://h/x?token=S3cret", "rtmp://h/app/S3cret",
    "srt://h:1?streamid=S3cret", "ftp://u:S3cret@h", "user:S3cret@h", "//user:S3cret@h", "rtsp//user:S3cret@h",
    "rtsp;//user:S3cret@h", ":S3cret@h", "rtsp%3A%2F%2Fadmin%3AS3cret%40h", "S3cret@192.0.2.7/live",
    "password=S3cret",
    "secret-key=S3cret", "stream-id = 'S3cret'", 'extra-headers="a,b=(string)S3cret"', "pw=S3cret@h:x",
    'x {"password": "S3cret"}', "Authorization: Basic S3cret00", "Authorization: Digest username=u, response=S3cret",
    "Cookie: session=S3cret", "X-Api-Key: S3cret", "bearer S3cret123", "rtspsrc location=S3cret ! appsink",
    "tag '!user:S3cret@h'", "key 'user:S3cret@h' is not a name", "(user:S3cret@h)", "a=user:S3cret@h",
)  # fmt: skip
SHOWN = (
    "The live page: http://127.0.0.1:8080/ (with the token)", "rtsp://***@cam:554/h264 is lost", "rtsp://cam:554/1",
    "nothing came from rtsp://***@cam/1 for 0.5 s (source.stall_s). Reconnecting to rtsp://***@cam/1",
    "The broker localhost:1883 is reached", "file:///home/me@work/a@b.mp4", "/clips/10:30 me@work.mp4", "a@b.mp4",
    "Write rtsp://USER:PASSWORD@HOST:PORT/PATH, with %40 for @, %2F for /, %3F for ?, %23 for # in a password.",
    "End it with: ! videoconvert ! appsink drop=true max-buffers=1 sync=false", "csi://0?width=1280&height=720&fps=30",
    "web.token_path: others may read web.token (mode 0644)", "See who is there with: ss -ltnp 'sport = :8080'; or",
    "config/pilot.yaml: model.conf is 7; allowed is a number from 0 below 1", "export PATH=/usr/local/cuda/bin:$PATH",
    "sudo -u vehicle-pilot .venv/bin/python scripts/doctor.py", "mqtt.password_path /x has mode 0644",
    "2026-11-30 10:11:12.123 INFO",
    "demo://drive?seed=14&vehicles=8", "put `videoconvert ! video/x-raw,format=BGR` there",
)  # fmt: skip


@pytest.mark.parametrize("text", HIDDEN)
@pytest.mark.parametrize("around", ["{}", "--config {} does not exist", "pilot.yaml: source.uri is {!r}; allowed is x"])
def test_the_net_holds_what_may_be_a_credential(text: str, around: str) -> None:
    shown = clean(around.format(text))
    assert "S3cret" not in shown and "54321" not in shown
    assert "***" in shown
    assert "S3cret" not in redact_value(text)
    assert clean(shown) == shown, "a text that is clean stays as it is"


@pytest.mark.parametrize("text", SHOWN)
def test_the_net_leaves_the_rest_readable(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("broker/x", "broker/x"), ("a b", "a b"), ("h:80", "h:80"), ("admin:S3cret", "***"), ("S3cret@h", "***@h"),
        ("user:S3cret@h:80", "***@h:80"), ("mqtt://u:S3cret@h", "mqtt://***"), ("h?a@S3cret", "***"), ("http://h:8080", "http://h:8080"),
    ],
)  # fmt: skip
def test_where_an_address_belongs_nothing_before_an_at_or_behind_a_colon_is_shown(text: str, shown: str) -> None:
    assert redact_address(text) == shown


def test_a_pipeline_is_its_elements() -> None:
    text = "rtspsrc location=\"a ! b\" ! application/x-rtp,x=y ! queue ! tee name=t t. ! 'x' ! Big ! appsink drop=true"
    assert elements(text) == "rtspsrc *** ! *** ! queue ! tee *** ! *** ! *** ! appsink ***"
    assert elements("") == "***"


@given(st.text())
def test_a_clean_text_is_one_line_of_what_can_be_printed(text: str) -> None:
    assert clean(text).isprintable()
    assert printable(printable(text)) == printable(text)
    redact(text), redact_value(text), redact_address(text), elements(text)


@pytest.mark.parametrize(
    "piece", ["x", "a-", "a:/", "a:/ ", "%3a", "a=", "'", "a@", "user:", "! a ", "rtsp://", "\x1b"]
)
def test_no_text_takes_long_and_the_end_of_a_long_one_is_looked_at_too(piece: str) -> None:
    for text in (piece * 300_000, f"rtsp://u:{piece * 300_000}S3cret@h"):
        assert "S3cret" not in clean(text)
        assert "S3cret" not in redact_value(text)
        assert len(redact_address(text)) <= len(text)
