"""Exact boxes from the outlines of bodies, and how much of each vehicle shows."""

from __future__ import annotations

import math

import cv2
import numpy as np

from perception.core.frame import Truth
from perception.drive.camera import FIXED_BITS, fixed
from perception.drive.palette import Floats
from perception.drive.vehicles.bodies import Posed

_CANVAS_PX = 96.0
_SHOWN = 0.65
_SMALL_PX = 12.0
_LEAST_SHOWN = 0.05
_LEAST_SHOWN_PX = 400.0
_LEAST_PX = 4.0


class Outline:
    """A vehicle's silhouette: the hulls of its parts' drawn faces in pixels, uncut, and the box about them."""

    def __init__(self, posed: Posed) -> None:
        self._posed = posed
        self._hulls: list[Floats] | None = None
        counts = posed.mesh.counts
        seen = np.zeros(len(counts), bool)
        seen[posed.visible] = True
        self._drawn = np.repeat(seen, counts)
        drawn = posed.points[self._drawn] if len(posed.visible) else posed.points
        self.low, self.high = drawn.min(0), drawn.max(0)
        low, high = self.low.tolist(), self.high.tolist()
        self.bounds: tuple[float, float, float, float] = (low[0], low[1], high[0], high[1])

    @property
    def hulls(self) -> list[Floats]:
        """The hull (n, 2) of every part; worked out when first asked for, as most vehicles stand free."""
        if self._hulls is None:
            points, drawn = self._posed.points, self._drawn
            parts = [points[a:b][drawn[a:b]] for a, b in self._posed.mesh.parts]
            self._hulls = [np.asarray(cv2.convexHull(part)[:, 0], np.float32) for part in parts if len(part)]
        return self._hulls

    def faces(self) -> list[Floats]:
        """The polygons (n, 2) of the drawn faces."""
        points, starts = self._posed.points, self._posed.mesh.starts
        return [points[starts[face] : starts[face + 1]] for face in self._posed.visible.tolist()]

    def meets(self, bounds: tuple[float, float, float, float]) -> bool:
        """Return True if the outline may touch what lies in a box (left, top, right, bottom)."""
        own = self.bounds
        return own[0] < bounds[2] and bounds[0] < own[2] and own[1] < bounds[3] and bounds[1] < own[3]

    def within(self, width: int, rows: int) -> bool:
        """Return True if all of the outline is inside the frame."""
        left, top, right, bottom = self.bounds
        return left >= 0 and top >= 0 and right <= width - 1 and bottom <= rows - 1


def box_of(outline: Outline, width: int, rows: int) -> Floats | None:
    """The tight box (4,) of the part of a silhouette inside the frame; None when nothing is."""
    low, high = outline.low, outline.high
    right, bottom = width - 1.0, rows - 1.0
    if not outline.within(width, rows):
        # Face by face: a hull would also hold what lies between the wheels.
        cut = [_cut(face, right, bottom) for face in outline.faces()]
        cut = [face for face in cut if len(face)]
        if not cut:
            return None
        inside = np.concatenate(cut)
        low, high = np.maximum(inside.min(0), 0), np.minimum(inside.max(0), [right, bottom])
    # A point at pixel i's middle colours all of it, from i to i + 1.
    return np.asarray([low[0], low[1], high[0] + 1, high[1] + 1], np.float32)


def _cut(polygon: Floats, right: float, bottom: float) -> Floats:
    """The part of a convex polygon within (0, 0) to (right, bottom)."""
    for axis, limit, sign in ((0, 0.0, 1.0), (0, right, -1.0), (1, 0.0, 1.0), (1, bottom, -1.0)):
        if not len(polygon):
            return polygon
        depth = sign * (polygon[:, axis] - limit)
        if (depth >= 0).all():
            continue
        out = []
        for i in range(len(polygon)):
            j = (i + 1) % len(polygon)
            if depth[i] >= 0:
                out.append(polygon[i])
            if (depth[i] >= 0) != (depth[j] >= 0):
                out.append(polygon[i] + (polygon[j] - polygon[i]) * (depth[i] / (depth[i] - depth[j])))
        polygon = np.asarray(out, np.float32).reshape(-1, 2)
    return polygon


def shown(outline: Outline, hiding: list[Floats], width: int, rows: int) -> tuple[float, float]:
    """The part of a silhouette that is inside the frame and behind none of the `hiding` polygons (pixels).

    As a share, 0 to 1, and as an area in pixels, infinite where all of it is.
    """
    if not hiding and outline.within(width, rows):
        return 1.0, math.inf
    low = np.maximum(outline.low, -2.0 * width)
    high = np.minimum(outline.high, 3.0 * width)
    size = np.maximum(high - low, 1.0)
    scale = min(_CANVAS_PX / float(size.max()), 4.0)
    canvas = np.zeros((int(size[1] * scale) + 2, int(size[0] * scale) + 2), np.uint8)
    for hull in outline.hulls:
        cv2.fillConvexPoly(canvas, fixed((hull - low) * scale), 255, 8, FIXED_BITS)
    whole = cv2.countNonZero(canvas)
    for polygon in hiding:
        cv2.fillPoly(canvas, [fixed((polygon - low) * scale)], 0, 8, FIXED_BITS)
    left, top = (int(max(-float(v) * scale, 0)) for v in low)
    right, bottom = int((width - low[0]) * scale) + 1, int((rows - low[1]) * scale) + 1
    inside = canvas[top : max(bottom, 0), left : max(right, 0)]
    seen = cv2.countNonZero(inside) if inside.size else 0
    return seen / max(whole, 1), seen / scale**2


def collect(found: list[tuple[int, Outline, list[Floats]]], width: int, rows: int) -> Truth:
    """The truth of a frame from (class id, silhouette, what may hide it), far vehicles first."""
    boxes: list[Floats] = []
    classes: list[int] = []
    flags: list[bool] = []
    for class_id, outline, hiding in found:
        box = box_of(outline, width, rows)
        if box is None or min(box[2] - box[0], box[3] - box[1]) < _LEAST_PX:
            continue
        share, area = shown(outline, hiding, width, rows)
        if share < _LEAST_SHOWN and area < _LEAST_SHOWN_PX:  # a bus beside the camera shows little of itself, yet much
            continue
        boxes.append(box)
        classes.append(class_id)
        flags.append(share < _SHOWN or float(box[3] - box[1]) < _SMALL_PX)
    return Truth(np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(classes, np.int64), np.asarray(flags, bool))
