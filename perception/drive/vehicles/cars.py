"""Cars: saloons, hatchbacks, estates, off-roaders and people carriers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.drive.hashing import Dice
from perception.drive.mesh import Colour, Mesh, MeshBuilder
from perception.drive.palette import Floats
from perception.drive.solids import (
    DARK,
    GLASS,
    PLATE,
    RED_LAMP,
    SKY_GLASS,
    WHITE_LAMP,
    box,
    frustum,
    hull,
    quad,
    tint,
    wheel_ends,
    wheel_sides,
)

PAINTS: tuple[Colour, ...] = (
    (226, 228, 230),
    (200, 202, 204),
    (150, 148, 146),
    (92, 88, 86),
    (44, 42, 42),
    (40, 36, 178),
    (34, 30, 128),
    (170, 96, 36),
    (120, 62, 30),
    (196, 150, 84),
    (66, 112, 52),
    (62, 84, 44),
    (46, 140, 214),
    (52, 196, 232),
    (150, 190, 206),
    (56, 74, 110),
    (172, 176, 120),
    (214, 206, 180),
    (70, 52, 120),
    (60, 100, 190),
)


@dataclass(frozen=True)
class Shape:
    """A car's proportions in metres: the glass stands on the body at `glass` (rear, front, parts of the length)."""

    length: float
    width: float
    height: float
    tail: float
    belt: float
    hood: float
    glass: tuple[float, float]
    roof: tuple[float, float]
    ground: float = 0.24
    wheel: float = 0.32


SHAPES: dict[str, Shape] = {
    "saloon": Shape(4.7, 1.84, 1.45, 0.98, 0.93, 0.80, (0.14, 0.74), (0.30, 0.56)),
    "hatch": Shape(4.1, 1.76, 1.48, 0.95, 0.94, 0.82, (0.03, 0.78), (0.14, 0.58)),
    "estate": Shape(4.75, 1.84, 1.50, 0.97, 0.94, 0.81, (0.02, 0.74), (0.10, 0.56)),
    "offroad": Shape(4.6, 1.92, 1.76, 1.12, 1.10, 1.02, (0.02, 0.74), (0.07, 0.60), 0.32, 0.37),
    "carrier": Shape(4.8, 1.90, 1.82, 1.08, 1.06, 0.94, (0.02, 0.86), (0.06, 0.64), 0.26, 0.33),
    "mini": Shape(3.6, 1.64, 1.52, 0.96, 0.94, 0.86, (0.03, 0.84), (0.12, 0.60), 0.22, 0.29),
    "sports": Shape(4.4, 1.88, 1.28, 0.90, 0.84, 0.70, (0.10, 0.72), (0.34, 0.52), 0.18, 0.33),
}


def make_car(dice: Dice) -> Mesh:
    """One design of a car."""
    kind = dice.weighted(
        0, (("saloon", 3), ("hatch", 3), ("estate", 2), ("offroad", 3), ("carrier", 1.5), ("mini", 1.5), ("sports", 1))
    )
    base = SHAPES[kind]
    grow = dice.between(1, 0.96, 1.05)
    shape = Shape(
        base.length * dice.between(2, 0.95, 1.06),
        base.width * grow,
        base.height * dice.between(3, 0.97, 1.04),
        base.tail,
        base.belt,
        base.hood,
        base.glass,
        base.roof,
        base.ground,
        base.wheel,
    )
    paint = tint(dice.pick(4, PAINTS), dice.between(5, 0.88, 1.1))
    mesh = MeshBuilder()
    _body(mesh, shape, paint)
    _rear(mesh, shape, paint, dice)
    _front(mesh, shape, paint, dice)
    _sides(mesh, shape, paint)
    _cabin(mesh, shape, paint, dice)
    return mesh.build((shape.width, shape.height, shape.length))


def _ring(shape: Shape, at: float, wide: float, top: float, low: float) -> Floats:
    """A cross-section of the lower body at a part of the length: from the left sill over the top to the right."""
    half, z = shape.width / 2 * wide, (at - 0.5) * shape.length
    half_points = [(0.90, 0.0), (1.0, 0.30), (0.985, 0.68), (0.90, 0.97), (0.74, 1.0)]
    points = [(-x * half, low + y * (top - low), z) for x, y in half_points]
    points += [(x * half, low + y * (top - low), z) for x, y in reversed(half_points)]
    return np.asarray(points, np.float32)


def _body(mesh: MeshBuilder, s: Shape, paint: Colour) -> None:
    mesh.part((0, s.belt * 0.6, 0), rank=0.0)
    mesh.bucket = 0
    box(mesh, s.width * 0.42, (s.ground * 0.75, -s.length * 0.46), (s.ground + 0.15, s.length * 0.46), (16, 16, 16))
    for at in (0.19, 0.81):
        wheel_ends(mesh, s.width * 0.485, (at - 0.5) * s.length, s.wheel, 0.22)
    mesh.bucket = 1
    glass_front = s.glass[1]
    rings = [
        _ring(s, 0.0, 0.84, s.tail - 0.06, s.ground + 0.14),
        _ring(s, 0.035, 0.96, s.tail, s.ground + 0.02),
        _ring(s, 0.20, 1.0, max(s.tail, s.belt), s.ground),
        _ring(s, glass_front, 1.0, s.belt + 0.02, s.ground),
        _ring(s, min(0.95, glass_front + 0.20), 0.97, s.hood, s.ground + 0.02),
        _ring(s, 1.0, 0.80, s.hood - 0.12, s.ground + 0.10),
    ]
    sill = tint(paint, 0.72)
    hull(mesh, rings, (sill, paint, paint, paint, paint, paint, paint, paint, sill), 0.8)


def _rear(mesh: MeshBuilder, s: Shape, paint: Colour, dice: Dice) -> None:
    half, z, top = s.width * 0.84 / 2, -s.length / 2, s.tail - 0.08
    low = s.ground + 0.14
    face = quad((-half * 0.97, low, z), (half * 0.97, low, z), (half * 0.92, top, z), (-half * 0.92, top, z))
    mesh.mark(face, (0, 0.0, 1, 0.26), tint(DARK, 1.2), level=1)
    mesh.mark(face, (0.0, 0.26, 1, 0.33), tint(paint, 0.7), 0.5, level=2)
    tall = dice.between(20, 0.16, 0.3)
    wide = dice.between(21, 0.20, 0.30)
    lamp = tint(RED_LAMP, dice.between(22, 0.8, 1.1))
    for u0, u1 in ((0.0, wide), (1 - wide, 1.0)):
        mesh.mark(face, (u0, 0.92 - tall, u1, 0.94), lamp, 0.3, 1.0, level=0)
        inner = (u0 + wide * 0.55, u0 + wide * 0.95) if u0 == 0 else (u0 + wide * 0.05, u0 + wide * 0.45)
        mesh.mark(face, (inner[0], 0.92 - tall * 0.8, inner[1], 0.92 - tall * 0.35), (200, 210, 236), level=2)
    plate = dice.pick(23, (PLATE, PLATE, (70, 200, 240)))
    v = dice.pick(24, (0.36, 0.56))
    mesh.mark(face, (0.34, v, 0.66, v + 0.17), tint(plate, 0.95), level=1)
    mesh.mark(face, (0.39, v + 0.05, 0.61, v + 0.12), (90, 84, 80), level=2)
    mesh.mark(face, (0.36, v + 0.19, 0.64, v + 0.215), (205, 205, 205), 0.5, level=2)
    for u in (0.12, 0.78):
        mesh.mark(face, (u, 0.03, u + 0.1, 0.10), (120, 120, 120), level=2)
    mesh.lamp(half * 0.8, top - 0.12, z - 0.02, "tail")


def _front(mesh: MeshBuilder, s: Shape, paint: Colour, dice: Dice) -> None:
    half, z, top = s.width * 0.80 / 2, s.length / 2, s.hood - 0.15
    low = s.ground + 0.10
    face = quad((half * 0.97, low, z), (-half * 0.97, low, z), (-half * 0.93, top, z), (half * 0.93, top, z))
    mesh.mark(face, (0.02, 0.0, 0.98, 0.20), tint(DARK, 1.1), level=1)
    grille = dice.between(30, 0.18, 0.30)
    mesh.mark(face, (0.5 - grille, 0.46, 0.5 + grille, 0.90), DARK, 0.3, level=0)
    mesh.mark(face, (0.5 - grille, 0.68, 0.5 + grille, 0.72), (190, 190, 190), 0.4, level=2)
    for u0, u1 in ((0.0, 0.47 - grille), (0.53 + grille, 1.0)):
        mesh.mark(face, (u0, 0.60, u1, 0.96), WHITE_LAMP, 0.4, 1.0, level=0)
        mesh.mark(face, (u0 + 0.02, 0.62, u1 - 0.02, 0.70), (150, 150, 150), 0.3, level=2)
        mesh.mark(face, (u0 + 0.02, 0.22, u1 - 0.05, 0.34), tint(DARK, 1.5), level=2)
    mesh.mark(face, (0.34, 0.26, 0.66, 0.42), PLATE, level=1)
    mesh.mark(face, (0.46, 0.75, 0.54, 0.86), (210, 210, 210), 0.4, level=2)
    mesh.lamp(half * 0.78, top - 0.10, z + 0.02, "head")


def _sides(mesh: MeshBuilder, s: Shape, paint: Colour) -> None:
    half = s.width / 2
    for at in (0.19, 0.81):
        wheel_sides(mesh, half, (at - 0.5) * s.length, s.wheel)
    for side in (-1.0, 1.0):
        x = side * half * 0.995
        y0, y1 = s.ground + 0.1, s.belt - 0.1
        face = quad(
            (x, y0, -s.length * 0.24), (x, y0, s.length * 0.25), (x, y1, s.length * 0.25), (x, y1, -s.length * 0.24)
        )
        for u in (0.0, 0.46, 0.98):
            mesh.mark(face, (u, 0.0, u + 0.012, 1.0), tint(paint, 0.6), level=2)
        for u in (0.08, 0.54):
            mesh.mark(face, (u, 0.78, u + 0.09, 0.84), tint(paint, 0.55), level=2)


def _cabin(mesh: MeshBuilder, s: Shape, paint: Colour, dice: Dice) -> None:
    belt, top = s.belt - 0.02, s.height
    # The same rank as the body: it is drawn after it from both ends.
    mesh.part((0, (belt + top) / 2, 0), rank=0.0)
    half, length = s.width / 2, s.length
    z = [(at - 0.5) * length for at in (s.glass[0], s.roof[0], s.roof[1], s.glass[1])]
    waist = belt + (top - belt) * 0.84
    lean = 0.84
    rear_z, front_z = z[0] + (z[1] - z[0]) * lean, z[3] + (z[2] - z[3]) * lean
    low = frustum(mesh, (half * 0.93, belt, z[0], z[3]), (half * 0.76, waist, rear_z, front_z), paint, 0.7, top=False)
    frustum(
        mesh,
        (half * 0.76, waist, rear_z, front_z),
        (half * 0.66, top, z[1] + 0.08, z[2] - 0.08),
        tint(paint, 1.05),
        0.9,
    )
    glass, sky = (GLASS, SKY_GLASS)
    for name, edge in (("rear", 0.09), ("front", 0.06)):
        mesh.mark(low[name], (edge, 0.10, 1 - edge, 0.98), glass, 0.5, level=0)
        mesh.mark(low[name], (edge, 0.58, 1 - edge, 0.98), tint(sky, 0.72), 0.6, level=1)
        mesh.mark(low[name], (edge, 0.80, 1 - edge, 0.98), sky, 0.7, level=2)
    for u in (0.24, 0.62):
        mesh.mark(low["rear"], (u, 0.10, u + 0.15, 0.42), (26, 24, 22), level=2)
        mesh.mark(low["front"], (u, 0.10, u + 0.15, 0.46), (30, 28, 28), level=2)
    mesh.mark(low["rear"], (0.40, 0.93, 0.60, 0.98), RED_LAMP, 0, 0.8, level=2)
    split = dice.between(40, 0.44, 0.52)
    for name in ("left", "right"):
        for u0, u1 in ((0.13, split - 0.02), (split + 0.02, 0.87)):
            mesh.mark(low[name], (u0, 0.12, u1, 0.94), glass, 0.4, level=0)
            mesh.mark(low[name], (u0, 0.62, u1, 0.94), tint(sky, 0.7), 0.5, level=1)
    _mirrors(mesh, s, paint, z[3])


def _mirrors(mesh: MeshBuilder, s: Shape, paint: Colour, z: float) -> None:
    half = s.width / 2
    for side in (-1.0, 1.0):
        inner, outer = side * half * 0.94, side * (half + 0.12)
        at = z - 0.32
        mesh.part(((inner + outer) / 2, s.belt + 0.10, at + 0.07), rank=at)
        a, b = (inner, outer) if side > 0 else (outer, inner)
        y0, y1 = s.belt + 0.03, s.belt + 0.19
        for depth in (at, at + 0.14):
            mesh.face(
                quad((a, y0, depth), (b, y0, depth), (b, y1, depth), (a, y1, depth)),
                tint(DARK, 1.6) if depth == at else paint,
                0.3,
            )
