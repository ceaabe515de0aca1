"""The panorama beyond the road, which never comes nearer: sky, sun, clouds, hills and the line of trees."""

from __future__ import annotations

import math

import cv2
import numpy as np

from perception.core.frame import Image
from perception.drive.camera import Camera
from perception.drive.hashing import Dice, smooth_noise
from perception.drive.palette import Floats, Light


def make_panorama(dice: Dice, camera: Camera, light: Light, kind: str) -> Image:
    """A picture (horizon rows, 3 * width, 3) whose last third repeats its first, for slices of one width."""
    rows, columns = int(camera.horizon), camera.width * 2
    sky = _gradient(rows, columns, light)
    if light.time == "night":
        _stars(dice, sky, light)
    _sun(dice, sky, light)
    _clouds(dice, sky, light)
    scale = camera.rows / 720.0
    for layer, (height, far) in enumerate(((95, 0.80), (55, 0.64))):
        tone = _mixed(light, _hill_colour(dice, layer), far)
        _ridge(dice.sub(50 + layer), sky, height * scale * dice.between(layer + 20, 0.5, 1.1), tone, (3 + 2 * layer, 3))
    if kind == "suburb":
        _skyline(dice, sky, light, scale)
    _ridge(dice.sub(60), sky, 19 * scale, _mixed(light, (52.0, 78.0, 60.0), 0.46), (46, 4))
    _ridge(dice.sub(61), sky, 11 * scale, _mixed(light, (50.0, 88.0, 70.0), 0.38), (70, 4))
    picture = np.clip(sky + _dither(dice, sky.shape), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.concatenate([picture, picture[:, : camera.width]], 1))


def _dither(dice: Dice, shape: tuple[int, ...]) -> Floats:
    """Half a step of noise: keeps soft gradients from banding."""
    noise: Floats = dice.generator(99).random(shape[:2], dtype=np.float32)[..., None]
    return noise


def _gradient(rows: int, columns: int, light: Light) -> Floats:
    height = np.linspace(1, 0, rows, dtype=np.float32)[:, None, None]
    blend = height**0.75
    out = light.horizon * (1 - blend) + light.zenith * blend
    return np.ascontiguousarray(np.broadcast_to(out, (rows, columns, 3))).astype(np.float32)


def _mixed(light: Light, albedo: tuple[float, float, float], haze: float) -> Floats:
    out: Floats = light.flat(albedo, 0.35) * (1 - haze) + light.haze * haze
    return out


def _hill_colour(dice: Dice, layer: int) -> tuple[float, float, float]:
    return dice.pick(30 + layer, ((96.0, 112.0, 84.0), (110.0, 116.0, 112.0), (84.0, 120.0, 92.0)))


def _stars(dice: Dice, sky: Floats, light: Light) -> None:
    draw = dice.generator(1)
    rows, columns = sky.shape[:2]
    count = int(260 * (1 - light.wet))
    y, x = (draw.random(count) ** 1.3 * rows * 0.8).astype(int), (draw.random(count) * columns).astype(int)
    sky[y, x] += (draw.random(count)[:, None] * 120 + 20).astype(np.float32)


def _sun(dice: Dice, sky: Floats, light: Light) -> None:
    """The glow about the sun (or the moon): ahead at dusk, else to the side where the light comes from."""
    rows, columns = sky.shape[:2]
    dusk = light.time == "dusk"
    x = columns * (0.25 + 0.12 * float(np.sign(light.sun[0])) * dice.between(2, 0.3, 1.0))
    y = rows * (0.80 if dusk else 0.12)
    away = np.abs(np.arange(columns, dtype=np.float32) - x)
    away = np.minimum(away, columns - away)
    squared = (away[None, :] / rows) ** 2 + ((np.arange(rows, dtype=np.float32)[:, None] - y) / rows) ** 2
    strength = (0.55 if dusk else 0.20) * (1 - light.wet)
    glow = strength * np.exp(-squared / 0.30) + strength * 0.5 * np.exp(-squared / 0.03)
    tone = np.asarray([120, 190, 255] if dusk else [255, 255, 255], np.float32) * (
        0.35 if light.time == "night" else 1.0
    )
    sky += glow[..., None] * (tone - sky * 0.6)


def _clouds(dice: Dice, sky: Floats, light: Light) -> None:
    rows, columns = sky.shape[:2]
    noise = smooth_noise(dice.generator(3), (rows, columns), (5, 9), 5)
    fine = smooth_noise(dice.generator(4), (rows, columns), (9, 14), 4)
    # Rows are stretched towards the horizon, as a layer of cloud seen from below.
    depth = np.linspace(0, 1, rows, dtype=np.float32)
    source = (rows * (0.05 + 0.9 * depth**0.6)).astype(int).clip(0, rows - 1)
    noise = noise[source]
    level = 0.55 - 1.15 * light.cloud - 0.8 * light.wet
    cover = np.clip((noise - level) / 0.9, 0, 1)
    cover = cover * cover * (3 - 2 * cover) * (0.35 + 0.65 * np.clip(1.25 - depth, 0, 1))[:, None]
    shade = np.clip(0.97 + 0.09 * fine - (0.12 + 0.10 * light.wet) * cover * (1 + noise * light.wet), 0, 1.1)[..., None]
    bright = light.horizon * 0.60 + (light.sun_gain + light.sky_gain) * 84
    if light.time == "dusk":
        bright = light.horizon * 0.55 + np.asarray([110, 90, 130], np.float32) * 0.5
    tone = np.minimum(bright, 250) * shade * (1 - 0.25 * light.wet)
    sky += (tone - sky) * (0.9 * cover)[..., None]


def _ridge(dice: Dice, sky: Floats, height: float, tone: Floats, cells: tuple[int, int]) -> None:
    """A silhouette along the horizon, `height` pixels at most, lighter towards its foot."""
    rows, columns = sky.shape[:2]
    line = smooth_noise(dice.generator(1), (1, columns), (1, cells[0]), cells[1])[0]
    top = height * np.clip(0.55 + 0.40 * line, 0.08, 1.2)
    above = rows - np.arange(rows, dtype=np.float32)[:, None] - top[None, :]
    cover = np.clip(0.5 - above, 0, 1)[..., None]
    first = max(int(rows - height * 1.3) - 2, 0)
    foot = np.linspace(-0.02, 0.04, rows - first, dtype=np.float32)[:, None, None]
    part = sky[first:]
    part += (tone * (1 + foot) - part) * cover[first:]


def _skyline(dice: Dice, sky: Floats, light: Light, scale: float) -> None:
    """Far houses and towers, some of their windows lit in the dark."""
    rows, columns = sky.shape[:2]
    x, index = 0.0, 0
    while x < columns:
        one = dice.sub(70, index)
        wide, tall = one.between(1, 18, 60) * scale, one.between(2, 10, 26) * scale
        if one.unit(3) < 0.12:
            wide, tall = wide * 0.6, tall * one.between(4, 1.6, 3.0)
        base = one.pick(5, ((140.0, 150.0, 165.0), (120.0, 130.0, 160.0), (150.0, 150.0, 150.0), (110.0, 120.0, 130.0)))
        tone = _mixed(light, base, 0.55)
        y0, x0, x1 = int(rows - tall), int(x), min(int(x + wide), columns)
        sky[y0:, x0:x1] = tone
        if one.unit(6) < 0.6 and x1 - x0 > 4:
            roof = np.asarray([(x0, y0), (x1 - 1, y0), ((x0 + x1) // 2, y0 - math.ceil(wide * 0.18))], np.int32)
            cv2.fillConvexPoly(sky, roof, tuple(float(v) for v in tone * 0.86))
        _windows(one, sky, (x0, x1, y0), light, tone)
        x += wide * one.between(7, 0.9, 1.5)
        index += 1


def _windows(one: Dice, sky: Floats, span: tuple[int, int, int], light: Light, tone: Floats) -> None:
    x0, x1, y0 = span
    for row, y in enumerate(range(y0 + 3, sky.shape[0] - 6, 6)):
        for column, x in enumerate(range(x0 + 2, x1 - 3, 6)):
            lit = light.lamps > 0.5 and one.unit(100 + row * 40 + column) < 0.4
            sky[y : y + 2, x : x + 2] = np.asarray([110, 190, 240], np.float32) if lit else tone * 0.82
