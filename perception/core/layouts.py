"""The layouts that a detector's output can have: what its numbers mean, and how its input is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

MAX_DETECTIONS = 300
"""ultralytics' max_det."""

FARTHEST_PX = 1e6
"""A box that reaches beyond this was not found in any picture; the areas of nearer ones do not overflow."""

Preprocessing = Literal["letterbox", "stretch"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The meaning of the numbers of an output (batch, ., .); each box begins with four numbers of its place.

    tail: what follows them: a score for each class, an objectness and such scores, or the best score and its label.
    by_row: whether a box is a row, and not a column. corners: whether its place is left, top, right, bottom and not
    centre and size. shares: whether in shares of the input's sides and not in its pixels. final: whether nothing is
    left to suppress. on_gpu: whether the kernels decode it. preprocessing: how a picture is fitted into the input.
    """

    name: str
    tail: Literal["scores", "objectness", "label"]
    by_row: bool = True
    corners: bool = False
    shares: bool = False
    final: bool = False
    on_gpu: bool = False
    preprocessing: Preprocessing = "letterbox"

    def width(self, class_count: int) -> int:
        """The count of numbers of a box."""
        return {"scores": 4 + class_count, "objectness": 5 + class_count, "label": 6}[self.tail]

    def fits(self, shape: tuple[int, ...], class_count: int) -> bool:
        """Return True if an output of this shape can be of this layout."""
        return len(shape) == 3 and shape[2 if self.by_row else 1] == self.width(class_count)

    def shape(self, class_count: int) -> str:
        """The shape of its output, in words."""
        width = self.width(class_count)
        return f"(batch, n, {width})" if self.by_row else f"(batch, {width}, n)"


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            Layout("raw", "scores", by_row=False, on_gpu=True),  # YOLOv8, YOLO11 by ultralytics
            Layout("raw_transposed", "scores"),  # the same, box by box
            Layout("yolov5", "objectness"),  # YOLOv5, YOLOv6, YOLOv7
            # YOLOv10, YOLO26, and exports with NMS inside
            Layout("end_to_end", "label", corners=True, final=True, on_gpu=True),
            Layout("deepstream", "label", corners=True),  # DeepStream-Yolo leaves NMS to the reader
            Layout("rtdetr", "label", shares=True, final=True, preprocessing="stretch"),  # since ultralytics 8.4
            Layout("rtdetr_scores", "scores", shares=True, final=True, preprocessing="stretch"),  # and before
        )
    }
)


def way_of(layout: str | None) -> Preprocessing:
    """Return how pictures are fitted into the input of a model of this layout; None: as of most."""
    return LAYOUTS[layout].preprocessing if layout is not None else "letterbox"


@dataclass(frozen=True, slots=True)
class Head:
    """An output whose layout is known.

    ids: for each score, or each label from 0 on, the id of its class in the model's file; -1 where it has none.
    """

    layout: Layout
    ids: tuple[int, ...]

    @property
    def renumbers(self) -> bool:
        """True if the output numbers the classes differently from the file."""
        return self.ids != tuple(range(len(self.ids)))

    def places(self, class_ids: tuple[int, ...]) -> tuple[int, ...]:
        """Return the places of these class ids in the output, rising."""
        wanted = frozenset(class_ids)
        return tuple(place for place, class_id in enumerate(self.ids) if class_id in wanted)
