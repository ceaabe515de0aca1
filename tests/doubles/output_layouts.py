"""Models of a few kilobytes, one for each layout of output, that all find the same vehicles whatever the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.float32]
INPUT_HW = (320, 512)
BOXES = np.array([[60, 50, 160, 130], [62, 50, 162, 130], [300, 180, 420, 280]], np.float32)
"""In input pixels: a car, the same car once more, and a truck; the second one is what suppression is for."""
SCORES = (0.9, 0.8, 0.7)
PLACES = (0, 0, 1)
"""Which class each is, counted from 0."""
ONCE = (0, 2)
"""What is left where the network suppresses overlaps itself."""
SUPPRESSED = ("end_to_end", "rtdetr", "rtdetr_scores")


def table(layout: str, classes: int, rows: int = 100, hw: tuple[int, int] = INPUT_HW, at: int = 0) -> Table:
    """The output (1, ., .) of that layout. rows: boxes of it, most of them empty; at: the row where the first lies."""
    shown = ONCE if layout in SUPPRESSED else (0, 1, 2)
    boxes: Any = BOXES[list(shown)] * np.array([hw[1] / 512, hw[0] / 320] * 2, np.float32)
    if layout not in ("end_to_end", "deepstream"):
        boxes = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    if layout.startswith("rtdetr"):
        boxes = boxes / np.array([hw[1], hw[0]] * 2, np.float32)
    labelled, extra = layout in ("end_to_end", "deepstream", "rtdetr"), int(layout == "yolov5")
    made = np.zeros((1, rows, 6 if labelled else 4 + extra + classes), np.float32)
    for row, (number, box) in enumerate(zip(shown, boxes), at):
        score, place = SCORES[number], min(PLACES[number], classes - 1)
        made[0, row, :4] = box
        if labelled:
            made[0, row, 4:] = score, place
        elif extra:
            made[0, row, 4], made[0, row, 5 + place] = score, 0.99
        else:
            made[0, row, 4 + place] = score
    return np.ascontiguousarray(made.transpose(0, 2, 1)) if layout == "raw" else made


def write(
    path: Path, output: npt.NDArray[Any], names: Mapping[int, str] | str | None = None, hw: Sequence[Any] = INPUT_HW,
    batch: Any = 1, outputs: Sequence[Sequence[int]] = (), **metadata: Any,
) -> Path:  # fmt: skip
    """Writes a model that gives `output` for every picture, and gives `path`.

    names: a text is written as it is. hw: sides of its input, a text leaves one open. outputs: shapes of further ones.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "one"], ["scalar"]),
        helper.make_node("Add", ["const", "scalar"], ["output0"]),
    ]
    more = [np.zeros(shape, np.float32) for shape in outputs]
    nodes += [helper.make_node("Add", [f"more{n}", "scalar"], [f"output{n}"]) for n in range(1, len(more) + 1)]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *hw])],
        [
            helper.make_tensor_value_info(f"output{n}", TensorProto.FLOAT, list(value.shape))
            for n, value in enumerate([output, *more])
        ],
        [
            numpy_helper.from_array(output.astype(np.float32), "const"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array([1, 1, 1], np.int64), "one"),
            *(numpy_helper.from_array(value, f"more{n}") for n, value in enumerate(more, 1)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    told = {**({} if names is None else {"names": str(names)}), **{key: str(value) for key, value in metadata.items()}}
    helper.set_model_props(model, told)
    path.write_bytes(model.SerializeToString())
    return path
