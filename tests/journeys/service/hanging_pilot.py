"""The pilot with a backend whose third inference never returns: python hanging_pilot.py, with the flags of pilot.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import pilot
from detector_service import Backend, DetectorService
from perception.app import cli
from perception.core.frame import Candidates, Image, StageTimes
from perception.settings.model import Settings
from perception.system.stop import StopFlag
from tests.doubles.fakes import FakeBackend


class HangingBackend(FakeBackend):
    """The warm-up and one frame go well."""

    def __init__(self) -> None:
        super().__init__()
        self._left = 2

    def infer(
        self,
        images: Sequence[Image],
        conf: float,
        meanwhile: Callable[[], None] | None = None,
        iou: float | None = None,
    ) -> list[tuple[Candidates, StageTimes]]:
        if not self._left:
            sys.stderr.write("hangs\n")
            time.sleep(3600)
        self._left -= 1
        return super().infer(images, conf)


def open_service(settings: Settings, alive: Callable[[str], None]) -> DetectorService:
    """In place of the selection of backends, which takes no time."""
    backend: Backend = HangingBackend()
    return DetectorService(backend, settings.model.conf, settings.model.iou)


if __name__ == "__main__":
    vars(pilot)["open_service"] = open_service
    stop = StopFlag()
    stop.listen()
    cli.start(pilot.run, pilot.check, stop)
