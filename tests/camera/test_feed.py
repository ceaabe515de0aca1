"""The source of a run, and its exchange for another one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perception.camera.feed import Feed
from perception.camera.latest import Reader
from perception.camera.stream import frames
from perception.config import RunSettings, Settings, SourceSettings
from perception.errors import SourceError
from perception.stop import StopFlag
from tests.camera.readers import LIVE, MakeReader
from tests.fakes import FakeCapture, make_image

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
