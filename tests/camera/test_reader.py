"""The reader: frames of finite and live sources, and what happens when they are lost or hang."""

from __future__ import annotations

import threading
import time

import pytest

from perception.camera import outage
from perception.camera.capture import Picture, UnusableSource
from perception.camera.reader import Reader
from perception.camera.uri import parse
from perception.core.errors import EndOfStream, SourceError
from perception.core.frame import Frame, Image
from perception.settings.model import SourceSettings
from tests.camera.readers import FINITE, LIVE, Hanging, MakeReader, Opener, reader_threads, wait_for
from tests.doubles.fakes import FakeCapture, make_image


def read_all(reader: Reader, limit: int = 1000) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < limit:
        try:
            frame = reader.read(5)
        except EndOfStream:
            break
        assert frame is not None
        frames.append(frame)
    return frames


def values(frames: list[Frame]) -> list[int]:
    return [int(frame.image[0, 0, 0]) for frame in frames]


def images(*numbers: int) -> list[Image]:
    return [make_image(number) for number in numbers]


def test_a_finite_source_delivers_each_picture_in_order_once_with_the_last(make_reader: MakeReader) -> None:
    reader = make_reader(FakeCapture(images(*range(50))), uri=FINITE)
    frames = read_all(reader)
    assert values(frames) == list(range(50))
    assert [frame.frame_id for frame in frames] == list(range(50))
    with pytest.raises(EndOfStream):
        reader.read(0)


def test_a_finite_source_is_read_no_more_than_one_picture_ahead(make_reader: MakeReader) -> None:
    reads: list[float] = []
    reader = make_reader(FakeCapture(images(1, 2, 3, 4), before=lambda: reads.append(0)), uri=FINITE)
    assert wait_for(lambda: reader.captured == 1)
    time.sleep(0.05)
    assert len(reads) == 1
    assert len(read_all(reader)) == 4


def test_equal_pictures_of_a_file_are_all_delivered(make_reader: MakeReader) -> None:
    pictures = [Picture(make_image(7), float(second)) for second in range(10)]
    assert len(read_all(make_reader(FakeCapture(pictures), uri=FINITE))) == 10


def test_a_live_source_drops_for_a_slow_consumer_and_the_ids_show_each_drop(make_reader: MakeReader) -> None:
    taken = threading.Semaphore(1)
    reader = make_reader(FakeCapture(images(*range(200)), before=lambda: taken.acquire(timeout=5)))
    for _ in range(9):
        taken.release()
    assert wait_for(lambda: reader.captured == 10)
    first = reader.read(1)
    assert first is not None
    assert (first.frame_id, values([first])) == (9, [9]), "the newest of ten, and nine are gaps"
    taken.release()
    second = reader.read(5)
    assert second is not None
    assert second.frame_id == 10
    processed, dropped = 2, 9
    assert processed + dropped == reader.captured
    taken.release(500)


def test_a_frame_carries_the_time_of_capture_and_a_label_without_credentials(make_reader: MakeReader) -> None:
    reader = make_reader(FakeCapture([Picture(make_image(1), 123.5)]))
    frame = reader.read(5)
    assert frame is not None
    assert (frame.captured_at, frame.source) == (123.5, "rtsp://***@cam/1")


def test_nothing_yet_is_neither_an_end_nor_a_loss(make_reader: MakeReader, logged: list[str]) -> None:
    reader = make_reader(FakeCapture([None, None, make_image(1), None, make_image(2)]), uri=FINITE)
    assert values(read_all(reader)) == [1, 2]
    assert not any("lost" in line for line in logged)


def test_nothing_within_the_time_reads_as_none(make_reader: MakeReader) -> None:
    reader = make_reader()
    assert reader.is_open(5)
    assert reader.read(0.01) is None


@pytest.mark.parametrize("uri", [LIVE, FINITE])
def test_a_source_that_cannot_be_opened_says_so_at_once(make_reader: MakeReader, uri: str) -> None:
    reader = make_reader(SourceError("no such thing", "Look."), uri=uri)
    started = time.monotonic()
    with pytest.raises(SourceError, match=r"no such thing. Look."):
        reader.is_open(30)
    with pytest.raises(SourceError, match="no such thing"):
        reader.read(30)
    assert time.monotonic() - started < 5


def test_a_file_that_breaks_off_is_raised_to_the_reader_after_its_last_frame(make_reader: MakeReader) -> None:
    reader = make_reader(FakeCapture([make_image(1), SourceError("it broke")]), uri=FINITE)
    frame = reader.read(5)
    assert frame is not None
    with pytest.raises(SourceError, match="it broke"):
        reader.read(5)


def test_a_bug_in_the_thread_is_raised_to_the_reader_and_not_swallowed(make_reader: MakeReader) -> None:
    reader = make_reader(FakeCapture([make_image(1), ZeroDivisionError("a bug")]))
    assert wait_for(lambda: not reader_threads())
    assert reader.read(5) is not None
    with pytest.raises(ZeroDivisionError, match="a bug"):
        reader.read(5)


def test_the_capture_is_closed_after_the_end_and_after_a_fault(make_reader: MakeReader) -> None:
    ended = FakeCapture([])
    broken = FakeCapture([SourceError("it broke")])
    for capture in (ended, broken):
        with pytest.raises((EndOfStream, SourceError)):
            make_reader(capture, uri=FINITE).read(5)
    assert wait_for(lambda: ended.closed and broken.closed)


@pytest.mark.usefixtures("quick_backoff")
def test_a_lost_camera_is_closed_reopened_and_goes_on_with_the_next_id(
    make_reader: MakeReader, logged: list[str]
) -> None:
    first = FakeCapture([make_image(1), SourceError("the cable")])
    reader = make_reader(first, SourceError("not yet"), SourceError("not yet"), FakeCapture(images(2)))
    assert wait_for(lambda: reader.captured == 2)
    frame = reader.read(5)
    assert frame is not None
    assert (frame.frame_id, values([frame])) == (1, [2])
    assert first.closed
    lost = [line for line in logged if line.startswith("WARNING Source lost after ")]
    assert [line.partition(" s: ")[2] for line in lost] == ["the cable. Reconnecting to rtsp://***@cam/1"]
    assert "INFO Source live: rtsp://***@cam/1 (fake)" in logged
    assert any(line.startswith("INFO Source live after ") for line in logged)


def test_a_lost_camera_is_closed_before_the_wait_for_the_next_attempt(
    make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "BACKOFF_S", (600.0, 600.0))
    capture = FakeCapture([make_image(1), SourceError("the cable")])
    reader = make_reader(capture)
    assert wait_for(lambda: capture.closed)
    assert reader.state.state == "lost", "it waits"
    assert reader.close(), "a reader that waits for its next attempt ends at once"


@pytest.mark.usefixtures("quick_backoff")
def test_a_repeated_picture_is_never_delivered_as_new_also_after_reopening(
    make_reader: MakeReader, logged: list[str]
) -> None:
    frozen = [Picture(make_image(7), second / 10) for second in range(20)]
    again = [Picture(make_image(7), 50 + second / 10) for second in range(20)]
    reader = make_reader(
        FakeCapture([Picture(make_image(1), 0.0), *frozen]), FakeCapture(again), FakeCapture(images(9))
    )
    assert wait_for(lambda: reader.captured == 3)
    assert len([line for line in logged if "it repeats one picture for 1 s" in line]) == 1, "the second is no change"
    assert len([line for line in logged if line.startswith("INFO Source live after ")]) == 1
    frame = reader.read(5)
    assert frame is not None
    assert values([frame]) == [9]


def test_close_ends_the_thread_and_may_be_called_again(make_reader: MakeReader) -> None:
    capture = FakeCapture(images(*range(100)))
    with make_reader(capture, uri=FINITE) as reader:
        assert reader.read(5) is not None
    assert reader.close()
    assert reader.close()
    assert capture.closed
    assert reader_threads() == []


@pytest.mark.parametrize("where", ["open", "read"])
def test_close_does_not_wait_for_a_source_that_hangs(make_reader: MakeReader, where: str) -> None:
    hanging = Hanging()
    settings = SourceSettings(uri=LIVE)
    reader = Reader(parse(LIVE), hanging.open if where == "open" else lambda: hanging, settings)
    assert hanging.reached.wait(5)
    assert reader.close() is False
    hanging.let_go()
    assert wait_for(lambda: not reader_threads())
    assert reader.close() is True


@pytest.mark.usefixtures("quick_backoff")
def test_with_wait_a_missing_camera_is_waited_for_and_said_so_once_a_minute(
    make_reader: MakeReader, logged: list[str]
) -> None:
    faults = [SourceError("no camera there", "Plug it in.") for _ in range(5)]
    reader = make_reader(*faults, FakeCapture(images(1)), wait=True)
    assert reader.is_open(10)
    frame = reader.read(5)
    assert frame is not None
    said = [line for line in logged if "waiting for camera" in line]
    assert said == ["WARNING waiting for camera, 0 s so far: no camera there. Plug it in."]


def test_without_wait_the_first_failure_is_the_end(make_reader: MakeReader) -> None:
    opener = Opener([SourceError("no camera there")])
    reader = make_reader(opener=opener, wait=False)
    with pytest.raises(SourceError, match="no camera there"):
        reader.is_open(5)
    assert opener.calls == 1


def test_wait_does_not_wait_for_a_file(make_reader: MakeReader) -> None:
    with pytest.raises(SourceError, match="no file"):
        make_reader(SourceError("no file"), uri=FINITE, wait=True).is_open(5)


@pytest.mark.usefixtures("quick_backoff")
def test_a_picture_of_another_size_is_named_once_and_the_frames_go_on(
    make_reader: MakeReader, logged: list[str]
) -> None:
    small = [make_image(number, 48, 64) for number in (2, 3, 4)]
    reader = make_reader(FakeCapture([make_image(1, 96, 128), SourceError("the cable")]), FakeCapture(small))
    assert wait_for(lambda: reader.captured == 4)
    named = [line for line in logged if "another size" in line]
    assert named == ["WARNING Pictures of rtsp://***@cam/1 have another size: 128x96 -> 64x48"]


def test_images_of_a_folder_may_have_any_size(make_reader: MakeReader, logged: list[str]) -> None:
    sizes = [make_image(1, 96, 128), make_image(2, 48, 64)]
    assert len(read_all(make_reader(FakeCapture(sizes), uri=FINITE))) == 2
    assert not any("another size" in line for line in logged)


@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize("uri", [LIVE, "csi://0"])
def test_what_no_waiting_mends_ends_the_source_at_once_also_with_wait(make_reader: MakeReader, uri: str) -> None:
    opener = Opener([UnusableSource("no GStreamer", "Install it.")])
    reader = make_reader(opener=opener, uri=uri, wait=True)
    with pytest.raises(SourceError, match="no GStreamer") as caught:
        reader.is_open(5)
    assert (caught.value.exit_code, opener.calls) == (3, 1)


@pytest.mark.usefixtures("quick_backoff")
def test_a_camera_that_is_unplugged_and_plugged_in_again_goes_on(make_reader: MakeReader) -> None:
    gone = [SourceError("There is no camera at /dev/video0") for _ in range(5)]
    reader = make_reader(
        FakeCapture([make_image(1), SourceError("gives no more pictures")]), *gone, FakeCapture(images(2)), uri="0"
    )
    assert wait_for(lambda: reader.captured == 2)
    state = reader.state
    assert (state.state, state.reconnects, state.fault) == ("live", 1, "There is no camera at /dev/video0")
    frame = reader.read(5)
    assert frame is not None
    assert values([frame]) == [2], "no black picture fills the gap"
