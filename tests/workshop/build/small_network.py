"""Writes a detector of three convolutions whose nodes are named as ultralytics names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

NAMES = {0: "person", 1: "car"}
OUTPUT = "/model.1/cv2.0/cv2.0.2/Conv"
"""The output convolution of its head."""
HEAD = frozenset({"/model.1/Sigmoid", "/model.1/Mul", "/model.1/Reshape"})
"""The nodes behind that one."""
CONVOLUTIONS = ["/model.0/conv/Conv", "/model.1/cv2.0/cv2.0.0/conv/Conv", OUTPUT]


def build(
    path: Path, *, batch: int | None = 1, side: int = 64, nms: bool = False, quantized: bool = False, seed: int = 0
) -> Path:
    """Writes the model to `path`: images (n, 3, side, side) to output0 (n, 6, side * side / 64). batch: None is open.

    nms: with a node that is called so. quantized: with a Q/DQ pair before the first convolution.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    count, cells = batch or "batch", side * side // 64
    graph = helper.make_graph(
        _nodes("/model.1/nms" if nms else "/model.1/Reshape", quantized),
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [count, 3, side, side])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [count, 6, cells])],
        [numpy_helper.from_array(values, name) for name, values in _constants(cells, quantized, seed).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    told = {"names": str(NAMES), "task": "detect", "stride": "8", "imgsz": f"[{side}, {side}]", "args": "{}"}
    helper.set_model_props(model, told)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _nodes(last: str, quantized: bool) -> list[Any]:
    from onnx import helper

    pair = [
        helper.make_node("QuantizeLinear", ["images", "scale", "zero"], ["q"], "/images_QuantizeLinear"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], "/images_DequantizeLinear"),
    ]
    return [
        *(pair if quantized else []),
        helper.make_node("Conv", ["dq" if quantized else "images", "w0"], ["c0"], "/model.0/conv/Conv", strides=[8, 8]),
        helper.make_node("Sigmoid", ["c0"], ["s0"], "/model.0/act/Sigmoid"),
        helper.make_node("Mul", ["c0", "s0"], ["m0"], "/model.0/act/Mul"),
        helper.make_node("Conv", ["m0", "w1"], ["c1"], "/model.1/cv2.0/cv2.0.0/conv/Conv"),
        helper.make_node("Conv", ["c1", "w2"], ["c2"], "/model.1/cv2.0/cv2.0.2/Conv"),
        helper.make_node("Sigmoid", ["c2"], ["s1"], "/model.1/Sigmoid"),
        helper.make_node("Mul", ["s1", "large"], ["m1"], "/model.1/Mul"),
        helper.make_node("Reshape", ["m1", "shape"], ["output0"], last),
    ]


def _constants(cells: int, quantized: bool, seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    weights = {"w0": (8, 3, 8, 8), "w1": (8, 8, 1, 1), "w2": (6, 8, 1, 1)}
    found: dict[str, Any] = {
        name: generator.normal(0, 0.1, shape).astype(np.float32) for name, shape in weights.items()
    }
    found |= {
        "large": np.array([32, 32, 32, 32, 1, 1], np.float32).reshape(1, 6, 1, 1),
        "shape": np.array([0, 6, cells], np.int64),
    }
    if quantized:
        found |= {"scale": np.array(1 / 127, np.float32), "zero": np.array(0, np.int8)}
    return found
