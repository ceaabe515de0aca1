"""Reads of an ONNX file how precisely it computes and what sides its input has, without loading it.

A file of protobuf (protobuf.dev/programming-guides/encoding), whose fields onnx/onnx.proto names. The package onnx
would do it, and takes longer to import than a start may take.
"""

from __future__ import annotations

import math
import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Fields of onnx.proto, by message.
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER, _NODE_OP_TYPE, _NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR = 7, 1, 5, 4, 5, 5
_TENSOR_DIMS, _TENSOR_TYPE = 1, 2
_TO_INPUT_SIDE = (7, 11, 2, 1, 2, 1)
"""Graph, input, type, tensor type, shape, dimension: each a field of the one before."""
_SIDE_VALUE = 1
_FLOATS = {1: "fp32", 10: "fp16", 16: "bf16", 11: "fp64"}
"""TensorProto.DataType of what may be weights."""
_INT8_OPERATORS = (b"QuantizeLinear", b"DequantizeLinear", b"QLinearConv", b"ConvInteger")

_Field = tuple[int, "int | memoryview"]


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """The facts of a file. precision: "int8" with Q/DQ nodes, else that of most of its weights ("fp32", "fp16", ...),
    "" without any. input_sides: of its inputs, those that are numbers; ONNX Runtime calls a negative one open.
    """

    precision: str
    input_sides: tuple[int, ...]


def read_facts(path: Path) -> OnnxFacts:
    """Raises ValueError for what is no such file, OSError where it cannot be read."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with the last view of it
    model = memoryview(mapped)
    return OnnxFacts(_precision(model), tuple(_input_sides(model)))


def is_quantized(path: Path) -> bool:
    """Return whether a model is an ONNX file with Q/DQ nodes. Raises OSError where it cannot be read."""
    try:
        return path.suffix == ".onnx" and read_facts(path).precision == "int8"
    except ValueError:
        return False


def _precision(model: memoryview) -> str:
    weights: Counter[str] = Counter()
    is_quantized = False
    for graph in _messages(model, _MODEL_GRAPH):
        for number, value in _fields(graph):
            if isinstance(value, int):
                continue
            if number == _GRAPH_INITIALIZER:
                weights += _count(value)
            elif number == _GRAPH_NODE:
                for kind, part in _fields(value):
                    if isinstance(part, int):
                        continue
                    is_quantized |= kind == _NODE_OP_TYPE and bytes(part) in _INT8_OPERATORS
                    if kind == _NODE_ATTRIBUTE:
                        for tensor in _messages(part, _ATTRIBUTE_TENSOR):
                            weights += _count(tensor)
    return "int8" if is_quantized else weights.most_common(1)[0][0] if weights else ""


def _input_sides(message: memoryview, path: tuple[int, ...] = _TO_INPUT_SIDE) -> Iterator[int]:
    if path:
        for part in _messages(message, path[0]):
            yield from _input_sides(part, path[1:])
        return
    for number, value in _fields(message):
        if number == _SIDE_VALUE and isinstance(value, int):
            yield value - (value >> 63 << 64)  # negative numbers are written as large ones


def _count(tensor: memoryview) -> Counter[str]:
    """Return the count and type of a tensor's values, where they may be weights: it has more than one side."""
    sides: list[int] = []
    kind = ""
    for number, value in _fields(tensor):
        if number == _TENSOR_DIMS:
            sides += [value] if isinstance(value, int) else _varints(value)
        elif number == _TENSOR_TYPE and isinstance(value, int):
            kind = _FLOATS.get(value, "")
    return Counter({kind: math.prod(sides)}) if kind and sides else Counter()


def _messages(message: memoryview, number: int) -> Iterator[memoryview]:
    return (value for found, value in _fields(message) if found == number and not isinstance(value, int))


def _fields(message: memoryview) -> Iterator[_Field]:
    """The fields of a message: their numbers, and a number or the bytes of each. Raises ValueError for a broken one."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"it has a field of kind {kind}")
        if at + length > len(message):
            raise ValueError("it is cut off")
        yield tag >> 3, message[at : at + length]
        at += length


def _varints(packed: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        found.append(value)
    return found


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("it is cut off")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
