"""Buses: city buses, coaches and double-deckers."""

from __future__ import annotations

import numpy as np

from perception.drive.hashing import Dice
from perception.drive.mesh import Colour, Mesh, MeshBuilder
from perception.drive.palette import Floats
from perception.drive.solids import (
    AMBER,
    DARK,
    GLASS,
    PLATE,
    RED_LAMP,
    SKY_GLASS,
    WHITE_LAMP,
    box,
    frustum,
    tint,
    wheel_ends,
    wheel_sides,
)

BUSES: tuple[Colour, ...] = (
    (40, 40, 196),
    (226, 228, 230),
    (180, 104, 40),
    (48, 180, 236),
    (90, 150, 60),
    (60, 120, 226),
    (150, 150, 150),
    (140, 60, 100),
)


def make_bus(dice: Dice) -> Mesh:
    """One design of a bus."""
    kind = dice.weighted(0, (("city", 3), ("coach", 2), ("double", 1)))
    length, width = dice.between(1, 9.5, 12.0), dice.between(2, 2.45, 2.6)
    height = {"city": 3.05, "coach": 3.45, "double": 4.2}[kind] * dice.between(3, 0.98, 1.03)
    paint = dice.pick(4, BUSES)
    stripe = dice.pick(5, ((235, 235, 235), tint(paint, 0.6), (60, 170, 230), tint(paint, 1.25)))
    half, rear, front = width / 2, -length / 2, length / 2
    mesh = MeshBuilder()
    mesh.part((0, 1.6, 0))
    mesh.bucket = 0
    axles = (rear + 2.6, front - 2.6)
    for z in axles:
        wheel_ends(mesh, half - 0.04, z, 0.48, 0.5 if z < 0 else 0.28)
    box(mesh, half * 0.9, (0.3, rear + 0.2), (0.6, front - 0.2), (20, 20, 20))
    mesh.bucket = 1
    low = frustum(mesh, (half * 0.985, 0.36, rear, front), (half, 1.15, rear, front), paint, 0.4, top=False)
    high = frustum(
        mesh, (half, 1.15, rear, front), (half * 0.965, height - 0.16, rear + 0.05, front - 0.12), paint, 0.5, top=False
    )
    frustum(
        mesh,
        (half * 0.965, height - 0.16, rear + 0.05, front - 0.12),
        (half * 0.80, height, rear + 0.25, front - 0.35),
        tint(paint, 1.08),
        0.5,
    )
    _rear(mesh, low["rear"], high["rear"], paint, stripe, kind)
    _front(mesh, low["front"], high["front"], kind)
    for name in ("left", "right"):
        _side(mesh, low[name], high[name], stripe, kind)
    for z in axles:
        wheel_sides(mesh, half, z, 0.48)
    mesh.lamp(half * 0.86, 1.0, rear - 0.03, "tail")
    mesh.lamp(half * 0.78, 0.72, front + 0.03, "head")
    _mirrors(mesh, half, front, height if kind != "double" else 3.0)
    return mesh.build((width, height, length))


def _decks(kind: str) -> tuple[tuple[float, float], ...]:
    """The window bands of a kind, as parts of the upper body's height."""
    return {"city": ((0.10, 0.82),), "coach": ((0.26, 0.88),), "double": ((0.06, 0.36), (0.56, 0.88))}[kind]


def _rear(mesh: MeshBuilder, low: Floats, high: Floats, paint: Colour, stripe: Colour, kind: str) -> None:
    mesh.mark(low, (0, 0, 1, 0.16), tint(DARK, 1.2), level=1)
    mesh.mark(low, (0, 0.16, 1, 0.30), stripe, level=1)
    mesh.mark(low, (0.22, 0.40, 0.78, 0.92), tint(paint, 0.62), level=1)
    for v in (0.48, 0.60, 0.72, 0.84):
        mesh.mark(low, (0.24, v, 0.76, v + 0.04), tint(paint, 0.4), level=2)
    mesh.mark(low, (0.40, 0.19, 0.60, 0.33), PLATE, level=1)
    for u in (0.02, 0.88):
        mesh.mark(low, (u, 0.40, u + 0.10, 0.98), RED_LAMP, 0.2, 1.0, level=0)
        mesh.mark(low, (u + 0.01, 0.70, u + 0.09, 0.80), AMBER, 0, 0.4, level=2)
    for index, (v0, v1) in enumerate(_decks(kind)):
        if kind == "double" and index == 0:
            mesh.mark(high, (0.1, 0.05, 0.9, 0.34), tint(paint, 0.8), level=1)
            continue
        sill = max(v0, 0.34) if kind != "double" else v0
        mesh.mark(high, (0.07, sill, 0.93, v1), GLASS, 0.5, level=0)
        mesh.mark(high, (0.07, sill + (v1 - sill) * 0.55, 0.93, v1), tint(SKY_GLASS, 0.75), 0.6, level=1)
        for u in (0.2, 0.42, 0.64):
            mesh.mark(high, (u, sill, u + 0.14, sill + (v1 - sill) * 0.3), (30, 28, 30), level=2)
    mesh.mark(high, (0.34, 0.90, 0.66, 0.98), (24, 24, 24), level=1)
    mesh.mark(high, (0.37, 0.915, 0.53, 0.965), AMBER, 0, 1.0, level=2)
    for u in (0.03, 0.91):
        mesh.mark(high, (u, 0.92, u + 0.06, 0.97), RED_LAMP, 0, 0.9, level=2)


def _front(mesh: MeshBuilder, low: Floats, high: Floats, kind: str) -> None:
    mesh.mark(low, (0, 0, 1, 0.22), tint(DARK, 1.4), level=0)
    for u in (0.03, 0.80):
        mesh.mark(low, (u, 0.34, u + 0.17, 0.58), WHITE_LAMP, 0.3, 1.0, level=0)
    mesh.mark(low, (0.40, 0.26, 0.60, 0.42), PLATE, level=1)
    mesh.mark(low, (0.28, 0.52, 0.72, 0.60), (60, 60, 60), level=2)
    top = {"city": 0.80, "coach": 0.86, "double": 0.40}[kind]
    mesh.mark(high, (0.03, 0.0, 0.97, top), GLASS, 0.5, level=0)
    mesh.mark(high, (0.03, top * 0.55, 0.97, top), tint(SKY_GLASS, 0.7), 0.6, level=1)
    mesh.mark(high, (0.495, 0.0, 0.505, top), (30, 30, 30), level=2)
    mesh.mark(high, (0.56, 0.0, 0.76, top * 0.42), (44, 46, 60), level=2)
    if kind == "double":
        mesh.mark(high, (0.03, 0.58, 0.97, 0.90), GLASS, 0.5, level=0)
        mesh.mark(high, (0.03, 0.76, 0.97, 0.90), tint(SKY_GLASS, 0.7), 0.6, level=1)
    sign = {"city": (0.84, 0.97), "coach": (0.89, 0.97), "double": (0.43, 0.54)}[kind]
    mesh.mark(high, (0.16, sign[0], 0.84, sign[1]), (22, 22, 22), level=0)
    mesh.mark(high, (0.22, sign[0] + 0.025, 0.68, sign[1] - 0.025), AMBER, 0, 1.0, level=1)


def _side(mesh: MeshBuilder, low: Floats, high: Floats, stripe: Colour, kind: str) -> None:
    mesh.mark(low, (0, 0.0, 1, 0.12), tint(DARK, 1.3), level=1)
    mesh.mark(low, (0, 0.62, 1, 0.86), stripe, level=1)
    count = 7
    for v0, v1 in _decks(kind):
        mesh.mark(high, (0.02, v0, 0.98, v1), (26, 25, 24), 0.2, level=0)
        for i in range(count):
            u0, u1 = 0.025 + i * 0.95 / count, 0.015 + (i + 1) * 0.95 / count
            mesh.mark(high, (u0, v0 + 0.02, u1, v1 - 0.02), GLASS, 0.5, level=1)
            mesh.mark(high, (u0, (v0 + v1) / 2, u1, v1 - 0.02), tint(SKY_GLASS, 0.72), 0.6, level=1)


def _mirrors(mesh: MeshBuilder, half: float, front: float, height: float) -> None:
    for side in (-1.0, 1.0):
        x0, x1 = sorted((side * half, side * (half + 0.24)))
        mesh.part((side * (half + 0.1), height * 0.66, front - 0.05), rank=front)
        for z in (front - 0.1, front + 0.02):
            mesh.face(
                np.asarray(
                    [(x0, height * 0.56, z), (x1, height * 0.56, z), (x1, height * 0.75, z), (x0, height * 0.75, z)]
                ),
                tint(DARK, 1.2),
            )
