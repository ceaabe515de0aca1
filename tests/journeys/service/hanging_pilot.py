"""The pilot with a backend whose third inference never returns: python hanging_pilot.py, with the flags of pilot.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import pilot
from detector_service import DetectorService
from perception.app import cli
from perception.backends.base import Found, Request
from perception.core.frame import Frame
from perception.settings.model import Settings
from perception.system.stop import StopFlag
from tests.doubles.fakes import REQUEST, FakeBackend


class HangingBackend(FakeBackend):
    """The warm-up and one frame go well."""

    def __init__(self) -> None:
        super().__init__()
        self._left = 2

    def detect(self, frames: Sequence[Frame], request: Request) -> list[Found]:
        if not self._left:
            sys.stderr.write("hangs\n")
            time.sleep(3600)
        self._left -= 1
        return super().detect(frames, request)


def open_service(settings: Settings, *_: object) -> DetectorService:
    """In place of the selection of backends, which takes no time."""
    return DetectorService(HangingBackend(), REQUEST)


if __name__ == "__main__":
    vars(pilot)["open_service"] = open_service
    stop = StopFlag()
    stop.listen()
    cli.start(pilot.run, pilot.check, stop)
