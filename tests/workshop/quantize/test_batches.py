"""The images of a calibration: unreadable ones are told, and one that goes away ends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception.core.errors import SettingsError
from perception.workshop.quantize.batches import Batches, readable
from tests.workshop.conftest import Event, said


def test_an_image_that_went_away_ends_the_calibration(images: list[Path]) -> None:
    batches = Batches(images, (1, 3, 64, 64))
    assert batches.next() is not None
    images[1].unlink()
    with pytest.raises(SettingsError, match="cannot be read any more"):
        batches.next()


def test_unreadable_images_are_counted_and_named(images: list[Path], tmp_path: Path, events: list[Event]) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    many = images * 10
    assert readable([*many[:20], bad, *many[20:]], events.append) == tuple(many)
    assert f"1 of 71 calibration images cannot be read and are passed over: {bad}" in said(events)
    with pytest.raises(SettingsError, match=r"1 of 8 calibration images cannot be read: .*bad\.jpg"):
        readable([*images, bad], events.append)


def test_exactly_two_percent_may_be_unreadable(images: list[Path], tmp_path: Path, events: list[Event]) -> None:
    good = (images * 14)[:98]
    assert len(readable([*good, tmp_path / "gone", tmp_path / "gone too"], events.append)) == 98
    with pytest.raises(SettingsError, match="3 of 100"):
        readable([*good[:97], *[tmp_path / "gone"] * 3], events.append)


def test_no_images_are_an_error(events: list[Event]) -> None:
    with pytest.raises(SettingsError, match="no images"):
        readable([], events.append)
    with pytest.raises(SettingsError, match="no images"):
        Batches([], (1, 3, 64, 64))
