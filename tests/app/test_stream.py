"""The loop's side: until the end, the limits of the run, or a stop."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from perception.app import stream
from perception.app.stream import frames, wait_until_open
from perception.camera import reader as camera_reader
from perception.camera.reader import Reader
from perception.camera.uri import parse
from perception.core.errors import SourceError
from perception.settings.model import RunSettings, SourceSettings
from perception.system.stop import StopFlag
from tests.camera.readers import FINITE, LIVE, Hanging, MakeReader, wait_for
from tests.doubles.fakes import FakeCapture, FakeClock, make_image

SETTINGS = SourceSettings(uri=LIVE)


def numbered(count: int) -> FakeCapture:
    return FakeCapture([make_image(number) for number in range(count)])


def test_the_frames_end_with_the_stream(make_reader: MakeReader) -> None:
    source = make_reader(numbered(5), uri=FINITE)
    assert [frame.frame_id for frame in frames(source, RunSettings(), StopFlag())] == [0, 1, 2, 3, 4]


def test_the_frames_end_after_max_frames(make_reader: MakeReader) -> None:
    source = make_reader(numbered(50), uri=FINITE)
    assert len(list(frames(source, RunSettings(max_frames=3), StopFlag()))) == 3


def test_the_frames_end_after_the_duration(make_reader: MakeReader) -> None:
    clock = FakeClock()
    source = make_reader(numbered(50), uri=FINITE)
    seen = 0
    for _ in frames(source, RunSettings(duration_s=10.0), StopFlag(), clock):
        seen += 1
        clock.now += 2.5
    assert seen == 4


def test_a_stop_ends_the_frames_after_the_one_in_hand(make_reader: MakeReader) -> None:
    stop = StopFlag()
    seen = 0
    for _ in frames(make_reader(numbered(50), uri=FINITE), RunSettings(), stop):
        seen += 1
        stop.requested = True
    assert seen == 1


@pytest.mark.parametrize("where", ["open", "read"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_frames_also_while_the_source_hangs(where: str, number: signal.Signals) -> None:
    hanging = Hanging()
    source = Reader(parse(LIVE), hanging.open if where == "open" else lambda: hanging, SETTINGS)
    stop = StopFlag()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop.listen()

    def send() -> None:
        hanging.reached.wait(30)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    try:
        sender.start()
        assert list(frames(source, RunSettings(), stop)) == []
        assert source.close() is False, "it hangs still"
        assert stop.requested
    finally:
        sender.join(5)
        for kind, handler in before.items():
            signal.signal(kind, handler)
        hanging.let_go()
        assert wait_for(source.close)


def test_a_source_that_cannot_be_opened_raises_its_reason(make_reader: MakeReader) -> None:
    source = make_reader(SourceError("no such camera", "Look."))
    with pytest.raises(SourceError, match=r"no such camera. Look."):
        list(frames(source, RunSettings(), StopFlag()))


def test_a_source_that_does_not_open_in_time_is_an_error_that_tells_of_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_reader, "OPEN_GRACE_S", 0.0)
    monkeypatch.setattr(stream, "POLL_S", 0.01)
    hanging = Hanging()
    settings = SourceSettings(uri=LIVE, open_timeout_s=0.5)
    source = Reader(parse(LIVE), hanging.open, settings)
    with pytest.raises(SourceError, match=r"rtsp://\*\*\*@cam/1 did not open within 0.5 s.*source.wait: true"):
        wait_until_open(source, StopFlag())
    hanging.let_go()
    assert wait_for(source.close)


def test_with_wait_a_camera_that_hangs_is_waited_for_until_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_reader, "OPEN_GRACE_S", 0.0)
    monkeypatch.setattr(stream, "POLL_S", 0.01)
    hanging = Hanging()
    settings = SourceSettings(uri=LIVE, open_timeout_s=0.5, wait=True)
    source = Reader(parse(LIVE), hanging.open, settings)
    stop = StopFlag()
    timer = threading.Timer(0.8, setattr, (stop, "requested", True))
    timer.start()
    assert wait_until_open(source, stop) is False
    timer.join(5)
    hanging.let_go()
    assert wait_for(source.close)


@pytest.mark.usefixtures("quick_backoff")
def test_frames_of_a_lost_camera_go_on_when_it_is_back(make_reader: MakeReader) -> None:
    source = make_reader(FakeCapture([make_image(1), SourceError("the cable")]), numbered(1), numbered(0))
    got = frames(source, RunSettings(max_frames=1), StopFlag())
    assert len(list(got)) == 1
