"""Finds the places of Q/DQ pairs in a detector's graph, so that TensorRT keeps as much as it can in INT8.

By NVIDIA's guides and what its fusions need:
- every convolution reads INT8, but those that are protected;
- a pair stands after each activation, never between a convolution and its activation: TensorRT makes one kernel of
  DQ, convolution, SiLU and Q;
- both inputs of a residual sum and its output have pairs, or the sum would be a float kernel of its own;
- what only moves values (split, pooling, resize, concat) has one range for all that goes in and out. Concats then cost
  nothing, because their inputs are written where the output lies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from perception.workshop.quantize.graph import Graph

MOVING = frozenset(("Split", "Slice", "MaxPool", "Resize"))
"""They give values of their first input."""
CROSSED = MOVING | {"Concat", "Add"}
_SAME_VALUES = MOVING | {"Concat", "Reshape", "Transpose"}


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that share one range, and the ones that make their values, which are to be measured."""

    tensors: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """convolutions: names of those that become INT8. crossed: of the other nodes that INT8 values go through.

    All is in the graph's order, so that the first tensor that goes wrong is the one that is told of.
    """

    convolutions: tuple[str, ...]
    crossed: tuple[str, ...]
    groups: tuple[Group, ...]

    def sources(self) -> tuple[str, ...]:
        """Return every tensor that is to be measured, once."""
        return tuple(dict.fromkeys(name for group in self.groups for name in group.sources))


def place(model: Any, protected: Collection[str]) -> Placement:
    """Return the pairs of a model (onnx.ModelProto); `protected` names the nodes that stay in float."""
    graph = Graph(model)
    walk = _Walk(graph, frozenset(protected))
    convolutions = [node for node in graph.convolutions() if node.name not in protected]
    walk.back_from(node.input[0] for node in convolutions)
    order = {node.name: number for number, node in enumerate(graph.nodes)}
    groups = [Group(names, sources_of(graph, names)) for names in walk.groups()]
    made = {name: number for number, node in enumerate(graph.nodes) for name in node.output}
    return Placement(
        convolutions=tuple(node.name for node in convolutions),
        crossed=tuple(sorted(walk.crossed, key=order.__getitem__)),
        groups=tuple(sorted(groups, key=lambda group: min(made.get(name, -1) for name in group.sources))),
    )


def sources_of(graph: Graph, tensors: Collection[str]) -> tuple[str, ...]:
    """Return the tensors that the values of `tensors` were computed as, behind all that only moves them."""
    found: dict[str, None] = {}
    waiting = list(tensors)
    while waiting:
        name = waiting.pop()
        node = graph.maker(name)
        if node is None or node.op_type not in _SAME_VALUES:
            found[name] = None
        else:
            waiting += graph.data_inputs(node) if node.op_type == "Concat" else node.input[:1]
    return tuple(sorted(found))


class _Walk:
    """Goes from the inputs of the convolutions back to where their values come from, and ties ranges on the way."""

    def __init__(self, graph: Graph, protected: frozenset[str]) -> None:
        self._graph = graph
        self._protected = protected
        self._tied_to: dict[str, str] = {}
        self.crossed: set[str] = set()

    def back_from(self, tensors: Iterable[str]) -> None:
        """Visit tensors that need a pair, and all that need one because of them."""
        waiting = list(tensors)
        while waiting:
            name = waiting.pop()
            if name not in self._tied_to:
                self._tied_to[name] = name
                waiting += self._behind(name)
        self._tie_all()

    def groups(self) -> list[tuple[str, ...]]:
        """Return the tensors by the range that they share."""
        found: dict[str, list[str]] = {}
        for name in self._tied_to:
            found.setdefault(self._first(name), []).append(name)
        return [tuple(names) for names in found.values()]

    def _behind(self, tensor: str) -> list[str]:
        node = self._graph.maker(tensor)
        if node is None or node.op_type not in CROSSED or node.name in self._protected:
            return []
        inputs = [str(name) for name in self._graph.data_inputs(node)]
        if node.op_type == "Add" and len(inputs) != 2:
            return []  # a bias, which is no sum of two pictures
        self.crossed.add(node.name)
        return [*inputs, *node.output]

    def _tie_all(self) -> None:
        for node in self._graph.nodes:
            if node.name in self.crossed and node.op_type != "Add":
                names: list[str] = [*self._graph.data_inputs(node), *node.output]
                for other in names[1:]:
                    self._tied_to[self._first(other)] = self._first(names[0])

    def _first(self, name: str) -> str:
        while self._tied_to[name] != name:
            name = self._tied_to[name]
        return name
