"""RTSP against a real server on loopback: pictures, credentials, loss and return, a slow consumer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import quote

import pytest

from perception.app.stream import open_source
from perception.camera import outage
from perception.camera.reader import Reader
from perception.core.errors import SourceError
from perception.core.frame import Frame
from perception.lab.benchmark.steady import slow_consumer
from perception.settings.model import SourceSettings
from tests.camera.clips import drain, opened
from tests.camera.readers import wait_for
from tests.camera.servers import StartRtsp

PASSWORD = "p@ss:w0rd"


def fault_of(uri: str, **settings: float) -> SourceError:
    """Return the fault that an attempt to open ends with."""
    reader = open_source(SourceSettings.model_validate({"uri": uri, **settings}))
    try:
        with pytest.raises(SourceError) as caught:
            reader.is_open(20)
        return caught.value
    finally:
        assert reader.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_frames_of_a_stream_arrive(rtsp: StartRtsp, logged: list[str], codec: str) -> None:
    url = rtsp("--codec", codec).url
    with opened(url) as reader:
        frames = drain(reader, limit=5)
    assert [frame.image.shape for frame in frames] == [(240, 320, 3)] * 5
    assert len({frame.image.tobytes() for frame in frames}) == 5, "the ball moves"
    told = f"INFO Source live: {url} (320x240"
    # RTP of JPEG tells no rate, and OpenCV 4.8 makes none up.
    assert {f"{told} at 25 fps)", f"{told})"} & set(logged)


def test_a_still_scene_is_a_live_stream(rtsp: StartRtsp, logged: list[str]) -> None:
    with opened(rtsp("--still").url, repeat_s=0.5) as reader:
        frames = drain(reader, limit=50)
    assert len({frame.image.tobytes() for frame in frames}) < 10, "they are equal to the bit"
    assert len({frame.frame_id for frame in frames}) == 50
    assert not any("lost" in line for line in logged)


def test_a_stream_with_a_sound_track_ahead_of_the_picture_gives_pictures(rtsp: StartRtsp) -> None:
    with opened(rtsp("--sound").url) as reader:
        assert drain(reader, limit=2)[0].image.shape == (240, 320, 3)


def test_credentials_let_in_and_no_text_shows_them(
    rtsp: StartRtsp, logged: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    server = rtsp("--user", f"admin:{PASSWORD}")
    shown = []
    for password in (PASSWORD, quote(PASSWORD, safe="")):
        with opened(server.with_user(f"admin:{password}")) as reader:
            shown.append(drain(reader, limit=1)[0].source)
    wrong = fault_of(server.with_user("admin:wr0ng"))
    none = fault_of(server.url)
    assert "wrong credentials" in wrong.what
    assert "wrong credentials" in none.what
    assert shown == [server.url.replace("://", "://***@")] * 2
    printed = "".join(capfd.readouterr())
    for text in (*shown, *logged, str(wrong), str(none), repr(wrong), printed):
        for secret in (PASSWORD, quote(PASSWORD, safe=""), "w0rd", "wr0ng", "admin"):
            assert secret not in text


def test_a_server_that_is_not_there_is_an_error_within_the_time_to_open() -> None:
    fault = fault_of(f"rtsp://127.0.0.1:{free_port()}/road", open_timeout_s=2)
    assert "did not open: no answer" in fault.what
    assert fault.exit_code == 3


def test_a_server_that_never_answers_is_an_error_within_the_time_to_open() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        fault = fault_of(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/road", open_timeout_s=1)
        assert "did not open: no answer" in fault.what, "FFmpeg's own limit: what hangs gets another sentence"


def test_a_stream_that_does_not_exist_is_an_error(rtsp: StartRtsp) -> None:
    assert "no such stream" in fault_of(rtsp().url.replace("/road", "/elsewhere")).what


def frames_flow(reader: Reader, after: int) -> Callable[[], bool]:
    def flow() -> bool:
        frame: Frame | None = reader.read(0.1)
        return frame is not None and frame.frame_id > after

    return flow


def test_a_server_that_is_killed_is_lost_and_its_frames_go_on_when_it_is_back(
    rtsp: StartRtsp, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "BACKOFF_S", (0.1, 0.2))
    server = rtsp()
    with opened(server.url, stall_s=2.0, open_timeout_s=3.0) as reader:
        drain(reader, limit=2)
        server.kill()
        assert wait_for(lambda: any("Source lost" in line for line in logged), 10)
        before = reader.captured
        server.restart()
        assert wait_for(frames_flow(reader, before), 20)
    assert any(line.startswith("INFO Source live after ") for line in logged)
    assert len([line for line in logged if "Source lost" in line]) == 1


def test_a_server_that_falls_silent_is_lost_after_the_time_to_stall(
    rtsp: StartRtsp, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "BACKOFF_S", (0.1, 0.2))
    server = rtsp()
    with opened(server.url, stall_s=1.0, open_timeout_s=1.0) as reader:
        drain(reader, limit=2)
        server.stall()
        assert wait_for(lambda: any("Source lost" in line for line in logged), 8)
    assert "gives no more pictures" in "".join(logged)


def test_every_frame_that_a_slow_consumer_drops_is_counted(rtsp: StartRtsp) -> None:
    seen = slow_consumer(rtsp("--fps", "25").url, fps=5, duration_s=6)
    assert seen.dropped > seen.processed > 0
    assert seen.processed + seen.dropped == seen.captured
