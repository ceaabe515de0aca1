"""Trees and bushes."""

from __future__ import annotations

import math

import numpy as np

from perception.drive.hashing import Dice
from perception.drive.palette import Colour, Floats
from perception.drive.scenery.props import Layer, Prop, rect, tone

GREENS: tuple[Colour, ...] = (
    (54, 122, 74),
    (46, 110, 80),
    (60, 132, 86),
    (52, 126, 100),
    (60, 104, 60),
    (50, 130, 134),
)
WOOD: Colour = (58, 76, 94)


def _blob(dice: Dice, key: int, centre: tuple[float, float], size: tuple[float, float], sides: int = 26) -> Floats:
    """A leafy outline: an egg whose edge goes in and out."""
    draw = dice.generator(key)
    angle = np.arange(sides) * (2 * math.pi / sides)
    edge = 1 + 0.09 * np.sin(3 * angle + 6.3 * draw.random()) + 0.05 * np.sin(5 * angle + 6.3 * draw.random())
    edge = edge + 0.13 * (draw.random(sides) - 0.5)
    points = [centre[0] + size[0] * edge * np.cos(angle), centre[1] + size[1] * edge * np.sin(angle)]
    return np.stack(points, 1).astype(np.float32)


def make_tree(dice: Dice, sun_side: float) -> Prop:
    """A broad-leaved tree, lit from one side."""
    tall, wide = dice.between(0, 5.0, 11.0), dice.between(1, 0.26, 0.40)
    green = tone(dice.pick(2, GREENS), dice.between(3, 0.8, 1.1))
    radius, middle = tall * wide, tall * 0.64
    up = tall - middle
    layers = [
        Layer(
            np.asarray(
                [(-0.03 * tall, 0), (0.03 * tall, 0), (0.015 * tall, middle), (-0.015 * tall, middle)], np.float32
            ),
            WOOD,
            0.3,
        ),
        Layer(_blob(dice, 4, (0, middle), (radius, up)), tone(green, 0.66), 0.3),
    ]
    for i, (dx, dy, size) in enumerate(((0.16, 0.14, 0.74), (0.30, 0.30, 0.50))):
        shift = (dx * radius * sun_side, middle + dy * up)
        layers.append(
            Layer(
                _blob(dice, 5 + i, shift, (radius * size, up * size), 22),
                tone(green, 0.88 + 0.2 * i),
                0.45 + 0.2 * i,
                level=i,
            )
        )
    for i in range(9):
        turn, away = dice.between(20 + i, 0, 6.28), dice.between(40 + i, 0.2, 0.78)
        x, y = away * math.cos(turn), away * math.sin(turn)
        light = 0.5 + 0.5 * (0.6 * x * sun_side + 0.8 * y)
        spot = _blob(dice, 60 + i, (x * radius, middle + y * up), (radius * 0.20, up * 0.17), 12)
        layers.append(Layer(spot, tone(green, 0.60 + 0.75 * light), 0.2 + 0.6 * light, level=2))
    return Prop(tuple(layers), tall, shade=radius)


def make_conifer(dice: Dice, sun_side: float) -> Prop:
    """A fir: tiers of boughs, the lit half lighter."""
    tall = dice.between(0, 6.0, 13.0)
    wide = tall * dice.between(1, 0.17, 0.24)
    green = tone((62, 88, 54), dice.between(2, 0.8, 1.15))
    layers = [Layer(rect(-0.02 * tall, 0, 0.02 * tall, 0.2 * tall), WOOD, 0.3)]
    tiers = 5
    for i in range(tiers):
        y0, y1 = tall * (0.10 + 0.155 * i), tall * (0.10 + 0.155 * i + 0.30)
        half = wide * (1 - 0.165 * i)
        dark = np.asarray(
            [
                (-half, y0),
                (-half * 0.3, y0 + 0.03 * tall),
                (half * 0.2, y0 - 0.01 * tall),
                (half, y0),
                (0, min(y1, tall)),
            ],
            np.float32,
        )
        lit = np.asarray([(0, y0), (half * sun_side, y0), (0, min(y1, tall))], np.float32)
        layers.append(Layer(dark, tone(green, 0.72 + 0.05 * i), 0.3))
        layers.append(Layer(lit, tone(green, 0.95 + 0.06 * i), 0.6, level=1))
    return Prop(tuple(layers), tall, shade=wide * 0.7)


def make_bush(dice: Dice, sun_side: float) -> Prop:
    """A bush."""
    size = dice.between(0, 0.5, 1.3)
    green = tone(dice.pick(1, GREENS), dice.between(2, 0.85, 1.15))
    layers = (
        Layer(_blob(dice, 3, (0, size * 0.5), (size * 1.15, size * 0.62), 20), tone(green, 0.66), 0.3),
        Layer(_blob(dice, 4, (0.2 * size * sun_side, size * 0.64), (size * 0.8, size * 0.42), 18), green, 0.55),
        Layer(
            _blob(dice, 5, (0.35 * size * sun_side, size * 0.78), (size * 0.4, size * 0.2), 12),
            tone(green, 1.2),
            0.7,
            2,
        ),
    )
    return Prop(layers, size * 1.2, shade=size)
