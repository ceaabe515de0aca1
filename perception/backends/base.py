"""The seam between the service and the runtimes: frames and a request go in, candidates and times come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loguru import logger

from perception.backends.models.model_files import ModelFiles
from perception.core.classes import vehicle_ids
from perception.core.detections import Candidates
from perception.core.frame import Frame, Image
from perception.core.results import BackendInfo, StageTimes
from perception.settings.model import Settings

Alive = Callable[[str], None]
"""Told each second, in a few words, what a start that takes minutes waits for."""
Export = Callable[[Settings, ModelFiles, Alive], None]
"""Builds an FP16 engine of a model's weights and installs it; BackendError with the reason where it cannot."""


class PassedOver(Exception):
    """A step of the selection that cannot serve; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Request:
    """The request of one launch: boxes of `class_ids` (the model's own, rising) above `conf`, both 0 to 1.

    Of two boxes of a class with an IoU above `iou` one counts.
    """

    conf: float
    iou: float
    class_ids: tuple[int, ...]


def request_of(settings: Settings, class_names: Mapping[int, str]) -> Request:
    """Return what `settings` ask of a model; SettingsError or BackendError where `classes` does not fit its names."""
    class_ids = vehicle_ids(class_names, settings.classes, asked_for=settings.classes_asked_for)
    return Request(settings.model.conf, settings.model.iou, class_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The candidates of one frame, in its pixels, and its share of what each stage of the launch took."""

    candidates: Candidates
    stages: StageTimes


class Backend(Protocol):
    """A runtime with a model: a context manager, used by one thread.

    `detect` returns what each frame holds, in order; a backend that suppresses overlaps itself marks what is left
    `final`. It raises GpuError where the device fails: it does not come back. `lend` returns a frame (height, width, 3)
    to decode into, which `detect` then reads without a copy, or None; any thread may call it, and the frame is the
    borrower's until nobody holds it.
    """

    @property
    def info(self) -> BackendInfo: ...

    def detect(self, frames: Sequence[Frame], request: Request) -> list[Found]: ...

    def lend(self, hw: tuple[int, int]) -> Image | None: ...

    def __enter__(self) -> Backend: ...

    def __exit__(self, *fault: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """The order that a step of the selection gets. foreign: the engine that is there is for another machine."""

    settings: Settings
    files: ModelFiles
    alive: Alive
    export: Export | None
    foreign: bool = False


def log_loading(path: Path) -> None:
    """Log that a model's file is being loaded."""
    logger.info(f"Loading vehicle detection model: {path.name}")
