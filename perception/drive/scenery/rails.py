"""Guard rails, concrete walls and fences: bands along the road, with posts that move past."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from perception.core.frame import Image
from perception.drive.camera import FIXED_BITS, Camera, fixed
from perception.drive.palette import Colour, Floats, Light
from perception.drive.truth import Outline

_STOPS = (1.2, 2.2, 3.6, 5.5, 8.0, 12.0, 18.0, 28.0, 44.0, 70.0, 110.0, 170.0)
_POST_M = 4.0
_BANDS: dict[str, tuple[tuple[float, float, Colour], ...]] = {
    "rail": ((0.45, 0.55, (138, 142, 144)), (0.55, 0.68, (196, 199, 200)), (0.68, 0.78, (158, 162, 164))),
    "concrete": ((0.0, 0.25, (128, 136, 142)), (0.25, 0.86, (158, 166, 172)), (0.86, 0.92, (196, 203, 208))),
    "fence": ((0.50, 0.60, (92, 116, 136)), (0.92, 1.03, (104, 130, 150))),
}
_POST: dict[str, Colour] = {"rail": (120, 122, 122), "fence": (84, 106, 124)}


class Rail:
    """One band at `x` metres beside the camera car's lane; it stands still in the picture, but for its posts."""

    def __init__(self, camera: Camera, light: Light, x: float, kind: str) -> None:
        self.x, self._kind = x, kind
        self._camera, self._light = camera, light
        self._quads: list[tuple[npt.NDArray[np.int32], list[float]]] = []
        self._outlines: list[tuple[tuple[float, float, float, float], Floats]] = []
        facing = max(0.0, float(-np.sign(x) * light.sun[0]))
        for z0, z1 in reversed(list(zip(_STOPS[:-1], _STOPS[1:], strict=True))):
            for low, high, colour in _BANDS[kind]:
                points = self._band(z0, z1, low, high)
                self._quads.append((fixed(points), self._tone(colour, z0, facing)))
                left, top = points.min(0).tolist()
                right, bottom = points.max(0).tolist()
                self._outlines.append(((left, top, right, bottom), points))

    def hiding(self, outline: Outline) -> list[Floats]:
        """The polygons of the bands, in pixels, that may lie before a silhouette beyond them."""
        return [points for bounds, points in self._outlines if outline.meets(bounds)]

    def _band(self, z0: float, z1: float, low: float, high: float) -> Floats:
        corners = [(self.x, low, z0), (self.x, low, z1), (self.x, high, z1), (self.x, high, z0)]
        return self._camera.project(np.asarray(corners, np.float32))

    def _tone(self, colour: Colour, z: float, facing: float) -> list[float]:
        light, clear = self._light, self._light.clear(z)
        lit = light.flat(colour, 0.25 + 0.6 * facing) + np.asarray(colour, np.float32) * (
            0.25 * light.beam * np.exp(-z / 25)
        )
        return [float(v) for v in lit * clear + light.haze * (1 - clear)]

    def draw(self, image: Image, travelled: float) -> None:
        """Draw the posts, then the bands."""
        if self._kind in _POST:
            self._posts(image, travelled)
        for points, tone in self._quads:
            cv2.fillConvexPoly(image, points, tone, cv2.LINE_AA, FIXED_BITS)

    def _posts(self, image: Image, travelled: float) -> None:
        top = _BANDS[self._kind][-1][1] + 0.02
        for k in range(int((travelled + 60) / _POST_M), int(travelled / _POST_M), -1):
            z = k * _POST_M - travelled
            if z < 1.5:
                continue
            u, v, scale = self._camera.spot(self.x, 0.0, z)
            if not -40 < u < self._camera.width + 40:
                continue
            half = 0.06 * scale
            corners = np.asarray(
                [(u - half, v), (u + half, v), (u + half, v - top * scale), (u - half, v - top * scale)], np.float32
            )
            cv2.fillConvexPoly(image, fixed(corners), self._tone(_POST[self._kind], z, 0.3), cv2.LINE_AA, FIXED_BITS)
