"""The source of a run, and its exchange for another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import pytest

from perception.app.stream import frames
from perception.camera.feed import Feed, shares_device
from perception.camera.reader import Reader
from perception.camera.uri import parse
from perception.core.errors import EndOfStream, SourceError
from perception.settings.model import RunSettings, Settings, SourceSettings
from perception.system.stop import StopFlag
from tests.camera.readers import LIVE, Hanging, MakeReader
from tests.doubles.fakes import FakeCapture, make_image

FIRST, SECOND = SourceSettings(uri="first.mp4"), SourceSettings(uri="second.mp4")


def numbered(count: int) -> FakeCapture:
    return FakeCapture([make_image(number) for number in range(count)])


@pytest.fixture
def open_reader(make_reader: MakeReader) -> Callable[[SourceSettings], Reader]:
    """Opens any source as one of four pictures, and refuses what is named taken.mp4."""

    def open_four(settings: SourceSettings) -> Reader:
        if settings.uri == "taken.mp4":
            raise SourceError("taken")
        return make_reader(numbered(4), uri=settings.uri)

    return open_four


def read(feed: Feed, count: int) -> list[tuple[str, int]]:
    found = (feed.read(5) for _ in range(count))
    return [(frame.source, frame.frame_id) for frame in found if frame]


def test_the_same_settings_interrupt_nothing(open_reader: Callable[[SourceSettings], Reader]) -> None:
    with Feed(FIRST, open_reader) as feed:
        before = read(feed, 2)
        feed.apply(Settings(source=FIRST))
        assert before + read(feed, 2) == [("first.mp4", number) for number in range(4)]


def test_ids_go_on_after_every_picture_that_the_old_source_had(open_reader: Callable[[SourceSettings], Reader]) -> None:
    with Feed(FIRST, open_reader) as feed:
        read(feed, 4)
        feed.apply(Settings(source=SECOND))
        assert feed.label == "second.mp4"
        assert read(feed, 2) == [("second.mp4", 4), ("second.mp4", 5)]


@pytest.mark.parametrize("uri", ["taken.mp4", "nonsense://x"])
def test_a_source_that_is_refused_leaves_the_old_one_in_force(
    open_reader: Callable[[SourceSettings], Reader], uri: str
) -> None:
    with Feed(FIRST, open_reader) as feed:
        read(feed, 1)
        with pytest.raises(SourceError):
            feed.apply(Settings(source=SourceSettings(uri=uri)))
        (frame,) = read(feed, 1)
        assert frame[0] == "first.mp4"
        feed.apply(Settings(source=FIRST))  # nothing is left to change back
        feed.apply(Settings(source=SECOND))
        assert read(feed, 1)[0][0] == "second.mp4"


def test_the_loop_turns_while_a_camera_is_lost(make_reader: MakeReader) -> None:
    stop = StopFlag()
    turns: list[str] = []
    capture = FakeCapture([make_image(1), make_image(2), SourceError("gone")])
    with Feed(SourceSettings(uri=LIVE), lambda settings: make_reader(capture, uri=settings.uri)) as feed:

        def turn() -> None:
            turns.append(feed.state.state)
            stop.requested = turns.count("lost") + turns.count("reconnecting") > 3

        seen = [frame.frame_id for frame in frames(feed, RunSettings(), stop, turn=turn)]
    assert seen
    assert len(turns) > len(seen)


# A reload that fails


class Cameras:
    """Opens cameras by name: each gives pictures, hangs, or raises; notes in which order they are opened and closed."""

    def __init__(self, make_reader: MakeReader, faults: Mapping[str, Exception]) -> None:
        self.seen: list[str] = []
        self.settings: list[SourceSettings] = []
        self._make_reader = make_reader
        self._faults = dict(faults)

    def __call__(self, settings: SourceSettings) -> Reader:
        self.settings.append(settings)
        self.seen.append(f"open {settings.uri}")
        fault = self._faults.get(settings.uri)
        capture = FakeCapture([fault] if fault else (make_image(number % 200) for number in count()))
        reader = self._make_reader(capture, uri=settings.uri)
        close = reader.close

        def noted() -> bool:
            self.seen.append(f"close {settings.uri}")
            return close()

        reader.close = noted  # type: ignore[method-assign]
        return reader


def wanting(uri: str, wait: bool = False) -> Settings:
    return Settings(source=SourceSettings(uri=uri, open_timeout_s=0.5, stall_s=0.5, wait=wait))


def test_another_source_is_opened_before_the_old_one_is_closed(make_reader: MakeReader) -> None:
    cameras = Cameras(make_reader, {})
    with Feed(SourceSettings(uri="rtsp://one/a"), cameras) as feed:
        assert feed.read(5)
        feed.apply(wanting("rtsp://two/a"))
        assert cameras.seen == ["open rtsp://one/a", "open rtsp://two/a", "close rtsp://one/a"]
        frame = feed.read(5)
        assert frame
        assert frame.source == "rtsp://two/a"


@pytest.mark.parametrize("fault", [SourceError("gone"), EndOfStream()])
@pytest.mark.parametrize("uri", ["rtsp://two/a", "missing.mp4"])
def test_a_source_that_gives_nothing_leaves_the_old_one_untouched(
    make_reader: MakeReader, uri: str, fault: Exception
) -> None:
    cameras = Cameras(make_reader, {uri: fault})
    with Feed(SourceSettings(uri="rtsp://one/a"), cameras) as feed:
        before = feed.read(5)
        with pytest.raises(SourceError):
            feed.apply(wanting(uri, wait=True))
        assert "close rtsp://one/a" not in cameras.seen
        after = feed.read(5)
        assert before
        assert after
        assert (after.source, after.frame_id > before.frame_id) == ("rtsp://one/a", True)
        with pytest.raises(SourceError):
            feed.apply(wanting(uri))


def test_a_source_that_hangs_is_given_up_and_so_is_one_during_which_a_stop_is_asked_for(
    make_reader: MakeReader,
) -> None:
    hanging = Hanging()
    going_on = iter([True, True, False])

    def open_reader(settings: SourceSettings) -> Reader:
        if settings.uri == "rtsp://two/a":
            return make_reader(hanging, uri=settings.uri)
        return make_reader(FakeCapture(make_image(number % 200) for number in count()), uri=settings.uri)

    with Feed(SourceSettings(uri="rtsp://one/a"), open_reader) as feed:
        with pytest.raises(SourceError, match="rtsp://two/a gave no frame within 1 s"):
            feed.apply(wanting("rtsp://two/a"))
        assert feed.read(5)
    with Feed(SourceSettings(uri="rtsp://one/a"), open_reader, lambda: next(going_on)) as feed:
        with pytest.raises(SourceError):
            feed.apply(Settings(source=SourceSettings(uri="rtsp://two/a", open_timeout_s=300)))
        assert feed.read(5)
    hanging.let_go()


def test_one_device_is_closed_opened_and_gone_back_to(make_reader: MakeReader) -> None:
    cameras = Cameras(make_reader, {"csi://0?width=9": SourceError("no such mode")})
    with Feed(SourceSettings(uri="csi://0"), cameras) as feed:
        before = feed.read(5)
        with pytest.raises(SourceError, match="no such mode"):
            feed.apply(wanting("csi://0?width=9"))
        assert cameras.seen == [
            "open csi://0", "close csi://0", "open csi://0?width=9", "close csi://0?width=9", "open csi://0"
        ]  # fmt: skip
        assert cameras.settings[-1].wait, "a camera that was there is waited for"
        after = feed.read(5)
        assert before
        assert after
        assert (after.source, after.frame_id > before.frame_id) == ("csi://0", True)
        feed.apply(wanting("csi://0?width=8"))
        assert cameras.seen[-2:] == ["close csi://0", "open csi://0?width=8"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("csi://0", "csi://0?width=640", True),
        ("csi://0", "csi://1", False),
        ("csi://0", "v4l2:///dev/video0", True),
        ("0", "v4l2:///dev/video0?fps=10", True),
        ("0", "1", False),
        ("rtsp://u:p@cam/1", "rtsp://CAM:554/2", True),
        ("rtsp://cam/1", "rtsp://other/1", False),
        ("gst:videotestsrc ! appsink", "csi://0", True),
        ("clip.mp4", "clip.mp4?loop=1", False),
        ("clip.mp4", "csi://0", False),
        ("demo://drive", "rtsp://cam/1", False),
    ],
)
def test_what_may_be_one_device(one: str, other: str, same: bool) -> None:
    assert shares_device(parse(one), parse(other)) is same


def test_a_link_to_a_device_is_that_device(tmp_path: Path) -> None:
    (tmp_path / "camera").symlink_to("/dev/video7")
    assert shares_device(parse(f"v4l2://{tmp_path}/camera"), parse("7"))
