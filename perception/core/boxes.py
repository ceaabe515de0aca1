"""Arithmetic on boxes (left, top, right, bottom) in pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def areas(boxes: Floats) -> Floats:
    """The areas (n,) of boxes (n, 4), in square pixels; 0 for one turned inside out."""
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    product: Floats = sides[:, 0] * sides[:, 1]
    return product


def intersections(first: Floats, second: Floats) -> Floats:
    """The area (n, m) that each of `first` (n, 4) shares with each of `second` (m, 4), in square pixels."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.clip(high - low, 0, None)
    product: Floats = sides[..., 0] * sides[..., 1]
    return product


def overlaps(first: Floats, second: Floats) -> Floats:
    """Intersection over union (n, m); 0 where both boxes are empty."""
    shared = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None, :] - shared
    ratio: Floats = shared / np.maximum(union, 1e-9)
    return ratio


def shares_inside(first: Floats, second: Floats) -> Floats:
    """The part (n, m), 0 to 1, of each of `first` that lies in each of `second`."""
    ratio: Floats = intersections(first, second) / np.maximum(areas(first), 1e-9)[:, None]
    return ratio
