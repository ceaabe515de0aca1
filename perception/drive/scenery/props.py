"""Flat things beside the road that always face the camera: signs, posts, lamps, people, bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perception.drive.hashing import Dice
from perception.drive.palette import Colour, Floats

STEEL: Colour = (150, 152, 152)


@dataclass(frozen=True, eq=False)
class Layer:
    """A polygon (n, 2) in metres, x to the right and y up from the foot, with its colour and its share of the sun.

    `level` 0 is always drawn, 1 when it is not tiny, 2 when large; `glow` is the part that shines at night.
    """

    points: Floats
    colour: Colour
    facing: float = 0.5
    level: int = 0
    glow: float = 0.0


@dataclass(frozen=True, eq=False)
class Prop:
    """A flat thing: its layers from back to front, its size, and how wide a shadow it casts (metres)."""

    layers: tuple[Layer, ...]
    height: float
    shade: float = 0.0
    lamp: tuple[float, float] | None = None

    @property
    def half(self) -> float:
        """The furthest that it reaches to a side, in metres."""
        return max(float(np.abs(layer.points[:, 0]).max()) for layer in self.layers)


def rect(x0: float, y0: float, x1: float, y1: float) -> Floats:
    """The corners of an upright rectangle."""
    return np.asarray([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)


def _disc(x: float, y: float, radius: float, sides: int = 16, turn: float = 0.0) -> Floats:
    angle = np.arange(sides) * (2 * math.pi / sides) + turn
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1).astype(np.float32)


def tone(colour: Colour, gain: float) -> Colour:
    """A colour made lighter or darker."""
    return (min(colour[0] * gain, 255), min(colour[1] * gain, 255), min(colour[2] * gain, 255))


def make_sign(dice: Dice, sun_side: float) -> Prop:
    """A road sign: a round limit, a warning triangle, a blue disc or a place board."""
    y = dice.between(0, 2.1, 2.6)
    pole = Layer(rect(-0.035, 0, 0.035, y), STEEL)
    red, white, blue, black = (44, 40, 200), (236, 238, 238), (170, 92, 24), (40, 40, 40)
    kind = dice.pick(1, ("round", "triangle", "blue", "board"))
    if kind == "round":
        top = [
            Layer(_disc(0, y, 0.36), red),
            Layer(_disc(0, y, 0.28), white, level=1),
            Layer(rect(-0.15, y - 0.12, -0.03, y + 0.12), black, level=2),
            Layer(rect(0.03, y - 0.12, 0.15, y + 0.12), black, level=2),
        ]
    elif kind == "triangle":
        top = [
            Layer(_disc(0, y, 0.48, 3, math.pi / 2), red),
            Layer(_disc(0, y, 0.30, 3, math.pi / 2), white, level=1),
            Layer(rect(-0.03, y - 0.1, 0.03, y + 0.14), black, level=2),
        ]
    elif kind == "blue":
        top = [
            Layer(_disc(0, y, 0.36), blue),
            Layer(
                np.asarray(
                    [(-0.05, y - 0.2), (0.05, y - 0.2), (0.05, y), (0.16, y), (0, y + 0.22), (-0.16, y), (-0.05, y)],
                    np.float32,
                ),
                white,
                level=2,
            ),
        ]
    else:
        top = [
            Layer(rect(-0.8, y - 0.3, 0.8, y + 0.3), white),
            Layer(rect(-0.76, y - 0.26, 0.76, y + 0.26), (60, 200, 236), level=1),
            Layer(rect(-0.5, y - 0.06, 0.5, y + 0.08), black, level=2),
        ]
    return Prop((pole, *top), y + 0.4)


def make_post(dice: Dice, sun_side: float) -> Prop:
    """A marker post: white, with a dark band and a reflector."""
    return Prop(
        (
            Layer(rect(-0.06, 0, 0.06, 0.98), (232, 234, 234)),
            Layer(rect(-0.06, 0.66, 0.06, 0.86), (34, 34, 34), level=1),
            Layer(rect(-0.025, 0.70, 0.025, 0.82), (60, 150, 250), 1.0, 2, 0.5),
        ),
        1.0,
    )


def make_pole(dice: Dice, sun_side: float) -> Prop:
    """A wooden pole with a cross-arm."""
    return Prop(
        (
            Layer(rect(-0.12, 0, 0.12, 8.0), (70, 84, 98)),
            Layer(rect(-0.12, 0, -0.02, 8.0), (48, 58, 70), level=1),
            Layer(rect(-1.0, 7.3, 1.0, 7.45), (60, 72, 84)),
            *(Layer(rect(x - 0.04, 7.45, x + 0.04, 7.62), (90, 110, 90), level=2) for x in (-0.9, -0.4, 0.4, 0.9)),
        ),
        8.0,
    )


def make_lamp(dice: Dice, sun_side: float) -> Prop:
    """A street lamp whose arm reaches out to the left; the other side of the road mirrors it."""
    arm = np.asarray([(-0.05, 7.0), (-1.7, 7.32), (-1.7, 7.42), (0.05, 7.18)], np.float32)
    return Prop(
        (
            Layer(np.asarray([(-0.09, 0), (0.09, 0), (0.05, 7.1), (-0.05, 7.1)], np.float32), (132, 134, 134)),
            Layer(arm, (132, 134, 134)),
            Layer(rect(-2.3, 7.28, -1.6, 7.42), (196, 214, 224), 0.5, 0, 1.0),
        ),
        7.4,
        lamp=(-1.95, 7.25),
    )


def make_bin(dice: Dice, sun_side: float) -> Prop:
    """A bin on wheels."""
    colour = dice.pick(0, ((60, 110, 50), (70, 70, 72), (150, 90, 40), (40, 150, 200)))
    body = np.asarray([(-0.25, 0.06), (0.25, 0.06), (0.3, 0.95), (-0.3, 0.95)], np.float32)
    return Prop(
        (
            Layer(body, colour),
            Layer(rect(-0.33, 0.93, 0.33, 1.06), tone(colour, 0.75)),
            Layer(rect(-0.2, 0.6, 0.2, 0.8), tone(colour, 1.3), level=2),
        ),
        1.06,
        shade=0.3,
    )


def make_bale(dice: Dice, sun_side: float) -> Prop:
    """A round bale of straw."""
    return Prop(
        (
            Layer(_disc(0, 0.7, 0.72, 18), (92, 160, 196), 0.5),
            Layer(_disc(0.05, 0.74, 0.54, 16), (104, 178, 214), 0.6, 1),
            Layer(_disc(0.06, 0.76, 0.28, 12), (88, 152, 190), 0.6, 2),
        ),
        1.4,
        shade=0.7,
    )


def make_person(dice: Dice, sun_side: float) -> Prop:
    """Someone on foot, in the middle of a step."""
    coat = dice.pick(0, ((60, 60, 180), (150, 90, 50), (80, 80, 84), (90, 150, 90), (190, 190, 196), (60, 150, 210)))
    legs = dice.pick(1, ((90, 60, 44), (50, 48, 48), (110, 110, 100)))
    skin, hair = (
        dice.pick(2, ((150, 180, 222), (96, 130, 180), (60, 84, 126))),
        dice.pick(3, ((30, 36, 46), (60, 90, 130))),
    )
    step = 0.22 * dice.between(4, -1.0, 1.0)

    def leg(dx: float) -> Floats:
        return np.asarray([(dx - 0.06, 0), (dx + 0.08, 0), (0.10, 0.88), (-0.10, 0.88)], np.float32)

    body = np.asarray([(-0.17, 0.80), (0.17, 0.80), (0.22, 1.38), (0.1, 1.46), (-0.1, 1.46), (-0.22, 1.38)], np.float32)
    arm = np.asarray([(-0.22, 1.38), (-0.27 - step * 0.5, 0.86), (-0.19 - step * 0.5, 0.84), (-0.14, 1.3)], np.float32)
    return Prop(
        (
            Layer(leg(-step), tone(legs, 0.8)),
            Layer(leg(step), legs),
            Layer(body, coat),
            Layer(arm, tone(coat, 0.8), level=1),
            Layer(arm * np.array([-1, 1], np.float32), tone(coat, 0.85), level=1),
            Layer(_disc(0, 1.60, 0.11, 12), skin),
            Layer(
                np.asarray([(-0.12, 1.6), (0.12, 1.6), (0.1, 1.72), (0, 1.75), (-0.1, 1.72)], np.float32), hair, level=1
            ),
        ),
        1.75,
        shade=0.25,
    )


def make_gantry(dice: Dice, sun_side: float, left: float = -8.0, right: float = 8.0) -> Prop:
    """A sign bridge over the road from `left` to `right`, seen from its foot at x = 0."""
    colour = dice.pick(0, ((110, 96, 30), (150, 80, 20), (84, 110, 20)))
    parts = [Layer(rect(x - 0.16, 0, x + 0.16, 6.6), STEEL) for x in (left, right)]
    parts += [
        Layer(rect(left, 6.3, right, 6.65), (128, 130, 130)),
        Layer(rect(left, 5.9, right, 6.0), (120, 122, 122)),
    ]
    span = right - left
    for i in range(2 if span < 13 else 3):
        x0 = left + span * (0.10 + 0.30 * i)
        x1 = x0 + span * 0.25
        parts.append(Layer(rect(x0, 5.3, x1, 7.4), (236, 236, 236)))
        parts.append(Layer(rect(x0 + 0.08, 5.38, x1 - 0.08, 7.32), colour))
        for y, wide in ((6.8, 0.7), (6.3, 0.5), (5.8, 0.6)):
            parts.append(
                Layer(rect(x0 + 0.4, y - 0.12, x0 + 0.4 + (x1 - x0 - 0.8) * wide, y + 0.14), (236, 236, 236), level=1)
            )
    return Prop(tuple(parts), 7.5)
