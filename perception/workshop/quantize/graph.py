"""Finds the head in a detector's ONNX graph, which INT8 would ruin, and the other nodes better left in float.

The head turns the last feature maps into boxes and scores: its output convolutions, the distribution over distances
(DFL), the decoding and the last concat, where pixels (0 to 640) and scores (0 to 1) would share one scale. All but the
output convolutions stay in float. These have INT8 inputs and weights like any other, or a kernel that turns INT8 into
float would stand before each; what they give is never quantised for the head, for one scale could not hold it. The head
is found by the graph's structure, so that the names an exporter gives do not matter; the names are those that
TensorRT's parser gives its layers, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perception.core.errors import SettingsError
from perception.system.reasons import cause_of, cure_of

OUTPUT = "output convolution of the head"
DFL = "distribution over distances (DFL)"
DECODE = "decoding of boxes and scores"
DEPTHWISE = "depthwise convolution"

# Only the first input of these holds values; the others are sizes, axes and places.
_FIRST_INPUT = frozenset(("Reshape", "Slice", "Split", "Resize", "Squeeze", "Unsqueeze", "Expand", "Tile", "TopK"))
_MOST_OUTPUTS = 24
"""Output convolutions: 3 levels x 2 branches in YOLOv8 and YOLO11; some have four levels or a second pair of branches.
"""
RECIPE = "3"
"""Changes with what stays in float and where Q/DQ pairs stand: what was made by another recipe is made again."""


@dataclass(frozen=True, slots=True)
class Protected:
    """The nodes of a graph that stay in float: `why` gives the reason by name, in the graph's order.

    outputs: names of the output convolutions of the head, which read INT8 and give float; none of them is in `why`.
    """

    why: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    outputs: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes' names."""
        return tuple(self.why)

    def counts(self) -> dict[str, int]:
        """Return the number of nodes by reason."""
        return {reason: list(self.why.values()).count(reason) for reason in dict.fromkeys(self.why.values())}

    def __str__(self) -> str:
        return ", ".join(f"{count} x {reason}" for reason, count in self.counts().items())


class Graph:
    """An ONNX graph to walk through: who makes a value, and who reads it.

    Takes an onnx.ModelProto, and does not change it.
    """

    def __init__(self, model: Any) -> None:
        self.nodes: list[Any] = list(model.graph.node)
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]
        self.weights = {weights.name: weights for weights in model.graph.initializer}
        self._maker = {name: node for node in self.nodes for name in node.output}

    def maker(self, value: str) -> Any | None:
        """Return the node that gives a value; None for an input or a weight."""
        return self._maker.get(value)

    def is_convolution(self, node: Any) -> bool:
        """Return True if a node is a convolution with weights of its own."""
        return node.op_type == "Conv" and node.input[1] in self.weights

    def convolutions(self) -> Iterator[Any]:
        """Return every convolution with weights, in order."""
        return (node for node in self.nodes if self.is_convolution(node))

    def data_inputs(self, node: Any) -> list[str]:
        """Return the inputs of a node that hold values of the picture, not weights, sizes or axes."""
        if node.op_type == "Shape":  # of a feature map, by which a model of open batch computes sizes
            return []
        names = node.input[:1] if node.op_type in _FIRST_INPUT or node.op_type == "Conv" else node.input
        return [name for name in names if name and name not in self.weights]


def read(path: Path) -> Any:
    """Read the model (onnx.ModelProto) of a file, its nodes all named and its constants all initializers.

    Raises SettingsError if it is none.
    """
    import onnx

    try:
        model = onnx.load(str(path))
        _hold_constants(model.graph)
        _name_nodes(model.graph)
        return model
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist", "Give the path of an ONNX model.") from None
    except Exception as error:  # protobuf's own classes
        raise SettingsError(f"{path} is no ONNX model: {cause_of(error)}", cure_of(error, "Export it again.")) from None


def nameless(path: Path) -> int:
    """Return the number of nodes of a file that have no name, or share one. Raises SettingsError if it is no model."""
    import onnx

    try:
        names = [node.name for node in onnx.load(str(path), load_external_data=False).graph.node]
    except Exception as error:  # protobuf's own classes
        raise SettingsError(f"{path} is no ONNX model: {cause_of(error)}", cure_of(error, "Export it again.")) from None
    return len(names) - len({name for name in names if name})


def _hold_constants(graph: Any) -> None:
    """Turn each Constant node into an initializer: some exporters write weights so."""
    kept = []
    for node in graph.node:
        value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            held = graph.initializer.add()
            held.CopyFrom(value)
            held.name = node.output[0]
        else:
            kept.append(node)
    if len(kept) < len(graph.node):
        copies = [type(node).FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(copies)


def _name_nodes(graph: Any) -> None:
    """Name the nodes without a name, and those that share one: what stays in float is told by names."""
    taken = {node.name for node in graph.node}
    seen: set[str] = set()
    for number, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            name = f"{node.op_type}_{number}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)
        seen.add(node.name)


def protected(model: Any) -> Protected:
    """Return the head: what lies between the last convolutions and the outputs, and these as its `outputs`.

    model: an onnx.ModelProto. Raises SettingsError, with what to do, where the head is not that of a YOLO.
    """
    graph = Graph(model)
    _refuse_nms(graph)
    why: dict[str, str] = {}
    waiting = deque(graph.outputs)
    while waiting:
        node = graph.maker(waiting.popleft())
        if node is None or node.op_type == "Constant" or node.name in why:
            continue
        why[node.name] = _reason(graph, node)
        if why[node.name] != OUTPUT:
            waiting.extend(graph.data_inputs(node))
    count = list(why.values()).count(OUTPUT)
    if not 0 < count <= _MOST_OUTPUTS:
        total, fixed = sum(node.op_type == "Conv" for node in graph.nodes), len(list(graph.convolutions()))
        computed = f", and {total - fixed} have weights that are computed" if fixed < total else ""
        raise SettingsError(
            f"The head of this model is unknown: of its {total} convolutions {count} lie next to its outputs, where a "
            f"YOLO has 1 to {_MOST_OUTPUTS}{computed}",
            "Export a YOLOv8 or YOLO11 detector by ultralytics, or build it with --precision fp16.",
        )
    found = {node.name: why[node.name] for node in graph.nodes if node.name in why}
    return Protected(
        {name: reason for name, reason in found.items() if reason != OUTPUT},
        tuple(name for name, reason in found.items() if reason == OUTPUT),
    )


def depthwise(model: Any) -> Protected:
    """Return the depthwise convolutions: a small part of the work, and of the accuracy that INT8 costs a large one."""
    graph = Graph(model)
    return Protected({node.name: DEPTHWISE for node in graph.convolutions() if _groups(node) > 1})


def keep(model: Any) -> Protected:
    """Return what stays in float beside INT8: the head's inner part and depthwise convolutions, also of its outputs.

    model: an onnx.ModelProto. Raises as `protected` does.
    """
    head, others = protected(model), depthwise(model)
    outputs = tuple(name for name in head.outputs if name not in others.why)
    return Protected({**others.why, **head.why}, outputs)


def _groups(node: Any) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == "group"), 1)


def _reason(graph: Graph, node: Any) -> str:
    """Return the kind of a node on the way from the outputs."""
    if not graph.is_convolution(node):
        return DFL if node.op_type == "Softmax" else DECODE
    before = graph.maker(node.input[0])
    while before is not None and before.op_type == "Transpose":  # up to opset 12 one stands behind a softmax
        before = graph.maker(before.input[0])
    # The convolution of DFL weighs the bins of a softmax: no learnt one, and not the last that sees features.
    return DFL if before is not None and before.op_type == "Softmax" else OUTPUT


def _refuse_nms(graph: Graph) -> None:
    for node in graph.nodes:
        if "NonMaxSuppression" in node.op_type or "NMS" in node.op_type:
            raise SettingsError(
                f"The model has NMS inside ({node.name}), which INT8 cannot hold",
                "Export it without: nms=False.",
            )
