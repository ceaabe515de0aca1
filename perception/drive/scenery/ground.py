"""The ground: a still picture of road, verges and lines, a moving grain laid over it, and the dashes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perception.core.frame import Image
from perception.drive.camera import FIXED_BITS, Camera, fixed
from perception.drive.hashing import Dice, smooth_noise
from perception.drive.layout import Layout
from perception.drive.palette import Floats, Light

_CELL_M = 0.1
_PERIOD = 384
_COLUMNS = 512
_LEVELS = ((1, 1), (3, 1), (9, 3))
_LEVEL_Z = (10.0, 26.0, 62.0)
_ALBEDO = {
    "road": (116.0, 114.0, 112.0),
    "gravel": (112.0, 128.0, 138.0),
    "walk": (158.0, 164.0, 168.0),
    "kerb": (182.0, 186.0, 188.0),
    "cycle": (84.0, 88.0, 142.0),
}
GRASSES = ((48.0, 116.0, 92.0), (54.0, 128.0, 88.0), (64.0, 132.0, 122.0), (74.0, 140.0, 146.0))
PAINT = (226.0, 230.0, 230.0)


def beam_at(x: npt.ArrayLike, z: npt.ArrayLike) -> Floats:
    """Return the share of the camera car's headlights that reaches a place on the road, 0 to 1."""
    z = np.maximum(np.asarray(z, np.float32), 0.5)
    spread = np.asarray(x, np.float32) / (1.8 + 0.20 * z)
    out: Floats = (np.exp(-((z / 30.0) ** 1.2)) * np.exp(-spread * spread)).astype(np.float32)
    return out


class Ground:
    """The ground of a scene, from the horizon row down."""

    def __init__(self, dice: Dice, camera: Camera, layout: Layout, light: Light) -> None:
        self._camera, self._layout = camera, layout
        self._light = light
        self.first = int(camera.horizon)
        rows = camera.rows - self.first
        v = np.arange(rows, dtype=np.float32)[:, None] + 0.5
        z: Floats = (camera.focal * camera.height / v).astype(np.float32)
        across = (np.arange(camera.width, dtype=np.float32)[None, :] - camera.centre_x) * z / camera.focal
        x: Floats = (across - camera.shift_at(z)).astype(np.float32)
        self._base = self._paint(dice, x, z)
        self._maps = self._grain_maps(x[::2, ::2], z[::2])
        self._grain = self._make_grain(dice)
        self._grey = np.empty((rows, camera.width), np.uint8)
        self._colour = np.empty((rows, camera.width, 3), np.uint8)

    def render(self, image: Image, travelled: float, shadows: Image) -> None:
        """Draw the ground into the picture; `shadows` (rows, width) darkens it by value / 255."""
        start = _PERIOD - 1 - int(travelled / _CELL_M) % _PERIOD
        grain = cv2.remap(self._grain[start : start + _PERIOD], *self._maps, interpolation=cv2.INTER_LINEAR)
        cv2.resize(grain, (self._camera.width, len(self._grey)), dst=self._grey, interpolation=cv2.INTER_LINEAR)
        cv2.multiply(self._grey, shadows, dst=self._grey, scale=1 / 255.0)
        cv2.cvtColor(self._grey, cv2.COLOR_GRAY2BGR, dst=self._colour)
        cv2.multiply(self._base, self._colour, dst=image[self.first :], scale=1 / 128.0)
        self._dashes(image, travelled)

    def _paint(self, dice: Dice, x: Floats, z: Floats) -> Image:
        foot = np.maximum(z / self._camera.focal, 0.004)
        grass = np.asarray(dice.pick(1, GRASSES), np.float32)
        colour = np.broadcast_to(grass, (*x.shape, 3)).astype(np.float32)
        stripes = 0.06 * np.sin(x * 0.55 + 1.3) + 0.05 * np.sin(x * 0.17)
        colour *= (1 + stripes * np.clip(1.2 - z / 120, 0, 1))[..., None]
        wet = np.zeros_like(x)
        for strip in self._layout.strips:
            cover = _cover(x, strip.x0, strip.x1, foot)
            tone = np.asarray(_ALBEDO[strip.material], np.float32) * dice.between(3, 0.86, 1.08)
            colour += (tone - colour) * cover[..., None]
            wet = np.maximum(wet, cover * (strip.material in ("road", "cycle", "walk")))
        self._wear(colour, x, foot)
        for line in self._layout.solid:
            cover = _cover(x, line - 0.08, line + 0.08, foot) * 0.92
            colour += (np.asarray(PAINT, np.float32) - colour) * cover[..., None]
        return self._lit(colour, x, z, wet)

    def _wear(self, colour: Floats, x: Floats, foot: Floats) -> None:
        """Darker tracks where tyres run, and a pale patch between them."""
        dark = np.zeros_like(x)
        for lane in self._layout.lanes:
            if lane.role.startswith("bike"):
                continue
            for side in (-0.85, 0.85):
                away = (x - lane.x - side) / np.maximum(0.36, foot)
                dark += 0.10 * np.exp(-away * away)
        colour *= (1 - dark)[..., None]

    def _lit(self, colour: Floats, x: Floats, z: Floats, wet: Floats) -> Image:
        light = self._light
        facing = max(float(light.sun[1]), 0.0)
        gain = light.sky_gain + light.sun_gain * facing
        near = np.clip(beam_at(x, z) * light.beam, 0, 1)
        out = colour * (gain + near[..., None] * np.asarray([0.80, 0.92, 1.0], np.float32))
        if light.wet > 0:
            sheen = (light.wet * wet * np.clip(0.22 + z / 90.0, 0, 0.72))[..., None]
            out = out * (1 - 0.30 * light.wet * wet[..., None]) * (1 - sheen) + light.horizon * 0.86 * sheen
        # Far off it settles at the tone of the tree line that it meets.
        clear = np.maximum(np.exp(-z / light.haze_m), 0.55)[..., None]
        out = out * clear + light.haze * (1 - clear)
        picture: Image = np.clip(out + 0.5, 0, 255).astype(np.uint8)
        return picture

    def _grain_maps(self, x: Floats, z: Floats) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        level = np.searchsorted(np.asarray(_LEVEL_Z, np.float32), z)
        column = np.clip(x / _CELL_M + _COLUMNS / 2, 1, _COLUMNS - 2) + level * _COLUMNS
        # Ahead is up in the grain, so that a slice that moves down comes nearer.
        row = np.clip(np.float32(_PERIOD) - 1 - (z / _CELL_M) % _PERIOD, 0, _PERIOD - 1.01)
        row = np.broadcast_to(row, x.shape)
        maps = cv2.convertMaps(column.astype(np.float32), np.ascontiguousarray(row, np.float32), cv2.CV_16SC2)
        return maps[0], maps[1]

    def _make_grain(self, dice: Dice) -> Image:
        """The grain at four levels side by side, twice over in height."""
        draw = dice.generator(5)
        x = (np.arange(_COLUMNS) - _COLUMNS / 2) * _CELL_M
        soft = np.zeros(_COLUMNS, np.float32)
        for strip in self._layout.strips:
            soft[(x > strip.x0) & (x < strip.x1)] = 0.4 if strip.material != "gravel" else 0.9
        fine = draw.random((_PERIOD, _COLUMNS), dtype=np.float32) * 2 - 1
        patches = np.ascontiguousarray(smooth_noise(draw, (_COLUMNS, _PERIOD), (40, 24), 4).T)
        on_grass = 0.16 * fine + 0.24 * patches
        on_road = 0.075 * fine + 0.03 * patches
        strength = np.where(soft > 0, soft * 2.2 * on_road, on_grass)
        tiles = []
        for along, sideways in _LEVELS:
            tripled = np.concatenate([strength] * 3).astype(np.float32)
            size = (sideways | 1, along | 1)
            blurred = cv2.blur(tripled, size, borderType=cv2.BORDER_REFLECT)[_PERIOD : 2 * _PERIOD]
            tiles.append(blurred if along > 1 else strength)
        tiles.append(np.zeros_like(strength))
        grain = np.clip(128 * (1 + np.concatenate(tiles, 1)), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.concatenate([grain, grain]))

    def _dashes(self, image: Image, travelled: float) -> None:
        dash, gap = self._layout.dash
        period = dash + gap
        light = self._light
        facing = light.sky_gain + light.sun_gain * max(float(light.sun[1]), 0.0)
        for line in self._layout.dashed:
            for k in range(int(travelled / period), int((travelled + 110) / period) + 1):
                z0, z1 = max(k * period - travelled, 1.5), k * period + dash - travelled
                if z1 <= z0:
                    continue
                corners = [(line - 0.075, 0, z0), (line + 0.075, 0, z0), (line + 0.075, 0, z1), (line - 0.075, 0, z1)]
                points = self._camera.project(np.asarray(corners, np.float32))
                clear = light.clear(z0)
                gain = facing + float(beam_at(line, z0)) * light.beam
                tone = np.minimum(np.asarray(PAINT, np.float32) * gain, 255) * clear + light.haze * (1 - clear)
                cv2.fillConvexPoly(image, fixed(points), tone.tolist(), cv2.LINE_AA, FIXED_BITS)


def _cover(x: Floats, x0: float, x1: float, foot: Floats) -> Floats:
    """Return the share of each pixel, `foot` metres wide, that lies between x0 and x1."""
    out: Floats = np.clip(np.minimum(x - x0, x1 - x) / foot + 0.5, 0, 1) * np.clip((x1 - x0) / foot, 0, 1)
    return out
