"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from loguru import logger

from perception.backends.base import Backend, PassedOver, Wanted, log_loading
from perception.backends.input_size import input_size
from perception.backends.models.model_facts import check_size, facts_of
from perception.backends.models.onnx_file import read_facts
from perception.backends.session import Floats
from perception.backends.session_backend import open_session_backend
from perception.backends.waiting import spins
from perception.core.errors import BackendError
from perception.system.reasons import cause_of, cure_of

_DTYPES: Mapping[str, npt.DTypeLike] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_EXPORT = "Export a detector with: yolo export model=... format=onnx"


def open_on_cpu(wanted: Wanted) -> Backend:
    """Return the model's .onnx as a Backend; PassedOver where the CPU is not allowed."""
    settings, path = wanted.settings, wanted.files.onnx
    if not settings.allow_cpu:
        raise PassedOver("the CPU is not allowed (allow_cpu: false)")
    if path is None:
        raise PassedOver("there is no .onnx model")
    log_loading(path)
    return open_session_backend(OnnxRuntimeSession(path, settings.model.imgsz, settings.cpu.threads), settings)


class OnnxRuntimeSession:
    """A detector in an .onnx file. Raises BackendError where the file is no detector that can be run."""

    name = "onnxruntime"

    def __init__(self, path: Path, imgsz: int | None, threads: int) -> None:
        """imgsz: side of the input in pixels where the file leaves it open, None for what it was exported at.

        threads: 0 for one a core.
        """
        import onnxruntime

        self.path = path
        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins() else "0")
        options.log_severity_level = 3  # errors; they reach the user as exceptions too
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the classes of ONNX Runtime's errors are not part of its public API
            raise BackendError(
                f"{path} cannot be loaded by ONNX Runtime {self.version}: {cause_of(error)}", cure_of(error)
            ) from None
        self.facts = facts_of(self._session.get_modelmeta().custom_metadata_map)
        self._input = self._read_input(path, imgsz)
        self._output = _output_of(path, self._session.get_outputs())
        self.precision = self._look_into(path)

    def _read_input(self, path: Path, imgsz: int | None) -> str:
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if inputs else []
        if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (3, "3") or inputs[0].type not in _DTYPES:
            raise BackendError(
                f"{path} takes {[(item.name, item.shape, item.type) for item in inputs]}, not one picture (n, 3, H, W)",
                _EXPORT,
            )
        self.dtype = _DTYPES[inputs[0].type]
        self.batch = shape[0] if isinstance(shape[0], int) else None
        height, width = (side if isinstance(side, int) else None for side in shape[2:])
        self.input_hw, note = input_size(path, (height, width), self.facts, imgsz)
        if note:
            logger.warning(note)
        check_size(path, (self.batch or 1, 3, *self.input_hw))
        return str(inputs[0].name)

    def _look_into(self, path: Path) -> str:
        """Its precision, by its weights: an input in float32 says nothing of them."""
        by_input = "fp16" if self.dtype is np.float16 else "fp32"
        try:
            facts = read_facts(path)
        except ValueError:  # ONNX Runtime has formats of its own, which hold no ONNX
            return by_input
        if odd := [side for side in facts.input_sides if side < -1]:
            raise BackendError(f"{path} takes an input with a side of {odd[0]}", _EXPORT)
        return facts.precision or by_input

    def run(self, tensor: Floats) -> Floats:
        """See Session."""
        try:
            output: Floats = self._session.run([self._output], {self._input: tensor})[0]
        except Exception as error:  # as above
            raise BackendError(
                f"ONNX Runtime {self.version} cannot run the model: {cause_of(error)}", cure_of(error)
            ) from None
        return output

    def close(self) -> None:
        """Frees the session."""
        self._session = None


def _output_of(path: Path, outputs: Sequence[Any]) -> str:
    """The name of the output that holds boxes: the only one, or the only one of three axes beside feature maps.

    YOLOv5 gave its feature maps as well for a time. Raises BackendError for any others.
    """
    boxes = [output for output in outputs if len(output.shape) == 3]
    maps = [output for output in outputs if len(output.shape) == 5]
    if len(outputs) == 1 or (len(boxes) == 1 and len(boxes) + len(maps) == len(outputs)):
        return str((boxes or outputs)[0].name)
    found = ", ".join(f"{output.name} {output.shape}" for output in outputs[:12])
    what = "its head is not decoded" if len(boxes) == 0 else "the boxes of a detector lie in one"
    raise BackendError(
        f"{path} has {len(outputs)} outputs ({found}): {what}",
        "Export a detector that gives one output: yolo export model=... format=onnx, without NMS of TensorRT.",
    )
