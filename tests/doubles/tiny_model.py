"""Writes a detector of a few hundred bytes, for tests that need a model that any machine can run.

It finds the same boxes in every picture. Its output depends on the picture by less than a float16 can tell, so that
no optimiser may turn the network into a constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Box = tuple[float, float, float, float, float, int]
"""left, top, right, bottom in input pixels, confidence, class id."""

NAMES: Mapping[int, str] = MappingProxyType(
    dict(enumerate(("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck")))
)
BOXES: tuple[Box, ...] = (
    (8, 16, 24, 32, 0.875, 2),  # a car
    (8, 17, 24, 32, 0.75, 2),  # the same car again: a raw head leaves it to NMS
    (32, 16, 60, 40, 0.5, 5),  # a bus
    (40, 8, 44, 20, 0.9375, 0),  # a person, who is no vehicle
    (4, 40, 12, 48, 0.125, 7),  # a truck below the default threshold
)
COLUMNS = 32
"""Boxes of a raw head, of more where more are asked for; all but the first ones have no confidence."""


def build(
    path: Path,
    *,
    head: Literal["raw", "end2end"] = "raw",
    names: Mapping[int, str] | None = NAMES,
    boxes: Sequence[Box] = BOXES,
    batch: int | None = 1,
    input_hw: tuple[int, int] | None = (64, 64),
    dtype: type[np.floating[Any]] = np.float32,
) -> Path:
    """Writes the model to `path`, and gives `path`.

    head: raw is (n, 4 + classes, COLUMNS), end2end (n, boxes, 6). names: None leaves them out of the file, whose raw
    head then has the classes of NAMES. batch, input_hw (height, width in pixels): None leaves them open. dtype: of
    input and output, float32 or float16.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    table = _raw(boxes, len(NAMES if names is None else names)) if head == "raw" else _end_to_end(boxes)
    kind = TensorProto.FLOAT16 if dtype is np.float16 else TensorProto.FLOAT
    height, width = input_hw or ("height", "width")
    count = batch or "batch"
    graph = helper.make_graph(
        [
            # The mean of each picture, made too small to matter, is added to a constant.
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Squeeze", ["mean", "last"], ["row"]),
            helper.make_node("Mul", ["row", "tiny"], ["trace"]),
            helper.make_node("Add", ["table", "trace"], ["output0"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", kind, [count, 3, height, width])],
        [helper.make_tensor_value_info("output0", kind, [count, *table.shape[1:]])],
        [
            numpy_helper.from_array(table.astype(dtype), "table"),
            numpy_helper.from_array(np.array(1e-7, dtype), "tiny"),
            numpy_helper.from_array(np.array([3], np.int64), "last"),
        ],
    )
    # ReduceMean takes its axes as an attribute up to opset 17; IR version 9 is the newest that old run times read.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if names is not None:
        told = {"names": str(dict(names)), "task": "detect", "end2end": str(head == "end2end")}
        helper.set_model_props(model, told)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def _raw(boxes: Sequence[Box], class_count: int) -> npt.NDArray[np.float64]:
    table = np.zeros((1, 4 + class_count, max(COLUMNS, len(boxes))))
    for column, (left, top, right, bottom, confidence, class_id) in enumerate(boxes):
        table[0, :4, column] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        table[0, 4 + class_id, column] = confidence
    return table


def _end_to_end(boxes: Sequence[Box]) -> npt.NDArray[np.float64]:
    return np.array(boxes, np.float64).reshape(1, -1, 6)
