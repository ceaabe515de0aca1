"""Writes a detector of some kilobytes with all the parts of a YOLO that quantisation has to know: blocks with a
residual, pooling, two levels, and a head with DFL and decoding. Its weights are noise, so what it finds is, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SIDE = 64
"""Of the input, in pixels."""
CLASSES = 3
BINS = 8
ANCHORS = (SIDE // 4) ** 2 + (SIDE // 8) ** 2


class Writer:
    """Collects nodes and weights. seed: of the noise."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(seed)

    def add(self, kind: str, name: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        """A node with the outputs <name>_output_0 and so on; gives the first."""
        from onnx import helper

        names = [f"{name}_output_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names[0]

    def number(self, name: str, value: Any) -> str:
        """A constant."""
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def conv(
        self, name: str, source: str, shape: tuple[int, int], kernel: int = 3, stride: int = 1, **more: Any
    ) -> str:
        """A convolution from shape[0] channels to shape[1]."""
        taken = shape[0] // int(more.get("group", 1))
        spread = 1.4 / np.sqrt(taken * kernel * kernel)
        weights = self._random.normal(0, spread, (shape[1], taken, kernel, kernel)).astype(np.float32)
        inputs = [source, self.number(f"{name}.weight", weights)]
        inputs.append(self.number(f"{name}.bias", self._random.normal(0, 0.1, shape[1]).astype(np.float32)))
        return self.add("Conv", name, inputs, pads=[kernel // 2] * 4, strides=[stride, stride], **more)

    def silu(self, name: str, source: str, shape: tuple[int, int], **more: Any) -> str:
        """A convolution and its activation."""
        out = self.conv(f"{name}/conv/Conv", source, shape, **more)
        return self.add("Mul", f"{name}/act/Mul", [out, self.add("Sigmoid", f"{name}/act/Sigmoid", [out])])


def build(*, batch: int | str = 1, seed: int = 0) -> Any:
    """The model: `images` (batch, 3, SIDE, SIDE) to `output0` (batch, 4 + CLASSES, ANCHORS); onnx.ModelProto.

    batch: a text leaves it open.
    """
    from onnx import TensorProto, helper

    writer = Writer(seed)
    output = _head(writer, _levels(writer))
    graph = helper.make_graph(
        writer.nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, 4 + CLASSES, ANCHORS])],
        writer.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": str({0: "car", 1: "bus", 2: "person"}), "task": "detect"})
    return model


def make_depthwise(model: Any, name: str) -> None:
    """Gives the convolution of this name a group for each of its inputs."""
    from onnx import helper, numpy_helper

    node = next(node for node in model.graph.node if node.name == name)
    weights = next(entry for entry in model.graph.initializer if entry.name == node.input[1])
    values = numpy_helper.to_array(weights)
    node.attribute.append(helper.make_attribute("group", values.shape[1]))
    weights.CopyFrom(numpy_helper.from_array(values[:, :1].copy(), weights.name))


def refine(model: Any) -> None:
    """Lets the boxes of the finer level, as their output convolution gives them, correct the scores of it: by an
    ordinary convolution and a second output convolution.
    """
    writer = Writer(seed=1)
    boxes, scores = (f"/model.8/cv{branch}.0/cv{branch}.0.2/Conv_output_0" for branch in (2, 3))
    inner = writer.silu("/refine.0", boxes, (4 * BINS, 8), kernel=1)
    change = writer.conv("/refine.1/Conv", inner, (8, CLASSES), kernel=1)
    changed = writer.add("Add", "/refine.1/Add", [scores, change])
    nodes = list(model.graph.node)
    place = next(number for number, node in enumerate(nodes) if scores in node.input)
    nodes[place].input[0] = changed
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], *writer.nodes, *nodes[place:]])
    model.graph.initializer.extend(writer.weights)


def _levels(writer: Writer) -> tuple[str, str]:
    """The backbone: a block with a residual, pooling with a concat, and the way back up."""
    stem = writer.silu("/model.0", "images", (3, 8), stride=2)
    stem = writer.silu("/model.1", stem, (8, 16), stride=2)
    first = writer.silu("/model.2/cv1", stem, (16, 16), kernel=1)
    halves = writer.number("halves", np.array([8, 8]))
    left = writer.add("Split", "/model.2/Split", [first, halves], outputs=2, axis=1)
    right = "/model.2/Split_output_1"
    inner = writer.silu("/model.2/m.0/cv1", right, (8, 8))
    inner = writer.silu("/model.2/m.0/cv2", inner, (8, 8))
    added = writer.add("Add", "/model.2/m.0/Add", [right, inner])
    joined = writer.add("Concat", "/model.2/Concat", [left, right, added], axis=1)
    fine = writer.silu("/model.2/cv2", joined, (24, 16), kernel=1)
    coarse = writer.silu("/model.3", fine, (16, 16), stride=2)
    pooled = writer.add("MaxPool", "/model.4/m/MaxPool", [coarse], kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1])
    coarse = writer.silu(
        "/model.4/cv2", writer.add("Concat", "/model.4/Concat", [coarse, pooled], axis=1), (32, 16), kernel=1
    )
    scales = writer.number("scales", np.array([1, 1, 2, 2], np.float32))
    upper = writer.add("Resize", "/model.5/Resize", [coarse, "", scales], mode="nearest")
    joined = writer.add("Concat", "/model.6/Concat", [upper, fine], axis=1)
    return writer.silu("/model.7", joined, (32, 16), kernel=1), coarse


def _head(writer: Writer, levels: Sequence[str]) -> str:
    """Two branches a level, boxes by DFL, scores by a sigmoid, both in one tensor."""
    boxes, scores = [], []
    for level, source in enumerate(levels):
        name = f"/model.8/cv2.{level}/cv2.{level}"
        inner = writer.silu(f"{name}.0", source, (16, 16))
        inner = writer.conv(f"{name}.2/Conv", inner, (16, 4 * BINS), kernel=1)
        boxes.append(_flat(writer, f"Reshape_{level}", inner, 4 * BINS))
        name = f"/model.8/cv3.{level}/cv3.{level}"
        inner = writer.silu(f"{name}.0.0", source, (16, 16), group=16)
        inner = writer.silu(f"{name}.0.1", inner, (16, 16), kernel=1)
        inner = writer.conv(f"{name}.2/Conv", inner, (16, CLASSES), kernel=1)
        scores.append(_flat(writer, f"Reshape_{level + 2}", inner, CLASSES))
    found = writer.add("Sigmoid", "/model.8/Sigmoid", [writer.add("Concat", "/model.8/Concat_1", scores, axis=2)])
    distances = _dfl(writer, writer.add("Concat", "/model.8/Concat", boxes, axis=2))
    pixels = writer.add("Mul", "/model.8/Mul_2", [distances, writer.number("stride", np.float32(8))])
    writer.add("Concat", "/model.8/Concat_3", [pixels, found], axis=1)
    writer.nodes[-1].output[0] = "output0"
    return "output0"


def _flat(writer: Writer, name: str, source: str, channels: int) -> str:
    shape = writer.number(f"{name}.shape", np.array([0, channels, -1]))
    return writer.add("Reshape", f"/model.8/{name}", [source, shape])


def _dfl(writer: Writer, boxes: str) -> str:
    """The mean distance under a softmax over BINS bins, four a box."""
    parts = writer.add("Reshape", "/model.8/dfl/Reshape", [boxes, writer.number("parts", np.array([0, 4, BINS, -1]))])
    turned = writer.add("Transpose", "/model.8/dfl/Transpose", [parts], perm=[0, 2, 1, 3])
    shares = writer.add("Softmax", "/model.8/dfl/Softmax", [turned], axis=1)
    bins = writer.number("bins", np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1))
    means = writer.add("Conv", "/model.8/dfl/conv/Conv", [shares, bins])
    return writer.add("Reshape", "/model.8/dfl/Reshape_1", [means, writer.number("four", np.array([0, 4, -1]))])
