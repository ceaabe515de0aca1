"""Opens exactly the named model file, ignoring others beside it, as the pilot's own detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector_service import DetectorService
from perception.backends.base import Backend, Request
from perception.backends.models.choice import Wish
from perception.backends.models.model_files import check_kind
from perception.backends.session_backend import SessionBackend
from perception.core.classes import pick, vehicle_ids
from perception.core.errors import BackendError, SettingsError
from perception.settings.model import COCO_VEHICLES, ModelSettings
from perception.system.home import ROOT

ENGINES = (".engine", ".plan")
LEAST_CONF = 0.001
"""From here on a detection counts for average precision, as ultralytics' validation has it."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions that a model runs under.

    classes: names of the vehicle classes. conf: confidence from which a detection counts; iou: overlap above which two
    boxes of a class are one. imgsz: side in pixels of an input that the model leaves open, None for what it was made
    for. names: the classes of a model whose file names none. layout: of the output, None where it is to be found.
    threads: of ONNX Runtime or PyTorch, 0 for one per core. device: number of the GPU. kernel_dir: where built kernels
    are kept.
    """

    classes: tuple[str, ...] = COCO_VEHICLES
    conf: float = LEAST_CONF
    iou: float = ModelSettings().iou
    imgsz: int | None = None
    names: tuple[str, ...] = ()
    layout: str | None = None
    threads: int = 0
    device: int = 0
    kernel_dir: Path = ROOT / "engines"


def open_detector(model: Path, how: Conditions) -> tuple[DetectorService, str]:
    """Return the service of a model file and its precision in words; ONNX and PyTorch run on the CPU.

    Raises SettingsError for a file of an unknown kind, BackendError or GpuError where it cannot serve.
    """
    if model.suffix in ENGINES:
        return _open_engine(model, how)
    if model.suffix not in (".onnx", ".pt"):
        raise SettingsError(f"{model} is no model that can be run", "Give a file that ends in .onnx, .pt or .engine.")
    if not model.is_file():
        raise SettingsError(f"{model} does not exist", "Give the path of a model.")
    check_kind(model)
    backend = _open_onnx(model, how) if model.suffix == ".onnx" else _open_pytorch(model, how)
    return _service(backend, how), backend.info.precision


def _service(backend: Backend, how: Conditions) -> DetectorService:
    with ExitStack() as opened:
        opened.push(backend.__exit__)
        class_ids = vehicle_ids(backend.info.class_names, how.classes, asked_for=False)
        opened.pop_all()
    return DetectorService(backend, Request(how.conf, how.iou, class_ids))


def places_of(classes: Sequence[str], class_names: Mapping[int, str]) -> npt.NDArray[np.int64]:
    """Return for each id of a model the place of its class in `classes`, or -1; see classes.pick."""
    places = np.full(max(class_names) + 1, -1, np.int64)
    for place in reversed(range(len(classes))):
        places[list(pick(class_names, classes[place : place + 1]).ids)] = place
    return places


def _open_engine(model: Path, how: Conditions) -> tuple[DetectorService, str]:
    from perception.backends.tensorrt.backend import open_engine_backend
    from perception.backends.tensorrt.engine_file import open_engine
    from perception.backends.tensorrt.identity import precision_of

    file = open_engine(model)
    backend = open_engine_backend(file, how.names, how.imgsz, how.kernel_dir, how.device, layout=how.layout)
    return _service(backend, how), precision_of(file)


def _open_onnx(model: Path, how: Conditions) -> Backend:
    from perception.backends.onnxruntime import OnnxRuntimeSession

    return SessionBackend(OnnxRuntimeSession(model, how.imgsz, how.threads), how.names, Wish(how.layout))


def _open_pytorch(model: Path, how: Conditions) -> Backend:
    from perception.backends.pytorch import PyTorchSession, why_not_importable

    if reason := why_not_importable():
        raise BackendError(f"{model} cannot be run: {reason}", "Install it, or give the model as ONNX.")
    return SessionBackend(PyTorchSession(model, how.imgsz, how.threads, "cpu"), how.names, Wish(how.layout))
