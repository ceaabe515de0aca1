"""Tells frames with a vehicle from empty ones, with the first model that can run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from detector_service import DetectorService, open_service
from perception.backends.models.model_files import find_model
from perception.camera.images import read_image
from perception.core.errors import BackendError
from perception.core.frame import Frame, Image
from perception.settings.model import load
from perception.system.home import ROOT
from perception.workshop.calibration.scanning import FrameCandidate

SHIPPED = "vehicle-n.onnx"


@dataclass(frozen=True, slots=True)
class Judge:
    """empty: True for a frame without a vehicle; None without a model. words: the model, or why there is none."""

    empty: Callable[[FrameCandidate], bool] | None
    words: str


@contextmanager
def open_judge(model: str | None) -> Iterator[Judge]:
    """Open the model that was named, else the first of the pilot's own and the shipped one that can run here.

    Raises BackendError for a model that was named and cannot run.
    """
    with ExitStack() as stack:
        if model is not None:
            yield _judge(stack.enter_context(_open(model)), model)
            return
        reason = "no weights were found"
        for name in (load(None).model.weights, SHIPPED):
            try:
                find_model(name, ROOT, ROOT / "engines")
            except BackendError:
                continue
            try:
                service = stack.enter_context(_open(name))
            except BackendError as fault:
                reason = fault.what
                continue
            yield _judge(service, name)
            return
        yield Judge(None, reason)


def _open(model: str) -> DetectorService:
    return open_service(load(None, {"model.weights": ("--model", model), "allow_cpu": ("--allow-cpu", True)}))


def _judge(service: DetectorService, name: str) -> Judge:
    def empty(candidate: FrameCandidate) -> bool:
        image = _picture(candidate)
        return image is not None and not len(service.detect([Frame(image, 0, 0.0, "calibration")])[0].detections)

    return Judge(empty, f"{name} ({service.info.name} {service.info.precision})")


def _picture(candidate: FrameCandidate) -> Image | None:
    if isinstance(candidate.picture, Path):
        return read_image(candidate.picture)
    return cv2.imdecode(np.frombuffer(candidate.picture, np.uint8), cv2.IMREAD_COLOR)  # type: ignore[return-value]
