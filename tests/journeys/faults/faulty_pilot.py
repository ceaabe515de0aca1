"""The pilot with a backend that fails as no real one can be made to: faulty_pilot.py KIND, then its own arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import pilot
from detector_service import DetectorService
from perception.app import cli
from perception.backends.base import Found, Request
from perception.core.errors import BackendError, GpuError
from perception.core.frame import Frame
from perception.settings.model import Settings
from perception.system.stop import StopFlag
from tests.doubles.fakes import REQUEST, FakeBackend, make_candidates

GOOD_FRAMES = 5
FAULTS: dict[str, Exception] = {
    "gpu": GpuError("CUDA error 719 (unspecified launch failure) in infer", "The pilot must be started again."),
    "backend": BackendError("ONNX Runtime cannot run the model: bad allocation"),
    "bug": ZeroDivisionError("a bug"),
}


class FaultyBackend(FakeBackend):
    """Works for some frames, then raises."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(make_candidates((10, 10, 40, 40, 0.9, 2)))
        self._fault = fault
        self._done = 0

    def detect(self, frames: Sequence[Frame], request: Request) -> list[Found]:
        if self._done == GOOD_FRAMES:
            raise self._fault
        self._done += 1
        return super().detect(frames, request)


def main() -> None:
    """Runs the pilot."""
    fault = FAULTS[sys.argv.pop(1)]

    def open_service(settings: Settings, *_: object) -> DetectorService:
        return DetectorService(FaultyBackend(fault), REQUEST)

    setattr(pilot, "open_service", open_service)  # noqa: B010 - not exported, and to be replaced nevertheless
    stop = StopFlag()
    stop.listen()
    cli.start(pilot.run, pilot.check, stop)


if __name__ == "__main__":
    main()
