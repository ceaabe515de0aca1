"""ONNX Runtime on the CPU."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perception.backends.session import Floats
from perception.backends.waiting import spins
from perception.errors import BackendError

_DTYPES: Mapping[str, npt.DTypeLike] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxRuntimeSession:
    """A detector in an .onnx file. Raises BackendError where the file is no detector that can be run."""

    name = "onnxruntime"

    def __init__(self, path: Path, imgsz: int, threads: int) -> None:
        """imgsz: side of the input in pixels where the file leaves it open. threads: 0 for one a core."""
        import onnxruntime

        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins() else "0")
        options.log_severity_level = 3  # errors; they reach the user as exceptions too
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the classes of ONNX Runtime's errors are not part of its public API
            reason = " ".join(str(error).split())[:300]
            raise BackendError(f"{path} cannot be loaded by ONNX Runtime {self.version}: {reason}") from None
        self._input = self._read_input(path, imgsz)
        self.class_names = _class_names(self._session.get_modelmeta().custom_metadata_map)

    def _read_input(self, path: Path, imgsz: int) -> str:
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (3, "3") or inputs[0].type not in _DTYPES:
            raise BackendError(
                f"{path} takes {[(item.name, item.shape, item.type) for item in inputs]}, not one picture (n, 3, H, W)",
                "Export a detector with: yolo export model=... format=onnx",
            )
        self.dtype = _DTYPES[inputs[0].type]
        self.precision = "fp16" if self.dtype is np.float16 else "fp32"
        self.batch = shape[0] if isinstance(shape[0], int) else None
        height, width = (side if isinstance(side, int) else imgsz for side in shape[2:])
        self.input_hw = (height, width)
        return str(inputs[0].name)

    def run(self, tensor: Floats) -> Floats:
        """See Session."""
        try:
            output: Floats = self._session.run(None, {self._input: tensor})[0]
        except Exception as error:  # as above
            reason = " ".join(str(error).split())[:300]
            raise BackendError(f"ONNX Runtime {self.version} cannot run the model: {reason}") from None
        return output

    def close(self) -> None:
        """Frees the session."""
        self._session = None


def _class_names(metadata: Mapping[str, str]) -> dict[int, str]:
    """The `names` that ultralytics writes: a Python dictionary as text."""
    try:
        names = ast.literal_eval(metadata.get("names", "{}"))
        return {int(number): str(name) for number, name in names.items()}
    except (ValueError, SyntaxError, AttributeError, TypeError):
        return {}
