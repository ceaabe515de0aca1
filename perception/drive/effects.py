"""Shadows on the ground, the glow of lamps, and rain."""

from __future__ import annotations

import cv2
import numpy as np

from perception.core.frame import Image
from perception.drive.camera import FIXED_BITS, Camera, fixed
from perception.drive.hashing import Dice
from perception.drive.mesh import Mesh
from perception.drive.palette import Floats, Light
from perception.drive.vehicles.bodies import Vehicle

_GLOWS = {"head": (205.0, 238.0, 255.0), "tail": (40.0, 30.0, 255.0), "street": (150.0, 205.0, 255.0)}
_SPRITE = 65
_CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


class Shadows:
    """Collects shadows in one mask (ground rows, width) that the ground is multiplied with."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self._camera, self._light = camera, light
        first = int(camera.horizon)
        self.mask = np.empty((camera.rows - first, camera.width), np.uint8)
        self._lift = np.array([0, first], np.float32)
        sun = light.sun
        self._lean = (-float(sun[0]) / max(float(sun[1]), 0.3), -float(sun[2]) / max(float(sun[1]), 0.3))

    def clear(self) -> None:
        """Begin a frame without shadows."""
        self.mask[:] = 255

    def _fill(self, ground: Floats, part: float) -> None:
        """Darken a convex patch, given by points (n, 2) of x and z on the road."""
        points = np.zeros((len(ground), 3), np.float32)
        points[:, 0], points[:, 2] = ground[:, 0], ground[:, 1]
        hull = np.asarray(cv2.convexHull(self._camera.project(points) - self._lift), np.float32)
        cv2.fillConvexPoly(self.mask, fixed(hull), 255 * (1 - part), cv2.LINE_AA, FIXED_BITS)

    def under(self, vehicle: Vehicle, mesh: Mesh, step: int) -> None:
        """A vehicle's shadow: soft edge (step 0), core (1), and the dark below its body (2)."""
        width, height, length = mesh.size
        if step < 2 and self._light.shadow < 0.05:
            return
        grow = (0.22 if width > 1.0 else 0.06, 0.0, 0.02)[step]
        spots = [
            (vehicle.x + a * (width * (0.47 if width > 1.0 else 0.3) + grow), vehicle.z + b * (length * 0.48 + grow))
            for a, b in _CORNERS
        ]
        if step == 2:
            self._fill(np.asarray(spots, np.float32), 0.62 if self._light.wet < 0.5 else 0.5)
            return
        dx, dz = self._lean[0] * height * 0.82, self._lean[1] * height * 0.82
        # A rider narrows towards the head; a body keeps its outline.
        top = 0.35 if width < 1.0 else 1.0
        spots += [(vehicle.x + dx + (x - vehicle.x) * top, vehicle.z + dz + (z - vehicle.z) * top) for x, z in spots]
        self._fill(np.asarray(spots, np.float32), self._light.shadow * (0.5, 0.85)[step])

    def below(self, round_ones: list[tuple[float, float, float, float]]) -> None:
        """The shadows of trees and bushes, each given by x, z, height and radius in metres."""
        if self._light.shadow < 0.05 or not round_ones:
            return
        spots = np.asarray(round_ones, np.float32)
        turn = np.arange(12, dtype=np.float32) * np.float32(2 * np.pi / 12)
        radius, middle = spots[:, 3:], spots[:, 2:3] * 0.6
        points = np.zeros((len(spots), 12, 3), np.float32)
        points[..., 0] = spots[:, :1] + self._lean[0] * middle + radius * np.cos(turn)
        points[..., 2] = (
            spots[:, 1:2] + self._lean[1] * middle + radius * (1 + 0.35 * abs(self._lean[1])) * np.sin(turn)
        )
        flat = fixed(self._camera.project(points.reshape(-1, 3)) - self._lift).reshape(-1, 12, 2)
        value = 255 * (1 - self._light.shadow * 0.7)
        for i in np.flatnonzero(points[..., 2].min(1) > 1.0).tolist():
            cv2.fillConvexPoly(self.mask, flat[i], value, cv2.LINE_AA, FIXED_BITS)


class Glows:
    """Adds light about lamps."""

    def __init__(self, light: Light) -> None:
        self._light = light
        away = (np.arange(_SPRITE, dtype=np.float32) - _SPRITE // 2) / (_SPRITE // 2)
        radius = np.sqrt(away[:, None] ** 2 + away[None, :] ** 2)
        shape = np.clip(1 - radius, 0, 1) ** 2.2 * 0.55 + np.clip(1 - radius / 0.28, 0, 1) ** 1.2 * 0.75
        shape = np.clip(shape, 0, 1)[..., None] * (0.35 + 0.65 * light.lamps)
        self._sprites = {kind: (shape * np.asarray(tone, np.float32)).astype(np.uint8) for kind, tone in _GLOWS.items()}

    def add(self, image: Image, kind: str, at: tuple[float, float], size: tuple[float, float]) -> None:
        """Add a glow of (half width, half height) pixels about a place."""
        half_w, half_h = max(int(size[0]), 2), max(int(size[1]), 2)
        x0, y0 = int(at[0]) - half_w, int(at[1]) - half_h
        x1, y1 = x0 + 2 * half_w + 1, y0 + 2 * half_h + 1
        left, top = max(x0, 0), max(y0, 0)
        right, bottom = min(x1, image.shape[1]), min(y1, image.shape[0])
        if left >= right or top >= bottom or half_w > 400:
            return
        sprite = cv2.resize(self._sprites[kind], (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        part = image[top:bottom, left:right]
        cv2.add(part, sprite[top - y0 : bottom - y0, left - x0 : right - x0], dst=part)

    def vehicle(self, image: Image, vehicle: Vehicle, mesh: Mesh, camera: Camera) -> None:
        """The lamps of a vehicle that shine towards the camera, and their streaks on a wet road."""
        if self._light.lamps < 0.3:
            return
        kind = "tail" if vehicle.heading > 0 else "head"
        reach = 0.34 if kind == "tail" else 0.75
        for x, y, z, name in mesh.lamps:
            ahead = vehicle.z + vehicle.heading * z
            if name != kind or ahead < 3.0:
                continue
            u, v, scale = camera.spot(vehicle.x + vehicle.heading * x, y, ahead)
            size = reach * scale + 2.0
            self.add(image, kind, (u, v), (size, size))
            if self._light.wet > 0.1:
                foot = camera.spot(vehicle.x, 0.0, ahead)[1]
                self.add(image, kind, (u, foot + 0.55 * scale), (0.16 * scale + 1, 0.8 * scale + 1))


class Rain:
    """Streaks of rain: a tall sheet, of which each frame shows another part."""

    def __init__(self, dice: Dice, rows: int, width: int, rain: float, light: Light) -> None:
        self._dice, self._rows = dice, rows
        self._sheet: Image | None = None
        if rain <= 0:
            return
        sheet = np.zeros((2 * rows, width), np.uint8)
        draw = dice.generator(1)
        count = int(900 * rain * (width * rows) / (1280 * 720)) + 20
        tone = 22 + 40 * float(light.horizon.mean()) / 255
        for x, y, size, strength in draw.random((2 * count, 4)).tolist():
            length = (8 + 34 * size * size) * rows / 720
            start = np.asarray([(x * width * 16, y * 2 * rows * 16)], np.float64)
            end = start + np.asarray([(-length * 0.16 * 16, length * 16)])
            a, b = (tuple(int(v) for v in point[0]) for point in (start, end))
            cv2.line(sheet, a, b, tone * (0.35 + 0.65 * strength), 1 if size < 0.85 else 2, cv2.LINE_AA, FIXED_BITS)
        self._sheet = np.repeat(sheet[..., None], 3, axis=2)

    def draw(self, image: Image, number: int) -> None:
        """Lay the rain of a frame over the picture."""
        if self._sheet is not None:
            top = int(self._dice.unit(1000 + number) * self._rows)
            cv2.add(image, self._sheet[top : top + self._rows], dst=image)
