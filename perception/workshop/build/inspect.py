"""Counts the convolutions of an engine that run in INT8, as TensorRT's inspector tells."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from perception.backends.tensorrt.log_tail import LogTail
from perception.core.errors import BuildError
from perception.system.signals import held_back

Layer = Mapping[str, Any]
# What joins the names of layers that became one: "a + b", "a || b", "PWN(a, b)", "{ForeignNode[a...b]}".
_JOINTS = re.compile(r" \+ | \|\| |\.\.\.|[(){}\[\], ]+")


@dataclass(frozen=True, slots=True)
class Convolutions:
    """The convolutions of a network, by the names of its layers, sorted by how the engine runs them.

    int8: in INT8. other: in another precision. unseen: within something that the inspector does not look into.
    """

    int8: tuple[str, ...]
    other: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def share_int8(self) -> float:
        """The share of all convolutions of the network in INT8, 0 to 1."""
        count = len(self.int8) + len(self.other) + len(self.unseen)
        return len(self.int8) / count if count else 0.0


def look_into(module: ModuleType, logger: Any, log_tail: LogTail, plan: bytes) -> str:
    """Return the inspector's JSON of a plan. Raises BuildError where the plan does not load."""
    runtime = module.Runtime(logger)
    with held_back():
        engine = runtime.deserialize_cuda_engine(plan)
    log_tail.raise_interruption()
    if engine is None:
        raise BuildError(
            f"TensorRT does not load what it built: {log_tail.why()}", "Build it again with less workspace."
        )
    inspector = engine.create_engine_inspector()
    return str(inspector.get_engine_information(module.LayerInformationFormat.JSON))


def layers_of(text: str) -> list[Layer]:
    """Return the layers of the inspector's JSON; empty where the engine was built without ProfilingVerbosity.DETAILED.

    Such an engine lists names alone. Raises ValueError for what is no JSON of an inspector.
    """
    found = json.loads(text, strict=False)  # 8.6 leaves line breaks of names as they are
    if not isinstance(found, dict) or not isinstance(found.get("Layers"), list):
        raise ValueError("it has no list of layers")
    return [layer for layer in found["Layers"] if isinstance(layer, dict)]


def convolutions(layers: Collection[Layer], names: Collection[str]) -> Convolutions:
    """Sort the convolutions `names` by how the engine runs them. One counts as INT8 if its weights are."""
    found: dict[str, bool] = {}
    for layer in layers:
        if not is_convolution(layer):
            continue
        for name in _names_of(layer):
            found[name] = is_int8(layer)
    int8 = tuple(name for name in names if found.get(name) is True)
    other = tuple(name for name in names if found.get(name) is False)
    return Convolutions(int8, other, tuple(name for name in names if name not in found))


def is_convolution(layer: Layer) -> bool:
    """Return True for CaskConvolution, CaskGemmConvolution, CaskJitConv and so on, as TensorRT calls them."""
    kinds = (layer.get("ParameterType"), layer.get("LayerType"))
    return any(isinstance(kind, str) and "Conv" in kind and "Deconv" not in kind for kind in kinds)


def is_int8(layer: Layer) -> bool:
    """Return True if its weights are INT8; where they are not told, if the tensor it reads is."""
    weights = layer.get("Weights")
    if isinstance(weights, dict) and isinstance(weights.get("Type"), str):
        return str(weights["Type"]).casefold() == "int8"
    inputs = layer.get("Inputs")
    first = inputs[0] if isinstance(inputs, list) and inputs else {}
    return "int8" in str(first.get("Format/Datatype", first.get("Datatype", ""))).casefold()


def _names_of(layer: Layer) -> Iterator[str]:
    """The names of the network's layers in it: of its own name, and of the metadata that newer releases add."""
    yield from (part for part in _JOINTS.split(str(layer.get("Name", ""))) if part)
    yield from re.findall(r"\[ONNX Layer: ([^\]]+)\]", str(layer.get("Metadata", "")))
