"""Trucks."""

from __future__ import annotations

import numpy as np

from perception.drive.hashing import Dice
from perception.drive.mesh import Colour, Mesh, MeshBuilder
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
    hull,
    tint,
    wheel_ends,
    wheel_sides,
)

CABS: tuple[Colour, ...] = (
    (232, 232, 232),
    (40, 40, 190),
    (170, 90, 30),
    (60, 110, 50),
    (40, 170, 235),
    (70, 66, 64),
    (190, 170, 90),
    (30, 110, 225),
)
BOXES: tuple[Colour, ...] = (
    (232, 234, 236),
    (226, 228, 228),
    (206, 206, 200),
    (168, 108, 48),
    (52, 48, 176),
    (70, 140, 70),
    (60, 170, 226),
    (140, 130, 126),
    (186, 196, 208),
)


def make_truck(dice: Dice) -> Mesh:
    """One design of a truck: a cab with a box, a curtain-sided box, a tank or a tipper."""
    kind = dice.weighted(0, (("box", 4), ("curtain", 3), ("tank", 1.5), ("tipper", 2)))
    length, width = dice.between(1, 7.2, 11.5), dice.between(2, 2.35, 2.55)
    height = dice.between(3, 3.1, 3.85) if kind in ("box", "curtain") else dice.between(3, 2.9, 3.2)
    cab_paint, load_paint = dice.pick(4, CABS), dice.pick(5, BOXES)
    mesh = MeshBuilder()
    cab_rear = length / 2 - 1.95
    cab_top = min(height - 0.15, dice.between(6, 2.65, 3.2))
    _chassis(mesh, length, width)
    {"box": _box, "curtain": _curtain, "tank": _tank, "tipper": _tipper}[kind](
        mesh, (width, height, -length / 2, cab_rear - 0.22), load_paint
    )
    _truck_rear(mesh, width, -length / 2)
    _cab(mesh, (width * 0.97, cab_top, cab_rear, length / 2), cab_paint)
    return mesh.build((width, height, length))


def _chassis(mesh: MeshBuilder, length: float, width: float) -> None:
    half, back = width / 2, -length / 2
    mesh.part((0, 0.7, 0), rank=-0.5)
    mesh.bucket = 0
    for z in (back + 1.1, back + 2.2, length / 2 - 1.3):
        wheel_ends(mesh, half - 0.03, z, 0.5, 0.52 if z < 0 else 0.3)
    mesh.bucket = 1
    box(mesh, half * 0.62, (0.5, back + 0.1), (0.98, length / 2 - 1.0), (38, 38, 40))
    for z in (back + 1.1, back + 2.2):
        wheel_sides(mesh, half - 0.03, z, 0.5)


def _truck_rear(mesh: MeshBuilder, width: float, back: float) -> None:
    half = width / 2
    mesh.part((0, 0.62, back + 0.15), rank=-50.0)
    faces = box(mesh, half * 0.96, (0.42, back - 0.02), (0.60, back + 0.1), (70, 70, 74))
    mesh.part((0, 0.85, back + 0.2), rank=-51.0)
    panel = box(mesh, half * 0.97, (0.72, back - 0.02), (0.96, back + 0.12), (44, 44, 46))
    for u0, u1 in ((0.0, 0.24), (0.76, 1.0)):
        mesh.mark(panel["rear"], (u0, 0.1, u1, 0.9), RED_LAMP, 0.2, 1.0, level=0)
        mid = u0 + 0.16 if u0 == 0 else u0 + 0.02
        mesh.mark(panel["rear"], (mid, 0.15, mid + 0.06, 0.85), AMBER, 0, 0.4, level=2)
    mesh.mark(panel["rear"], (0.39, 0.1, 0.61, 0.8), PLATE, level=1)
    for i in range(6):
        mesh.mark(faces["rear"], (i / 6, 0.1, i / 6 + 0.083, 0.9), (50, 50, 210), level=1)
        mesh.mark(faces["rear"], (i / 6 + 0.083, 0.1, i / 6 + 0.166, 0.9), (225, 228, 230), level=1)
    mesh.lamp(half * 0.82, 0.84, back - 0.05, "tail")


Load = tuple[float, float, float, float]


def _box(mesh: MeshBuilder, load: Load, paint: Colour) -> None:
    width, height, rear, front = load
    half = width / 2
    mesh.part((0, 2, (rear + front) / 2))
    faces = box(mesh, half, (0.96, rear), (height, front), paint, 0.15)
    door = faces["rear"]
    mesh.mark(door, (0.0, 0, 1, 1), tint(paint, 0.80), level=1)
    for u0, u1 in ((0.035, 0.492), (0.508, 0.965)):
        mesh.mark(door, (u0, 0.03, u1, 0.965), paint, 0.1, level=1)
        mesh.mark(door, (u0, 0.62, u1, 0.965), tint(paint, 1.06), 0.1, level=2)
    for u in (0.16, 0.36, 0.63, 0.83):
        mesh.mark(door, (u, 0.03, u + 0.014, 0.965), tint(paint, 0.55), level=1)
    for u in (0.13, 0.60):
        mesh.mark(door, (u, 0.34, u + 0.26, 0.37), tint(paint, 0.6), level=2)
    for u in (0.01, 0.93):
        mesh.mark(door, (u, 0.97, u + 0.06, 0.995), RED_LAMP, 0, 0.9, level=2)
    accent = (paint[2], paint[0], paint[1]) if max(paint) - min(paint) > 60 else (150, 90, 40)
    for name in ("left", "right"):
        mesh.mark(faces[name], (0, 0.28, 1, 0.46), accent, level=1)
        mesh.mark(faces[name], (0.25, 0.56, 0.75, 0.76), accent, level=1)
        mesh.mark(faces[name], (0, 0, 1, 0.04), tint(paint, 0.6), level=1)


def _curtain(mesh: MeshBuilder, load: Load, paint: Colour) -> None:
    width, height, rear, front = load
    mesh.part((0, 2, (rear + front) / 2))
    faces = box(mesh, width / 2, (0.96, rear), (height, front), paint, 0.1)
    grey = (206, 208, 208)
    door = faces["rear"]
    mesh.mark(door, (0, 0, 1, 1), (150, 152, 152), level=0)
    for u0, u1 in ((0.04, 0.49), (0.51, 0.96)):
        mesh.mark(door, (u0, 0.02, u1, 0.96), grey, 0.1, level=0)
        mesh.mark(door, (u0 + 0.03, 0.52, u1 - 0.03, 0.86), paint, level=1)
    for u in (0.15, 0.38, 0.61, 0.84):
        mesh.mark(door, (u, 0.02, u + 0.014, 0.96), (120, 120, 120), level=1)
    ribs = max(5, int((front - rear) / 0.8))
    for name in ("left", "right"):
        for i in range(ribs):
            mesh.mark(faces[name], (i / ribs, 0.04, i / ribs + 0.35 / ribs, 0.97), tint(paint, 0.84), level=1)
        mesh.mark(faces[name], (0.2, 0.40, 0.8, 0.72), tint(paint, 1.5) if max(paint) < 190 else (90, 70, 150), level=1)
        mesh.mark(faces[name], (0, 0, 1, 0.05), (60, 60, 60), level=1)


def _tank(mesh: MeshBuilder, load: Load, paint: Colour) -> None:
    width, height, rear, front = load
    steel = (214, 212, 208)
    middle, tall, half = (1.05 + height) / 2, (height - 1.05) / 2, width / 2 * 0.97
    mesh.part((0, middle, (rear + front) / 2))
    turns = np.arange(14) * (2 * np.pi / 14) - np.pi / 2 + np.pi / 14
    shape = np.stack([-half * np.cos(turns), middle + tall * np.sin(turns), np.zeros(14)], 1).astype(np.float32)
    rings = []
    for z, gain in ((rear, 0.80), (rear + 0.22, 1.0), (front - 0.2, 1.0), (front, 0.8)):
        ring = shape.copy()
        ring[:, 0] *= gain
        ring[:, 1] = middle + (ring[:, 1] - middle) * gain
        ring[:, 2] = z
        rings.append(np.concatenate([ring, ring[:1]]))
    hull(mesh, rings, [steel] * 14, 0.9)
    mesh.bucket = 2
    ring = shape * np.array([0.62, 1, 1], np.float32)
    ring[:, 1] = middle + (ring[:, 1] - middle) * 0.62
    ring[:, 2] = rear - 0.02
    mesh.face(ring, tint(steel, 0.9), 0.5)
    mesh.level = 1
    mesh.face(
        np.asarray(
            [
                (-0.3, middle - 0.3, rear - 0.03),
                (0.3, middle - 0.3, rear - 0.03),
                (0.3, middle + 0.15, rear - 0.03),
                (-0.3, middle + 0.15, rear - 0.03),
            ]
        ),
        (40, 140, 245),
    )
    mesh.bucket = 1


def _tipper(mesh: MeshBuilder, load: Load, paint: Colour) -> None:
    width, height, rear, front = load
    top = min(height, 2.75)
    half = width / 2
    mesh.part((0, 1.7, (rear + front) / 2))
    faces = frustum(mesh, (half * 0.94, 1.0, rear + 0.1, front), (half, top, rear, front), paint, 0.2, top=False)
    for name in ("left", "right", "rear"):
        count = 3 if name == "rear" else 6
        for i in range(count + 1):
            mesh.mark(faces[name], (i / count * 0.96, 0.0, i / count * 0.96 + 0.04, 1.0), tint(paint, 0.7), level=1)
        mesh.mark(faces[name], (0, 0.92, 1, 1), tint(paint, 1.2), level=1)
        mesh.mark(faces[name], (0, 0.0, 1, 0.07), tint(paint, 0.55), level=1)
    mesh.part((0, top - 0.3, (rear + front) / 2), rank=(rear + front) / 2 - 0.01)
    frustum(
        mesh,
        (half * 0.9, top - 0.02, rear + 0.2, front - 0.1),
        (half * 0.4, top + 0.4, rear + 1.2, front - 1.0),
        (70, 96, 122),
    )


def _cab(mesh: MeshBuilder, cab: Load, paint: Colour) -> None:
    width, top, rear, front = cab
    half = width / 2
    mesh.part((0, 1.6, (rear + front) / 2))
    low = frustum(mesh, (half, 0.45, rear, front), (half, 1.45, rear, front), paint, 0.5, top=False)
    high = frustum(mesh, (half, 1.45, rear, front), (half * 0.94, top, rear + 0.05, front - 0.28), paint, 0.6)
    mesh.mark(high["front"], (0.05, 0.06, 0.95, 0.74), GLASS, 0.5, level=0)
    mesh.mark(high["front"], (0.05, 0.44, 0.95, 0.74), tint(SKY_GLASS, 0.7), 0.6, level=1)
    mesh.mark(high["front"], (0.03, 0.74, 0.97, 0.82), DARK, level=1)
    mesh.mark(low["front"], (0.0, 0.0, 1, 0.30), tint(DARK, 1.5), level=0)
    mesh.mark(low["front"], (0.16, 0.40, 0.84, 0.95), DARK, 0.3, level=0)
    for v in (0.5, 0.64, 0.78):
        mesh.mark(low["front"], (0.2, v, 0.8, v + 0.04), (150, 150, 150), 0.3, level=2)
    for u in (0.02, 0.80):
        mesh.mark(low["front"], (u, 0.10, u + 0.18, 0.32), WHITE_LAMP, 0.3, 1.0, level=0)
    mesh.mark(low["front"], (0.38, 0.08, 0.62, 0.2), PLATE, level=1)
    for name, u in (("left", 0.08), ("right", 0.30)):
        mesh.mark(high[name], (u, 0.05, u + 0.62, 0.66), GLASS, 0.4, level=0)
        mesh.mark(low[name], (0.1, 0.2, 0.115, 1), tint(paint, 0.6), level=2)
        mesh.mark(low[name], (0.9, 0.2, 0.915, 1), tint(paint, 0.6), level=2)
    wheel_sides(mesh, half + 0.01, front - 1.3, 0.5)
    mesh.lamp(half * 0.8, 0.66, front + 0.03, "head")
    for side in (-1.0, 1.0):
        x0, x1 = sorted((side * half, side * (half + 0.22)))
        mesh.part((side * (half + 0.1), 1.9, front - 0.26), rank=front - 0.1)
        for z in (front - 0.32, front - 0.2):
            mesh.face(np.asarray([(x0, 1.55, z), (x1, 1.55, z), (x1, 2.15, z), (x0, 2.15, z)]), tint(DARK, 1.2))
