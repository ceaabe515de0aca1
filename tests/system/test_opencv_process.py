"""Silence of OpenCV, whichever way its version offers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from perception.system.opencv_process import prepare_opencv


class Levels:
    """OpenCV's level."""

    def __init__(self) -> None:
        self.level = 3

    def setLogLevel(self, level: int) -> int:
        before, self.level = self.level, level
        return before


LEVELS = Levels()
SET = {"setLogLevel": LEVELS.setLogLevel}


@pytest.mark.parametrize(
    ("version", "silenced"),
    [
        (SimpleNamespace(utils=SimpleNamespace(logging=SimpleNamespace(**SET))), True),
        (SimpleNamespace(utils=SimpleNamespace(), **SET), True),
        (SimpleNamespace(**SET), True),
        (SimpleNamespace(utils=SimpleNamespace()), False),
    ],
)
def test_every_version_is_silenced_as_far_as_it_can_be_and_stays_silent(version: Any, silenced: bool) -> None:
    LEVELS.level = 3
    for _ in range(2):
        prepare_opencv(version)
        assert LEVELS.level == (0 if silenced else 3)


def test_this_opencv_says_nothing_of_a_file_that_is_no_video(capfd: pytest.CaptureFixture[str]) -> None:
    prepare_opencv(cv2)
    assert not cv2.VideoCapture("/none.mp4", cv2.CAP_FFMPEG).isOpened()
    assert capfd.readouterr().err == ""
