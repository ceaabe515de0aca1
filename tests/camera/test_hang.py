"""A driver that hangs: its thread is left behind, another one goes on, and a new process ends what cannot be ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from perception.camera import outage, watches
from perception.camera import reader as camera_reader
from perception.camera.capture import Capture, Picture
from perception.camera.reader import MAX_HUNG, Reader
from perception.camera.uri import parse
from perception.core.errors import EndOfStream, SourceError
from perception.settings.model import SourceSettings
from tests.camera.readers import FINITE, LIVE, Hanging, MakeReader, reader_threads, wait_for
from tests.doubles.fakes import FakeCapture, make_image


class Hangs:
    """Opens captures of which each gives one picture and then hangs."""

    def __init__(self) -> None:
        self.captures: list[OneThenHang] = []

    def __call__(self) -> OneThenHang:
        self.captures.append(OneThenHang(len(self.captures)))
        return self.captures[-1]

    def let_go(self) -> None:
        for capture in self.captures:
            capture.hanging.let_go()


class OneThenHang:
    summary = "hanging"
    fps = 0.0

    def __init__(self, number: int) -> None:
        self.hanging = Hanging()
        self.closed = False
        self._pictures = [Picture(make_image(number), 0.0)]

    def read(self) -> Picture | None:
        if self._pictures:
            return self._pictures.pop()
        self.hanging.read()
        return Picture(make_image(250), 0.0)  # too late: another thread speaks for the source by now

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, quick_backoff: None) -> None:
    """No grace beyond the limits of the settings."""
    for name in ("OPEN_GRACE_S", "READ_GRACE_S"):
        monkeypatch.setattr(camera_reader, name, 0.0)
    monkeypatch.setattr(watches, "LONGEST_GAP_S", 0.1)  # a busy machine, where nobody looks for a while, is no silence


QUICK = SourceSettings(uri=LIVE, stall_s=0.5, open_timeout_s=0.5)


def read_until(reader: Reader, count: int) -> list[int]:
    """The values of frames until one is the count-th of the source, looking often, as the loop does."""
    seen: list[int] = []
    deadline = time.monotonic() + 20
    while reader.captured < count or not seen or seen[-1] < count - 1:
        assert time.monotonic() < deadline
        frame = reader.read(0.02)
        if frame is not None:
            seen.append(int(frame.image[0, 0, 0]))
    return seen


@pytest.mark.usefixtures("impatient")
def test_a_read_that_hangs_is_a_lost_source_that_another_thread_opens_anew(logged: list[str]) -> None:
    opener = Hangs()
    reader = Reader(parse(LIVE), opener, QUICK)
    try:
        assert read_until(reader, 3) == [0, 1, 2]
        assert len(reader_threads()) == 3
        lost = [line for line in logged if "Source lost" in line]
        assert len(lost) == 2
        assert "nothing came from rtsp://***@cam/1 for 0.5 s (source.stall_s). Reconnecting to" in lost[0]
        assert reader.state.reconnects == 2
        opener.captures[0].hanging.let_go()
        assert wait_for(lambda: opener.captures[0].closed), "what comes back late gives its capture back"
        assert wait_for(lambda: len(reader_threads()) == 2)
        assert reader.captured == 3, "and delivers nothing any more"
    finally:
        opener.let_go()
        assert wait_for(reader.close)
    assert all(capture.closed for capture in opener.captures)


@pytest.mark.usefixtures("impatient")
def test_the_silence_of_a_thread_is_not_held_against_the_one_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "BACKOFF_S", (30.0, 30.0))
    hanging = Hanging()
    reader = Reader(parse(LIVE), hanging.open, SourceSettings(uri=LIVE, wait=True, open_timeout_s=0.5))
    try:
        assert wait_for(lambda: reader.is_open(0.02) or len(reader_threads()) == 2)
        assert reader._silence.silent_s(reader._thread.steps) == 0
    finally:
        hanging.let_go()
        assert wait_for(reader.close)


@pytest.mark.usefixtures("impatient")
def test_a_driver_that_hangs_again_and_again_ends_the_source_for_a_new_process() -> None:
    opener = Hangs()
    reader = Reader(parse(LIVE), opener, QUICK)
    try:
        with pytest.raises(SourceError, match=r"5 calls hang in the driver of rtsp://\*\*\*@cam/1 for good") as caught:
            read_until(reader, 100)
        assert caught.value.exit_code == 3
        assert len(opener.captures) == MAX_HUNG + 1
        assert len(reader_threads()) == MAX_HUNG + 1
    finally:
        opener.let_go()
        assert wait_for(reader.close)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("uri", "ends"), [("0", True), ("csi://0", True), (LIVE, False)])
def test_a_camera_that_a_hung_call_may_hold_ends_the_source_after_some_refusals(uri: str, ends: bool) -> None:
    first, calls = OneThenHang(0), [0]

    def open_capture() -> OneThenHang:
        calls[0] += 1
        if calls[0] > 1:
            raise SourceError("it is in use")
        return first

    reader = Reader(parse(uri), open_capture, QUICK)
    try:
        if ends:
            with pytest.raises(SourceError, match="it is in use, and 1 call hangs in the driver of"):
                read_until(reader, 100)
            assert calls[0] == 4
        else:
            read_until(reader, 1)
            assert wait_for(lambda: reader.read(0.02) or calls[0] > 8)
    finally:
        first.hanging.let_go()
        assert wait_for(reader.close)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("wait", [True, False])
def test_an_opening_that_hangs_is_tried_again_with_wait_and_else_an_error(wait: bool, logged: list[str]) -> None:
    hanging, camera = Hanging(), FakeCapture([make_image(1)])
    turns: Iterator[Callable[[], Capture]] = iter([hanging.open, lambda: camera])
    settings = SourceSettings(uri=LIVE, wait=wait, open_timeout_s=0.5)

    def open_capture() -> Capture:
        return next(turns)()

    reader = Reader(parse(LIVE), open_capture, settings)
    try:
        if wait:
            assert wait_for(lambda: reader.is_open(0.02))
            assert any("waiting for camera" in line and "did not open within 0.5 s" in line for line in logged)
        else:
            with pytest.raises(SourceError, match=r"\*\*\*@cam/1 did not open within 0.5 s.*source.wait: true"):
                wait_for(lambda: reader.is_open(0.02))
    finally:
        hanging.let_go()
        assert wait_for(reader.close)


@pytest.mark.usefixtures("impatient")
def test_a_source_that_says_nothing_yet_for_too_long_is_lost_as_well(logged: list[str]) -> None:
    def nothing() -> None:
        time.sleep(0.005)

    silent = FakeCapture([make_image(1), *[None] * 100_000], before=nothing)
    turns = iter([silent, FakeCapture([make_image(2)])])
    reader = Reader(parse(LIVE), lambda: next(turns), QUICK)
    assert wait_for(lambda: reader.read(0.02) is not None and reader.captured == 2)
    assert wait_for(lambda: silent.closed)
    assert any("nothing came from rtsp://***@cam/1 for 0.5 s" in line for line in logged)
    assert reader.close()


def test_a_file_may_take_as_long_as_it_likes(make_reader: MakeReader) -> None:
    slow = FakeCapture([make_image(1)], before=lambda: time.sleep(1.2))
    reader = make_reader(slow, uri=FINITE, stall_s=0.5)
    assert wait_for(lambda: reader.read(0.02) is not None)
    with pytest.raises(EndOfStream):
        reader.read(5)
