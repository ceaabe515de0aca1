"""The server in this process: every path, who may ask, and what goes back with it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest

from perception.app.sinks import Sinks
from perception.core.errors import BusyError
from perception.core.results import BoardSnapshot, Summary
from perception.core.source_state import SourceState
from perception.reporting.logs import TextLog, start_logging
from perception.reporting.web.overview import RunStatus
from perception.reporting.web.picture import encode, shrink
from perception.reporting.web.routes import VIEWERS
from perception.reporting.web.server import WebPage
from perception.settings.model import LogSettings, Settings, WebSettings
from perception.system.stop import StopFlag
from tests.doubles.fakes import INFO, make_report
from tests.reporting.web.pilots import ask, state, until

SUMMARY = Summary(298, 12.1, 13.4, 15.0, 17.2, 41.0, 29.8, 2, 2 / 300)


STATUS = RunStatus(("TensorRT: no engine",), INFO, "rtsp://camera/road", SourceState("live", 0.0, 2), SUMMARY)


class FakeParts:
    """A service, a source and a meter in one."""

    passed_over, label = STATUS.passed_over, STATUS.source
    state, latest, backend = STATUS.source_state, STATUS.window, STATUS.backend


def follow(page: WebPage) -> None:
    page.follow(lambda: STATUS)


@contextmanager
def frames(page: WebPage) -> Iterator[None]:
    """A loop that writes reports until the end of the block."""
    ended = threading.Event()

    def loop() -> None:
        number = 0
        while not ended.wait(0.01):
            page.turn(BoardSnapshot(temperatures_c={"gpu": 61.5}, power_w=7.2, throttling=("power",)))
            page.write(make_report(frame_id=number))
            number += 1

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def size(jpeg: bytes) -> tuple[int, ...]:
    """Height, width and channels of a JPEG."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    shape: tuple[int, ...] = image.shape
    return shape


def viewer(port: int) -> socket.socket:
    """A connection that asks for the moving picture."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(b"GET /picture.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


def test_a_pilot_that_starts_is_alive_and_not_ready(page: WebPage) -> None:
    assert (ask(page.port, "/healthz").status, ask(page.port, "/healthz").text) == (200, "starting\n")
    answer = ask(page.port, "/readyz")
    assert (answer.status, answer.text) == (503, "no frame yet, starting\n")
    told = state(page.port)
    assert (told["source"], told["backend"], told["recent"]["p50_ms"], told["board"]) == (None, None, None, None)
    assert ask(page.port, "/metrics").status == 200


def test_a_run_is_told_as_json(page: WebPage) -> None:
    follow(page)
    with frames(page):
        until(lambda: state(page.port)["totals"]["frames"] > 5, "frames")
        told = state(page.port)
    assert told["source"]["label"] == "rtsp://camera/road"
    assert (told["source"]["state"], told["source"]["reconnects"]) == ("live", 2)
    assert told["backend"] == {
        "name": "fake",
        "precision": "fp32",
        "input": "640x640",
        "passed_over": ["TensorRT: no engine"],
    }
    assert told["window"]["p99_ms"] == 15.0
    assert told["totals"]["vehicles"] == {"car": told["totals"]["frames"]}
    assert told["board"]["temperatures_c"] == {"gpu": 61.5}
    assert told["log"][0]["text"].startswith("The live page: http://127.0.0.1:")


def test_what_was_told_is_not_told_again(page: WebPage) -> None:
    follow(page)
    with frames(page):
        until(lambda: len(state(page.port)["history"]["number"]) > 1, "two seconds")
        whole = state(page.port)
    later = json.loads(ask(page.port, f"/api/state?after={whole['history']['number'][-1]}&log=1").body)
    assert not set(later["history"]["number"]) & set(whole["history"]["number"])
    assert all(line["number"] > 1 for line in later["log"])
    for query in ("after=x", "log=1.5", f"after={'9' * 5000}"):
        assert ask(page.port, f"/api/state?{query}").status == 400


def test_readiness_follows_the_frames(page: WebPage) -> None:
    follow(page)
    report = make_report()
    page.write(report)  # it was captured at 0 on the monotonic clock: long ago
    answer = ask(page.port, "/readyz")
    assert answer.status == 503
    assert answer.text.startswith("no frame for ")


def test_metrics_have_what_a_fleet_asks_for(page: WebPage) -> None:
    follow(page)
    with frames(page):
        until(lambda: state(page.port)["totals"]["frames"] > 5, "frames")
        answer = ask(page.port, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    count = float(values["pilot_frames_total"])
    assert count > 5
    assert float(values['pilot_vehicles_total{class="car"}']) == count
    assert float(values['pilot_frame_duration_seconds_bucket{le="0.0125"}']) == count
    assert float(values['pilot_frame_duration_seconds_bucket{le="0.01"}']) == 0
    assert float(values['pilot_stage_duration_seconds_count{stage="infer"}']) == count
    assert values['pilot_board_temperature_celsius{zone="gpu"}'] == "61.5"
    assert values["pilot_board_power_watts"] == "7.2"
    assert values["pilot_source_reconnects_total"] == "2.0"
    assert values['pilot_backend_info{backend="fake",input="640x640",precision="fp32"}'] == "1.0"
    assert float(values["pilot_frame_age_seconds"]) == pytest.approx(0.0182)


@pytest.mark.parametrize(
    "path",
    ["/../pilot.py", "/page/../../../pilot.py", "/page/..%2fanswers.py", "/page/%2e%2e/gate.py", "//etc/passwd",
     "/page/", "/page/page.css%00.js", "/page/page.css/", "/%ff%fe", "/picture.mjpeg/x"],
)  # fmt: skip
def test_no_trick_with_a_path_reaches_a_file(page: WebPage, path: str) -> None:
    answer = ask(page.port, path)
    assert answer.status in (307, 404)
    assert b"import" not in answer.body


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/"), ("DELETE", "/api/state"), ("PUT", "/metrics"), ("GET", "/sign-out")]
)
def test_nothing_can_be_changed(page: WebPage, method: str, path: str) -> None:
    assert ask(page.port, path, method=method).status == 405


def test_the_picture_moves_and_everyone_gets_the_same_one(page: WebPage) -> None:
    follow(page)
    with frames(page):
        with viewer(page.port) as one, viewer(page.port) as other:
            texts = []
            for connection in (one, other):
                text = b""
                while text.count(b"\xff\xd9\r\n--picture\r\n") < 3:
                    text += connection.recv(4096)
                texts.append(text)
        still = ask(page.port, "/picture.jpg")
    assert b"multipart/x-mixed-replace; boundary=picture" in texts[0]
    parts = [set(text.split(b"--picture\r\n")[1:4]) for text in texts]
    assert parts[0] & parts[1]
    assert still.headers["content-type"] == "image/jpeg"
    assert size(still.body) == (48, 64, 3)


def test_where_no_picture_comes_a_still_says_so(page: WebPage) -> None:
    answer = ask(page.port, "/picture.jpg")
    assert (answer.status, answer.text) == (503, "No picture comes from the source.\n")


def test_viewers_are_bounded_and_make_room_when_they_leave(page: WebPage) -> None:
    follow(page)
    with frames(page):
        viewers = [viewer(page.port) for _ in range(VIEWERS)]
        for connection in viewers:
            assert b" 200 " in connection.recv(64)
        assert ask(page.port, "/picture.mjpeg").status == 503
        for connection in viewers:
            connection.close()
        until(lambda: ask(page.port, "/picture.jpg").status == 200, "room for another viewer", 20)


def test_a_large_picture_is_made_smaller_with_its_boxes() -> None:
    report = make_report()
    small, whole = shrink(report, 32), shrink(report, 640)
    assert size(encode(small, 75)) == (24, 32, 3)
    assert small.result.detections.xyxy[0].tolist() == [5, 10, 15, 20]
    assert size(encode(whole, 75)) == (48, 64, 3)
    assert not np.shares_memory(whole.frame.image, report.frame.image)
    assert report.result.detections.xyxy[0].tolist() == [10, 20, 30, 40]


def test_the_end_cuts_viewers_off(page: WebPage) -> None:
    follow(page)
    with frames(page), viewer(page.port) as connection:
        assert b" 200 " in connection.recv(64)
        page.close()
        connection.settimeout(10)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
    assert not [thread for thread in threading.enumerate() if thread.name == "web"]
    with pytest.raises(ConnectionRefusedError):
        ask(page.port, "/healthz")


@pytest.fixture
def log() -> TextLog:
    return start_logging("INFO", None, 0)


def test_the_page_is_off_unless_asked_for_and_a_sink_among_the_others(tmp_path: Path, log: TextLog) -> None:
    quiet, parts = LogSettings(dir=tmp_path, records=False), cast(Any, FakeParts())
    with Sinks(Settings(log=quiet), StopFlag(), log) as sinks:
        sinks.turn()
        sinks.follow(parts, parts, parts)
    assert not [thread for thread in threading.enumerate() if thread.name == "web"]
    board = BoardSnapshot(power_w=9.0)
    settings = Settings(log=quiet, web=WebSettings(bind="127.0.0.1:0"))
    with Sinks(settings, StopFlag(), log, lambda: board) as sinks:
        page = next(sink for sink in sinks._sinks if isinstance(sink, WebPage))
        sinks.follow(parts, parts, parts)
        sinks.turn()
        sinks.write(make_report(), None)
        until(lambda: state(page.port)["totals"]["frames"] == 1, "the frame")
        assert state(page.port)["board"]["power_w"] == 9.0
        with pytest.raises(BusyError, match="cannot be served at"):
            Sinks(settings.model_copy(update={"web": WebSettings(bind=f"127.0.0.1:{page.port}")}), StopFlag(), log)
    assert not [thread for thread in threading.enumerate() if thread.name == "web"]
