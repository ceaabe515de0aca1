"""The camera and the bend of the road: metres to pixels.

World axes: x to the right, y up, z ahead, all in metres from the point of the road below the camera.
The road bends away by x = bend * z**2 / 2; everything in the world is bent with it, which keeps the view still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NEAREST_Z = 0.5
FIXED_BITS = 4
_FURTHEST_PX = 12000.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: `focal`, `centre_x`, `horizon` in pixels, `height` in metres above the road, `bend` in 1/m."""

    width: int
    rows: int
    focal: float
    centre_x: float
    horizon: float
    height: float
    bend: float

    def shift_at(self, z: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return how far the road has bent to the side at distance z, in metres."""
        return (0.5 * self.bend) * z * z

    def project(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Points (n, 3) in metres to (n, 2) in pixels.

        What lies behind the camera is moved up to its nearest plane: edges along the road stay where they belong.
        """
        z = np.maximum(points[:, 2], NEAREST_Z)
        scale = self.focal / z
        out = np.empty((len(points), 2), np.float32)
        out[:, 0] = self.centre_x + (points[:, 0] + (0.5 * self.bend) * z * z) * scale
        out[:, 1] = self.horizon + (self.height - points[:, 1]) * scale
        return np.clip(out, -_FURTHEST_PX, _FURTHEST_PX, out=out)

    def spot(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """One point: its column, its row and the pixels that a metre has there."""
        scale = self.focal / max(z, NEAREST_Z)
        return (
            self.centre_x + (x + 0.5 * self.bend * z * z) * scale,
            self.horizon + (self.height - y) * scale,
            scale,
        )


def fixed(points: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Pixels to the fixed-point numbers that OpenCV draws with (`shift=FIXED_BITS`)."""
    out: npt.NDArray[np.int32] = np.rint(points * (1 << FIXED_BITS)).astype(np.int32)
    return out
