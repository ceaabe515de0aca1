"""Sources that decode into frames that somebody lends them: in place, and only while nobody else holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perception.app.stream import open_source
from perception.camera.opencv import Camera
from perception.camera.uri import parse
from perception.core.errors import EndOfStream
from perception.core.frame import Image
from perception.settings.model import SourceSettings
from tests.camera.clips import write_clip


class Lender:
    """Lends frames of one size, each once, and remembers them."""

    def __init__(self, hw: tuple[int, int], count: int) -> None:
        self._hw = hw
        self._left = count
        self.asked: list[tuple[int, int]] = []
        self.lent: list[Image] = []

    def __call__(self, hw: tuple[int, int]) -> Image | None:
        self.asked.append(hw)
        if hw != self._hw or not self._left:
            return None
        self._left -= 1
        self.lent.append(np.zeros((*hw, 3), np.uint8))
        return self.lent[-1]


def images(uri: str, lender: Lender | None) -> list[Image]:
    found: list[Image] = []
    with open_source(SourceSettings(uri=uri), lender) as source:
        while True:
            try:
                frame = source.read(5)
            except EndOfStream:
                return found
            assert frame is not None
            found.append(frame.image)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", count=8)


def test_a_file_is_decoded_into_lent_frames_from_its_second_picture_on(clip: Path) -> None:
    lender = Lender((96, 160), 4)
    found, plain = images(str(clip), lender), images(str(clip), None)
    assert len(found) == len(plain) == 8
    assert [any(image is lent for lent in lender.lent) for image in found] == [False, *[True] * 4, *[False] * 3]
    assert all(np.array_equal(one, other) for one, other in zip(found, plain))


def test_a_lender_of_another_size_is_no_hindrance(clip: Path) -> None:
    lender = Lender((10, 10), 4)
    assert all(np.array_equal(one, other) for one, other in zip(images(str(clip), lender), images(str(clip), None)))
    assert set(lender.asked) == {(96, 160)}
    assert not lender.lent


def test_a_camera_is_retrieved_into_lent_frames(clip: Path) -> None:
    import cv2

    camera = Camera(cv2.VideoCapture(str(clip)), parse("rtsp://192.0.2.7/stream"))
    lender = Lender((96, 160), 10)
    camera.borrow_from(lender)
    pictures = [camera.read() for _ in range(4)]
    camera.close()
    images = [picture.image for picture in pictures if picture]
    assert [image is lent for image, lent in zip(images[1:], lender.lent)] == [True] * 3
