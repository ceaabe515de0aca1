"""Launches that were recorded as CUDA graphs, by what they were recorded for."""

from __future__ import annotations

from collections.abc import Hashable

from perception.backends.gpu.cuda import Graph

GRAPHS = 8
"""The most that are kept: sizes of picture that come in turn, times the numbers of pictures in one launch."""


class Graphs:
    """At most `count` graphs; the one that was not used for the longest gives way."""

    def __init__(self, count: int = GRAPHS) -> None:
        self._count = count
        self._kept: dict[Hashable, tuple[Graph, object]] = {}  # the latest used is the last

    def find(self, key: Hashable) -> Graph | None:
        """The graph that was recorded for this, None where there is none."""
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        self._kept[key] = kept
        return kept[0]

    def keep(self, key: Hashable, graph: Graph, uses: object) -> None:
        """Keeps a graph and, as long as it, what holds the memory that it `uses`."""
        while len(self._kept) >= self._count:
            self._kept.pop(next(iter(self._kept)))[0].close()
        self._kept[key] = graph, uses

    def clear(self) -> None:
        """Frees them all."""
        while self._kept:
            self._kept.popitem()[1][0].close()
