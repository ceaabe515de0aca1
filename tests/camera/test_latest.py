"""The mailbox, the watch for repeated pictures, the reader and its outages."""

from __future__ import annotations

import random
import threading
import time

import numpy as np
import pytest

from perception.camera import latest
from perception.camera.capture import Picture
from perception.camera.latest import Mailbox, Outage, Reader, RepeatWatch
from perception.camera.uri import parse
from perception.config import SourceSettings
from perception.errors import EndOfStream, SourceError
from perception.frame import Frame, Image
from tests.camera.readers import FINITE, LIVE, Hanging, MakeReader, Opener, reader_threads, wait_for
from tests.fakes import FakeCapture, FakeClock, make_image


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


def test_where_the_newest_wins_an_item_takes_the_place_of_an_older_one() -> None:
    box: Mailbox[int] = Mailbox(newest_wins=True)
    for number in range(5):
        box.wait_for_room()
        box.put(number)
    assert box.take(0) == 4
    assert box.take(0) is None


def test_where_it_waits_a_sender_has_room_only_after_the_item_was_taken() -> None:
    box: Mailbox[int] = Mailbox(newest_wins=False)
    box.wait_for_room()
    box.put(1)
    has_room = threading.Event()

    def send() -> None:
        box.wait_for_room()
        has_room.set()

    sender = threading.Thread(target=send)
    sender.start()
    assert not has_room.wait(0.05)
    assert box.take(0) == 1
    assert has_room.wait(5)
    sender.join(5)


def test_closing_a_mailbox_lets_a_waiting_sender_go() -> None:
    box: Mailbox[int] = Mailbox(newest_wins=False)
    box.put(1)
    sender = threading.Thread(target=box.wait_for_room)
    sender.start()
    box.close()
    sender.join(5)
    assert not sender.is_alive()


def test_a_waiting_receiver_gets_an_item_the_moment_it_comes() -> None:
    box: Mailbox[int] = Mailbox(newest_wins=True)
    threading.Timer(0.05, box.put, [7]).start()
    started = time.monotonic()
    assert box.take(30) == 7
    assert time.monotonic() - started < 5


def test_a_receiver_gets_none_where_nothing_comes_in_time() -> None:
    assert Mailbox[int](newest_wins=True).take(0.01) is None


@pytest.mark.parametrize("newest_wins", [True, False])
def test_the_last_item_is_received_before_the_end(newest_wins: bool) -> None:
    box: Mailbox[int] = Mailbox(newest_wins)
    box.put(1)
    box.end(EndOfStream())
    assert box.take(0) == 1
    for _ in range(2):
        with pytest.raises(EndOfStream):
            box.take(0)


def test_a_picture_is_new_where_one_pixel_differs_between_the_grid_of_the_quick_look() -> None:
    watch = RepeatWatch(1.0)
    other = make_image(0)
    other[17, 33, 1] = 1
    assert watch.is_new(Picture(make_image(0), 0.0))
    assert watch.is_new(Picture(other, 0.1))
    assert not watch.is_new(Picture(other.copy(), 0.2))


def test_a_picture_of_another_size_is_new() -> None:
    watch = RepeatWatch(1.0)
    assert watch.is_new(Picture(make_image(0, 48, 64), 0.0))
    assert watch.is_new(Picture(make_image(0, 96, 64), 0.1))


def test_a_picture_repeated_for_longer_than_the_limit_is_a_lost_source() -> None:
    watch = RepeatWatch(1.0)
    assert watch.is_new(Picture(make_image(5), 10.0))
    assert not watch.is_new(Picture(make_image(5), 10.5))
    assert not watch.is_new(Picture(make_image(5), 11.0))
    with pytest.raises(SourceError, match="repeats one picture for 1 s"):
        watch.is_new(Picture(make_image(5), 11.1))


def test_a_new_picture_starts_the_limit_again() -> None:
    watch = RepeatWatch(1.0)
    for n in range(40):
        assert watch.is_new(Picture(make_image(n), n * 0.9))
        assert not watch.is_new(Picture(make_image(n), n * 0.9 + 0.8))


def test_a_reopened_source_has_the_whole_limit_again_but_its_old_picture_stays_old() -> None:
    watch = RepeatWatch(1.0)
    assert watch.is_new(Picture(make_image(5), 0.0))
    watch.reopened()
    assert not watch.is_new(Picture(make_image(5), 60.0))
    assert not watch.is_new(Picture(make_image(5), 61.0))
    with pytest.raises(SourceError):
        watch.is_new(Picture(make_image(5), 61.1))


def test_a_limit_of_0_switches_the_watch_off() -> None:
    watch = RepeatWatch(0)
    assert all(watch.is_new(Picture(make_image(5), float(second))) for second in range(100))


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
    assert "WARNING Source lost: the cable. Reconnecting to rtsp://***@cam/1" in logged
    assert "INFO Source live: rtsp://***@cam/1 (fake)" in logged
    assert any(line.startswith("INFO Source live after ") for line in logged)


def test_a_lost_camera_is_closed_before_the_wait_for_the_next_attempt(make_reader: MakeReader) -> None:
    capture = FakeCapture([make_image(1), SourceError("the cable")])
    reader = make_reader(capture)
    assert wait_for(lambda: capture.closed, timeout_s=0.9), "the wait is a second at least"
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
    assert len([line for line in logged if "it repeats one picture for 1 s" in line]) == 2
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
    started = time.monotonic()
    assert reader.close() is False
    assert 0.5 < time.monotonic() - started < 2
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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(time, "monotonic", fake)
    return fake


def make_outage(waits: bool = True, seed: int = 0) -> Outage:
    return Outage(parse(LIVE), waits, random.Random(seed))


def test_the_reminder_comes_at_most_once_a_minute_and_counts_the_seconds(
    monkeypatch: pytest.MonkeyPatch, logged: list[str], clock: FakeClock
) -> None:
    outage = make_outage()
    for _ in range(181):
        outage.failed(SourceError("no camera"))
        clock.now += 1
    assert logged == [f"WARNING waiting for camera, {s} s so far: no camera" for s in (0, 60, 120, 180)]


def test_an_outage_of_a_camera_that_was_live_reminds_of_reconnecting(logged: list[str], clock: FakeClock) -> None:
    outage = make_outage(waits=False)
    outage.over("640x480")
    outage.lost(SourceError("the cable", "Mend it."))
    clock.now += 61
    outage.failed(SourceError("no answer"))
    clock.now += 1
    outage.over("640x480")
    assert logged == [
        "INFO Source live: rtsp://***@cam/1 (640x480)",
        "WARNING Source lost: the cable. Reconnecting to rtsp://***@cam/1",
        "WARNING reconnecting, 61 s so far: no answer",
        "INFO Source live after 62.0 s: rtsp://***@cam/1 (640x480)",
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_pauses_grow_from_1_to_30_seconds_and_stay_within(seed: int) -> None:
    outage = make_outage(seed=seed)
    pauses = [outage.failed(SourceError("x")) for _ in range(40)]
    assert all(1 <= pause <= 30 for pause in pauses)
    assert pauses[0] <= 1.2
    assert all(pause >= 0.8 * 30 for pause in pauses[6:])
    assert len(set(pauses)) > 10, "two devices do not knock at the same moments"


def test_pauses_of_two_devices_differ() -> None:
    one, other = (
        [outage.failed(SourceError("x")) for _ in range(5)] for outage in (make_outage(seed=1), make_outage(seed=2))
    )
    assert one != other


def test_a_camera_that_opens_but_gives_no_picture_does_not_end_the_back_off() -> None:
    outage = make_outage()
    pauses = []
    for _ in range(8):
        outage.over("640x480")
        pauses.append(outage.lost(SourceError("gives no more pictures")))
    assert pauses[-1] >= 24
    outage.delivered()
    assert outage.lost(SourceError("the cable")) <= 1.2


def test_images_are_compared_by_content_and_not_by_identity() -> None:
    image = make_image(3)
    assert latest._equal(image, image.copy())
    assert not latest._equal(image, np.zeros_like(image))
