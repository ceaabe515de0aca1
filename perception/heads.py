"""The two kinds of head a detector has, and what holds for the boxes of both."""

from __future__ import annotations

MAX_DETECTIONS = 300
"""ultralytics' max_det."""

FEW = 64
"""Up to so many candidates overlaps are suppressed on the GPU (see suppression.cuh), and without numpy on the CPU."""

FARTHEST_PX = 1e6
"""A box that reaches beyond this was not found in any picture; the areas of nearer ones do not overflow."""


def is_end_to_end(shape: tuple[int, ...], class_count: int) -> bool:
    """Tells an end-to-end head (batch, k, 6) from a raw one (batch, 4 + class_count, n).

    Raises ValueError, naming both layouts, for any other shape.
    """
    if len(shape) == 3 and shape[1] == 4 + class_count:
        return False
    if len(shape) == 3 and shape[2] == 6:
        return True
    raise ValueError(
        f"the output has shape {shape}; a detector of {class_count} classes gives "
        f"(batch, {4 + class_count}, n) or, end to end, (batch, k, 6)"
    )
