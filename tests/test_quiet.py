"""Silence of OpenCV, whichever way its version offers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from perception import quiet
from perception.quiet import quiet_opencv


class Levels:
    """OpenCV's pair of functions."""

    def __init__(self) -> None:
        self.level = 3

    def getLogLevel(self) -> int:
        return self.level

    def setLogLevel(self, level: int) -> int:
        before, self.level = self.level, level
        return before


LEVELS = Levels()
PAIR = {"getLogLevel": LEVELS.getLogLevel, "setLogLevel": LEVELS.setLogLevel}


@pytest.mark.parametrize(
    ("version", "silenced"),
    [
        (SimpleNamespace(utils=SimpleNamespace(logging=SimpleNamespace(**PAIR))), True),
        (SimpleNamespace(utils=SimpleNamespace(), **PAIR), True),
        (SimpleNamespace(**PAIR), True),
        (SimpleNamespace(utils=SimpleNamespace()), False),
    ],
)
def test_every_version_is_silenced_as_far_as_it_can_be_and_gets_its_level_back(
    monkeypatch: pytest.MonkeyPatch, version: Any, silenced: bool
) -> None:
    monkeypatch.setattr(quiet, "cv2", version)
    with quiet_opencv():
        assert LEVELS.level == (0 if silenced else 3)
    assert LEVELS.level == 3
    with pytest.raises(KeyError), quiet_opencv():
        raise KeyError
    assert LEVELS.level == 3


def test_this_opencv_says_nothing_of_a_file_that_is_no_video(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_opencv():
        assert not cv2.VideoCapture("/none.mp4", cv2.CAP_FFMPEG).isOpened()
    assert capfd.readouterr().err == ""
