"""DetectorService: frames in, their vehicles out, with the time of each stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType

import numpy as np

from perception.backends.base import Alive, Backend, Export, Request, request_of
from perception.backends.selection import select
from perception.core.frame import Frame, Image
from perception.core.nms import nms
from perception.core.results import BackendInfo, Result, StageTimes
from perception.settings.model import Settings

WARM_UP_HW = (720, 1280)
"""Pixels of the frame of the warm-up: what a CSI camera gives unless it is asked for another size."""


class DetectorService:
    """Detects vehicles with one backend. A context manager that closes the backend.

    request: the confidence above which a vehicle counts, the IoU above which two boxes of a class are one, the classes.
    clock: as frames are stamped.
    """

    def __init__(
        self,
        backend: Backend,
        request: Request,
        clock: Callable[[], float] = time.monotonic,
        passed_over: Sequence[str] = (),
    ) -> None:
        """passed_over: the steps of the selection before this backend, each with the reason why it does not serve."""
        self.passed_over = tuple(passed_over)
        self._backend = backend
        self._request = request
        self._clock = clock

    @property
    def info(self) -> BackendInfo:
        """The backend that serves."""
        return self._backend.info

    def lend(self, hw: tuple[int, int]) -> Image | None:
        """Return a frame to decode a picture of (height, width) into, or None where the backend has none to lend."""
        return self._backend.lend(hw)

    def __enter__(self) -> DetectorService:
        """Run one inference on a synthetic frame, so that the first frame of the source is not the first one."""
        with ExitStack() as stack:
            stack.enter_context(self._backend)
            self.detect((Frame(np.full((*WARM_UP_HW, 3), 114, np.uint8), 0, self._clock(), "warm-up"),))
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._backend.__exit__(kind, fault, trace)

    def apply(self, settings: Settings) -> None:
        """Take over model.conf, model.iou and classes.

        Raises SettingsError or BackendError, and stays as it was, where `classes` does not fit the model.
        """
        self._request = request_of(settings, self.info.class_names)

    def detect(self, frames: Sequence[Frame]) -> list[Result]:
        """Return the vehicles of each frame, boxes clipped to it, best first.

        The frames, of one camera or of many, take one launch where the backend's batch allows. Each result tells the
        total time of all, which is what each frame waited, and its share of the stages.
        """
        started = self._clock()
        found = self._backend.detect(frames, self._request)
        decoded = self._clock()
        kept = [nms(each.candidates, self._request.iou, frame.image.shape[:2]) for frame, each in zip(frames, found)]
        ended = self._clock()
        total_ms, nms_ms = (ended - started) * 1000, (ended - decoded) * 1000 / max(len(frames), 1)
        return [
            Result(detections, _with_nms(each.stages, nms_ms), total_ms, (ended - frame.captured_at) * 1000)
            for frame, detections, each in zip(frames, kept, found)
        ]


def _with_nms(stages: StageTimes, nms_ms: float) -> StageTimes:
    if stages.postprocess_ms is None:
        return stages
    return StageTimes(stages.preprocess_ms, stages.infer_ms, stages.postprocess_ms + nms_ms)


def open_service(settings: Settings, alive: Alive = lambda _: None, export: Export | None = None) -> DetectorService:
    """Return the service on the first backend of the selection that can serve: see `select`."""
    chosen = select(settings, alive, export)
    with ExitStack() as opened:
        opened.push(chosen.backend)  # closed where a stop comes before the service has it
        service = DetectorService(chosen.backend, chosen.request, passed_over=chosen.passed_over)
        opened.pop_all()
    return service
