"""The watch for repeated pictures, and the one for silence."""

from __future__ import annotations

import numpy as np
import pytest

from perception.camera import watches
from perception.camera.capture import Picture
from perception.camera.watches import RepeatWatch, SilenceWatch
from perception.core.errors import SourceError
from tests.doubles.fakes import FakeClock, make_image


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


def test_equal_pictures_are_new_while_the_clock_of_the_stream_goes_on() -> None:
    watch = RepeatWatch(1.0)
    for n in range(100):
        assert watch.is_new(Picture(make_image(5), n * 0.1, position_ms=n * 100.0))


@pytest.mark.parametrize("later_ms", [100.0, 0.0, float("nan"), None])
def test_where_the_clock_of_the_stream_stands_still_the_pixels_decide(later_ms: float | None) -> None:
    watch = RepeatWatch(1.0)
    assert watch.is_new(Picture(make_image(5), 0.0, position_ms=100.0))
    assert not watch.is_new(Picture(make_image(5), 1.0, position_ms=later_ms))
    assert watch.is_new(Picture(make_image(6), 1.1, position_ms=later_ms))
    assert not watch.is_new(Picture(make_image(6), 1.2, position_ms=later_ms))
    with pytest.raises(SourceError, match="repeats one picture"):
        watch.is_new(Picture(make_image(6), 2.3, position_ms=later_ms))


def test_the_clock_of_a_reopened_stream_tells_nothing_against_the_old_one() -> None:
    watch = RepeatWatch(1.0)
    assert watch.is_new(Picture(make_image(5), 0.0, position_ms=0.0))
    watch.reopened()
    assert not watch.is_new(Picture(make_image(5), 60.0, position_ms=900.0)), "what it showed before"
    assert watch.is_new(Picture(make_image(5), 60.1, position_ms=1000.0))


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


def test_images_are_compared_by_content_and_not_by_identity() -> None:
    image = make_image(3)
    assert watches._equal(image, image.copy())
    assert not watches._equal(image, np.zeros_like(image))


def test_silence_is_counted_from_the_last_step() -> None:
    clock = FakeClock()
    watch = SilenceWatch(clock)
    assert watch.silent_s(0) == 0
    for count in range(1, 6):
        clock.now += 0.2
        assert watch.silent_s(0) == pytest.approx(0.2 * count)
    assert watch.silent_s(1) == 0
    clock.now += 0.5
    assert watch.silent_s(1) == pytest.approx(0.5)


def test_the_time_of_a_stopped_process_is_no_silence() -> None:
    clock = FakeClock()
    watch = SilenceWatch(clock)
    watch.silent_s(3)
    clock.now += 3600
    assert watch.silent_s(3) == 1.0, "the thread had no more chance to move than the watch to look"
