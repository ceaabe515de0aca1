"""A float32 ONNX model in float16, for a TensorRT that takes its precisions from the model (11 and later)."""

from __future__ import annotations

import warnings
from pathlib import Path

from perception.core.errors import BuildError
from perception.system.reasons import cause_of


def write_half(onnx: Path, target: Path) -> Path:
    """Write the model in float16, its input and output left in float32; return `target`. Raises BuildError."""
    import onnx as library
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a line for every number that float16 rounds to 0
            model = convert_float_to_float16(library.load(str(onnx)), keep_io_types=True)
        ONNXModel(model).topological_sort()  # the casts of the input stand at the end
        library.checker.check_model(model)
        library.save(model, str(target))
    except Exception as error:  # of protobuf, of the checker, of the converter
        raise BuildError(
            f"{onnx} cannot be made float16: {cause_of(error)}",
            "Give a model in float16, or build it in float32: --precision fp32.",
        ) from error
    return target
