"""An ONNX model as a network of TensorRT: parsed, its shapes and its protected layers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from perception.backends.tensorrt.log_tail import LogTail
from perception.core.errors import BuildError, SettingsError
from perception.system.reasons import cause_of
from perception.system.signals import held_back

if TYPE_CHECKING:
    import tensorrt as trt

Shape = tuple[int, int, int, int]

# They hold no values of their own, or none that a precision could be set for.
_NOT_COMPUTED = ("CONSTANT", "SHAPE")


@dataclass(slots=True)
class Network:
    """A parsed network. The parser owns its weights, and must live as long. shape: of the input, as declared."""

    definition: trt.INetworkDefinition
    parser: trt.OnnxParser
    input: trt.ITensor
    shape: Shape

    @property
    def is_dynamic(self) -> bool:
        """True if the model leaves its batch or its sides open."""
        return min(self.shape) < 0

    def layers(self) -> Iterator[trt.ILayer]:
        """Every layer, in order."""
        for index in range(self.definition.num_layers):
            yield self.definition.get_layer(index)


def creation_flags(module: ModuleType) -> int:
    """Explicit batch where it must be asked for (before TensorRT 11), strong typing where nothing else is left."""
    flags = module.NetworkDefinitionCreationFlag
    wanted = ["EXPLICIT_BATCH"] + ([] if has_precision_flags(module) else ["STRONGLY_TYPED"])
    return sum(1 << int(getattr(flags, name)) for name in wanted if hasattr(flags, name))


def has_precision_flags(module: ModuleType) -> bool:
    """Return True if the builder chooses precisions (up to TensorRT 10); from 11 on the model does."""
    return hasattr(module.BuilderFlag, "FP16") and hasattr(module.BuilderFlag, "INT8")


def parse(module: ModuleType, builder: trt.Builder, logger: trt.ILogger, log_tail: LogTail, onnx: Path) -> Network:
    """Parse a model with one input (n, 3, H, W). Raises BuildError in plain words for any other."""
    definition = builder.create_network(creation_flags(module))
    parser = module.OnnxParser(definition, logger)
    with held_back():
        parsed = parser.parse_from_file(str(onnx))
    log_tail.raise_interruption()
    if not parsed:
        faults = [_parser_fault(parser.get_error(index)) for index in range(min(parser.num_errors, 3))]
        raise BuildError(
            f"TensorRT {module.__version__} cannot read {onnx}: {'; '.join(faults) or log_tail.why()}",
            "Export the model again with opset 17 (yolo export format=onnx opset=17), or update TensorRT.",
        )
    inputs = [definition.get_input(index) for index in range(definition.num_inputs)]
    shapes = [_sizes(tensor.shape) for tensor in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 3:
        found = ", ".join(f"{tensor.name} {shape}" for tensor, shape in zip(inputs, shapes))
        raise BuildError(f"{onnx} takes {found}, not pictures (n, 3, H, W)", "Export a detector.")
    count, channels, height, width = shapes[0]
    network = Network(definition, parser, inputs[0], (count, channels, height, width))
    _refuse_nms(module, network, onnx)
    return network


def _sizes(shape: trt.Dims) -> tuple[int, ...]:
    return tuple(int(shape[axis]) for axis in range(len(shape)))


def _parser_fault(error: trt.ParserError) -> str:
    """One error of the parser: which node, and why. Its name and operator are told from TensorRT 10 on."""
    name = error.node_name() if hasattr(error, "node_name") else ""
    operator = error.node_operator() if hasattr(error, "node_operator") else ""
    which = " ".join(part for part in (operator, name) if part) or f"number {error.node()}"
    return f"node {which}: {cause_of(error.desc())}"


def _refuse_nms(module: ModuleType, network: Network, onnx: Path) -> None:
    for layer in network.layers():
        if layer.type == getattr(module.LayerType, "NMS", None) or re.search("(?i)nms|nonmax", layer.name):
            raise SettingsError(
                f"{onnx} has NMS inside ({layer.name}): INT8 cannot hold it",
                "Export the model without: nms=False.",
            )


def input_shape(declared: Shape, onnx: Path, batch: int, usual_hw: tuple[int, int]) -> Shape:
    """Return the largest input of the engine, open sides of `usual_hw` pixels.

    Raises SettingsError where the model has another fixed batch than the one asked for.
    """
    if declared[0] not in (-1, batch):
        raise SettingsError(
            f"{onnx} has a fixed batch of {declared[0]}, and a batch of {batch} is asked for",
            f"Give --batch {declared[0]}, or export the model with dynamic=True.",
        )
    height, width = (side if side > 0 else usual for side, usual in zip(declared[2:], usual_hw))
    return batch, 3, height, width


def calibration_shape(declared: Shape, onnx: Path, largest: Shape, batch: int) -> Shape:
    """Return the shape of a calibration batch. Raises SettingsError for a model of another fixed batch."""
    if declared[0] not in (-1, batch):
        raise SettingsError(
            f"{onnx} has a fixed batch of {declared[0]}, and cannot be calibrated with batches of {batch}",
            f"Give --calibration-batch {declared[0]}, or export the model with dynamic=True.",
        )
    return batch, *largest[1:]


def is_quantized(module: ModuleType, network: Network) -> bool:
    """Return True if the model holds its own ranges, as Q/DQ nodes."""
    return any(layer.type == module.LayerType.QUANTIZE for layer in network.layers())


def is_half(module: ModuleType, network: Network) -> bool:
    """Return True if the model computes in float16."""
    return any(tensor.dtype == module.DataType.HALF for layer in network.layers() for tensor in _outputs(layer))


def protect(
    module: ModuleType, network: Network, nodes: Collection[str], outputs: Collection[str],
    all_nodes: Collection[str],
) -> tuple[list[str], list[str]]:  # fmt: skip
    """Ask for float16 in the layers that the parser made of these ONNX nodes, and for INT8 in the convolutions that it
    made of `outputs`, which give float16; return the names of the former and of the latter.

    The parser names a layer after its node, and further ones of the same node with a number behind it, unless that is
    the name of another of `all_nodes`. The network puts out float32: the layer that does so, and what it is made of,
    give that, or the whole output would be copied. Raises BuildError where it finds none of the nodes, or none of
    the outputs: protection that protects nothing must not pass unseen.
    """
    wanted = {*nodes, *outputs}
    kept = [layer for layer in network.layers() if _node_of(layer, all_nodes) in wanted and _computes(module, layer)]
    int8 = [layer.name for layer in kept if _is_convolution(module, layer) and _node_of(layer, all_nodes) in outputs]
    last = [layer for layer in kept if any(tensor.is_network_output for tensor in _outputs(layer))]
    inputs = [layer.get_input(index) for layer in last for index in range(layer.num_inputs)]
    put_out = {tensor.name for tensor in inputs if tensor is not None}
    last_names = {layer.name for layer in last}
    half = module.DataType.HALF
    for layer in kept:
        is_last = layer.name in last_names
        given = module.DataType.FLOAT if is_last else half
        layer.precision = module.DataType.INT8 if layer.name in int8 else given
        if is_last:
            continue
        for index, tensor in enumerate(_outputs(layer)):
            layer.set_output_type(index, module.DataType.FLOAT if tensor.name in put_out else half)
    others = [layer.name for layer in kept if layer.name not in int8]
    if (nodes and not others) or (outputs and not int8):
        raise BuildError("TensorRT's parser made no layer of the nodes to protect", "Report this, with the model.")
    return others, int8


def _node_of(layer: trt.ILayer, all_nodes: Collection[str]) -> str:
    return layer.name if layer.name in all_nodes else re.sub(r"_\d+$", "", layer.name)


def _outputs(layer: trt.ILayer) -> list[trt.ITensor]:
    return [layer.get_output(index) for index in range(layer.num_outputs)]


def _computes(module: ModuleType, layer: trt.ILayer) -> bool:
    """Return True if a precision can be asked of the layer."""
    return layer.type.name not in _NOT_COMPUTED and all(_is_float(module, tensor) for tensor in _outputs(layer))


def _is_convolution(module: ModuleType, layer: trt.ILayer) -> bool:
    return bool(layer.type == module.LayerType.CONVOLUTION)


def convolutions(module: ModuleType, network: Network) -> list[str]:
    """Return the names of its convolutions, in order."""
    return [layer.name for layer in network.layers() if _is_convolution(module, layer)]


def _is_float(module: ModuleType, tensor: trt.ITensor) -> bool:
    floats = (module.DataType.FLOAT, module.DataType.HALF)
    return tensor.dtype in floats and tensor.is_execution_tensor and not tensor.is_shape_tensor
