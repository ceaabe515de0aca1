"""Networks of the fake TensorRT, made of the nodes of ONNX models and named as the parser of TensorRT names them."""

from __future__ import annotations

import enum
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.doubles.fake_tensorrt import DataType, Dims, ILogger


class LayerType(enum.Enum):
    """Those that small networks have; the stubs and the real module have more."""

    CONVOLUTION = 0
    ACTIVATION = 1
    ELEMENTWISE = 2
    SHUFFLE = 3
    CONSTANT = 4
    QUANTIZE = 5
    DEQUANTIZE = 6
    CONCATENATION = 7
    NMS = 8
    CAST = 9


KINDS = {
    "Conv": LayerType.CONVOLUTION, "Sigmoid": LayerType.ACTIVATION, "Mul": LayerType.ELEMENTWISE,
    "Reshape": LayerType.SHUFFLE, "Concat": LayerType.CONCATENATION, "QuantizeLinear": LayerType.QUANTIZE,
    "DequantizeLinear": LayerType.DEQUANTIZE, "Constant": LayerType.CONSTANT, "Cast": LayerType.CAST,
}  # fmt: skip


class Int8(enum.Enum):
    """The type that the run time never sees."""

    INT8 = 2


@dataclass
class Tensor:
    """A value of a network."""

    name: str
    shape: Dims
    dtype: Any = DataType.FLOAT
    is_network_output: bool = False
    is_execution_tensor: bool = True
    is_shape_tensor: bool = False


@dataclass
class Layer:
    """A node. kind: its LayerType. precision, output_types: what was asked for."""

    name: str
    type: LayerType
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    precision: Any = None
    output_types: dict[int, Any] = field(default_factory=dict)

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_input(self, index: int) -> Tensor | None:
        return self.inputs[index]

    def get_output(self, index: int) -> Tensor:
        return self.outputs[index]

    def set_output_type(self, index: int, dtype: Any) -> None:
        assert not self.outputs[index].is_network_output, "the output would change its type"
        self.output_types[index] = dtype


class Network:
    """A network, filled by a parser."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.layers: list[Layer] = []
        self.inputs: list[Tensor] = []
        self.onnx = b""
        self.parser: weakref.ref[Parser] | None = None

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_layer(self, index: int) -> Layer:
        return self.layers[index]

    def get_input(self, index: int) -> Tensor:
        return self.inputs[index]


class Parser:
    """Reads ONNX models. A node without a place in KINDS is one that it does not know."""

    def __init__(self, network: Network, logger: ILogger) -> None:
        self._network = network
        self._errors: list[SimpleNamespace] = []
        self._tensors: dict[str, Tensor] = {}
        network.parser = weakref.ref(self)

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> SimpleNamespace:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        import onnx

        data = Path(model).read_bytes()
        graph = onnx.load_from_string(data).graph
        self._weights = {entry.name for entry in graph.initializer}
        self._outputs = {value.name for value in graph.output}
        halves = any(entry.data_type == onnx.TensorProto.FLOAT16 for entry in graph.initializer)
        self._inner = DataType.HALF if halves else DataType.FLOAT
        for value in graph.input:
            sizes = [entry.dim_value or -1 for entry in value.type.tensor_type.shape.dim]
            self._tensors[value.name] = Tensor(value.name, Dims(sizes))
            self._network.inputs.append(self._tensors[value.name])
        for number, node in enumerate(graph.node):
            if node.op_type not in KINDS:
                why = f"No importer registered for op: {node.op_type}"
                self._errors.append(SimpleNamespace(node=lambda n=number: n, desc=lambda text=why: text))
                return False
            self._add(number, node)
        self._network.onnx = data
        return True

    def _add(self, number: int, node: Any) -> None:
        """A node becomes a layer; a number that it multiplies with is made one of its own before it."""
        for name in node.output:
            kind = DataType.FLOAT if name in self._outputs else self._inner
            self._tensors[name] = Tensor(name, Dims([-1]), kind, name in self._outputs)
        wanted = [name for name in node.input if name not in self._weights or node.op_type == "Mul"]
        inputs = [self._tensors.get(name) for name in wanted]
        if node.op_type == "Mul" and None in inputs:
            constant = Tensor(f"(Unnamed Layer* {number}) [Constant]_output", Dims([1]))
            self._network.layers.append(Layer(f"{node.name}_constant", LayerType.CONSTANT, [], [constant]))
            inputs = [tensor or constant for tensor in inputs]
        made = [self._tensors[name] for name in node.output]
        self._network.layers.append(Layer(node.name, KINDS[node.op_type], inputs, made))
