"""Motorcycles with their riders."""

from __future__ import annotations

import math

import numpy as np

from perception.drive.hashing import Dice
from perception.drive.mesh import Colour, Mesh, MeshBuilder
from perception.drive.solids import (
    AMBER,
    DARK,
    GLASS,
    PLATE,
    RED_LAMP,
    RIM,
    TYRE,
    WHITE_LAMP,
    ball,
    box,
    circle,
    frustum,
    hull,
    panel,
    quad,
    tint,
    tube,
)

JACKETS: tuple[Colour, ...] = (
    (46, 44, 44),
    (40, 40, 190),
    (180, 90, 30),
    (60, 150, 60),
    (40, 190, 240),
    (210, 212, 214),
    (60, 120, 240),
    (150, 60, 130),
    (90, 230, 210),
    (120, 70, 40),
)
TROUSERS: tuple[Colour, ...] = ((40, 38, 38), (110, 74, 48), (70, 66, 62), (72, 92, 112), (140, 136, 130))
HELMETS: tuple[Colour, ...] = (
    (230, 230, 230),
    (36, 36, 38),
    (40, 40, 200),
    (190, 110, 40),
    (60, 200, 240),
    (60, 160, 240),
)
FRAMES: tuple[Colour, ...] = (
    (40, 40, 196),
    (44, 44, 46),
    (190, 110, 36),
    (60, 140, 70),
    (220, 220, 220),
    (40, 160, 240),
    (150, 150, 60),
)


def make_motorcycle(dice: Dice) -> Mesh:
    """One design of a motorcycle with its rider: a road machine, a tourer with cases, or a scooter."""
    kind = dice.weighted(0, (("road", 3), ("tourer", 2), ("scooter", 1.5)))
    paint = dice.pick(1, FRAMES)
    mesh = MeshBuilder()
    for z in (-0.70, 0.72):
        _fat_wheel(mesh, z, 0.31 if kind != "scooter" else 0.25)
    _machine(mesh, paint, kind)
    _motor_front(mesh, paint, kind)
    lean = dice.between(2, 0.10, 0.34) if kind != "scooter" else 0.06
    jacket, trousers = dice.pick(3, JACKETS), dice.pick(4, TROUSERS)
    for side in (-1.0, 1.0):
        foot = (side * 0.20, 0.34, 0.0 if kind != "scooter" else 0.26)
        hip, knee = (side * 0.12, 0.86, -0.16), (side * 0.25, 0.72, 0.26)
        _limb(mesh, (hip, knee, foot), (0.095, 0.075, 0.055), trousers)
        tube(mesh, foot, (foot[0], foot[1] - 0.06, foot[2] + 0.16), (0.05, 0.045), (26, 26, 28), 5)
    upper_body(mesh, (0.84, -0.18), (1.40, -0.14 + lean), jacket, (0.37, 1.03, 0.40), dice)
    _helmet(mesh, (0, 1.60, -0.08 + lean), dice.pick(5, HELMETS))
    return mesh.build((0.82, 1.74, 2.05))


def _fat_wheel(mesh: MeshBuilder, z: float, radius: float) -> None:
    mesh.part((0, radius, z))
    sides, half = 12, 0.075
    ring = circle(half, radius, z, radius, sides)
    other = ring * np.array([-1, 1, 1], np.float32)
    for i in range(sides):
        j = (i + 1) % sides
        mesh.face([ring[i], ring[j], other[j], other[i]], tint(TYRE, 0.9))
    for x in (-half, half):
        mesh.bucket = 2
        mesh.face(circle(x, radius, z, radius, sides), TYRE)
        mesh.level = 1
        mesh.face(circle(x * 1.05, radius, z, radius * 0.64, sides), RIM)
        mesh.face(circle(x * 1.1, radius, z, radius * 0.5, sides), (80, 80, 80))
        mesh.level = 0


def _machine(mesh: MeshBuilder, paint: Colour, kind: str) -> None:
    mesh.part((0, 0.5, 0.02))
    box(mesh, 0.15, (0.26, -0.30), (0.66, 0.34), (58, 58, 60), 0.3)
    tube(mesh, (0.17, 0.36, -0.1), (0.19, 0.48, -0.78), (0.05, 0.065), (160, 160, 164), 6)
    ball(mesh, (0, 0.80, 0.18), (0.17, 0.15, 0.30), (tint(paint, 0.7), paint, paint, tint(paint, 1.1)), 8, 0.8)
    mesh.part((0, 0.80, -0.55))
    tail = frustum(mesh, (0.11, 0.68, -0.80, -0.05), (0.15, 0.84, -0.92, -0.02), paint, 0.5)
    mesh.mark(tail["rear"], (0.10, 0.25, 0.90, 0.9), RED_LAMP, 0.2, 1.0, level=0)
    mesh.part((0, 0.55, -0.93))
    mesh.face(quad((-0.10, 0.46, -0.95), (0.10, 0.46, -0.95), (0.10, 0.62, -0.93), (-0.10, 0.62, -0.93)), PLATE)
    for side in (-1.0, 1.0):
        tube(mesh, (side * 0.1, 0.68, -0.86), (side * 0.22, 0.69, -0.88), (0.025, 0.035), AMBER, 4)
    mesh.lamp(0.0, 0.76, -0.96, "tail")
    if kind == "tourer":
        for side in (-1.0, 1.0):
            mesh.part((side * 0.34, 0.62, -0.60))
            x0, x1 = sorted((side * 0.22, side * 0.44))
            low, high = -0.85, -0.35
            for z in (low, high):
                mesh.face(panel((x0, x1), (0.44, 0.78), z), (70, 70, 72), 0.3)
            mesh.face(quad((x0, 0.78, low), (x1, 0.78, low), (x1, 0.78, high), (x0, 0.78, high)), (96, 96, 98), 0.4)
            for x in (x0, x1):
                mesh.face(quad((x, 0.44, low), (x, 0.44, high), (x, 0.78, high), (x, 0.78, low)), (64, 64, 66), 0.3)


def _motor_front(mesh: MeshBuilder, paint: Colour, kind: str) -> None:
    for side in (-1.0, 1.0):
        tube(mesh, (side * 0.10, 0.34, 0.72), (side * 0.12, 0.94, 0.46), (0.035, 0.035), (140, 140, 144), 5)
        tube(mesh, (side * 0.10, 1.00, 0.44), (side * 0.40, 1.03, 0.38), (0.022, 0.028), DARK, 5)
        tube(mesh, (side * 0.26, 1.02, 0.44), (side * 0.36, 1.20, 0.46), (0.012, 0.012), DARK, 4)
        mesh.part((side * 0.38, 1.22, 0.47))
        for z, gain in ((0.45, 1.4), (0.49, 1.2)):
            mesh.face(panel((side * 0.31, side * 0.45), (1.17, 1.27), z), tint(DARK, gain))
    mesh.part((0, 0.92, 0.60))
    low, high = (0.17, 0.74, 0.40, 0.72), (0.22, 1.02, 0.36, 0.66)
    nose = frustum(mesh, low, high, paint, 0.7)
    mesh.mark(nose["front"], (0.22, 0.25, 0.78, 0.85), WHITE_LAMP, 0.4, 1.0, level=0)
    mesh.lamp(0.0, 0.92, 0.74, "head")
    screen = 1.34 if kind != "road" else 1.16
    mesh.part((0, 1.1, 0.58))
    for z in (0.60, 0.63):
        mesh.face(
            quad((-0.19, 1.02, z), (0.19, 1.02, z), (0.13, screen, z - 0.16), (-0.13, screen, z - 0.16)),
            tint(GLASS, 1.5),
            0.6,
        )


def _limb(mesh: MeshBuilder, joints: tuple[tuple[float, ...], ...], radii: tuple[float, ...], colour: Colour) -> None:
    for i in range(len(joints) - 1):
        tube(mesh, joints[i], joints[i + 1], (radii[i], radii[i + 1]), colour, 6)


def upper_body(
    mesh: MeshBuilder,
    hips: tuple[float, float],
    neck: tuple[float, float],
    jacket: Colour,
    hand: tuple[float, float, float],
    dice: Dice,
) -> None:
    """A torso from the hips to the neck (y, z each) and arms to the hands."""
    mesh.part((0, (hips[0] + neck[0]) / 2, (hips[1] + neck[1]) / 2))
    rings = []
    for at, wide, deep in (
        (0.0, 0.17, 0.13),
        (0.35, 0.16, 0.12),
        (0.75, 0.215, 0.14),
        (0.93, 0.20, 0.11),
        (1.0, 0.09, 0.08),
    ):
        y, z = hips[0] + (neck[0] - hips[0]) * at, hips[1] + (neck[1] - hips[1]) * at
        turns = np.arange(9) * (2 * math.pi / 8)
        rings.append(np.stack([wide * np.cos(turns), np.full(9, y), z + deep * np.sin(turns)], 1).astype(np.float32))
    hull(mesh, rings, [jacket] * 8, 0.1)
    if dice.unit(30) < 0.4:
        mesh.part((0, neck[0] - 0.26, neck[1] - 0.24))
        z = (hips[1] + neck[1]) / 2 - 0.28
        frustum(
            mesh,
            (0.14, neck[0] - 0.46, z, z + 0.16),
            (0.12, neck[0] - 0.06, z + 0.05, z + 0.16),
            dice.pick(31, JACKETS),
            0.1,
        )
    for side in (-1.0, 1.0):
        shoulder = (side * 0.19, neck[0] - 0.08, neck[1])
        elbow = (side * (hand[0] + 0.03), (shoulder[1] + hand[1]) / 2 - 0.04, (shoulder[2] + hand[2]) / 2 - 0.06)
        _limb(mesh, (shoulder, elbow, (side * hand[0], hand[1], hand[2])), (0.07, 0.055, 0.042), tint(jacket, 0.92))


def _helmet(mesh: MeshBuilder, middle: tuple[float, float, float], colour: Colour) -> None:
    bands = (tint(colour, 0.6), tint(colour, 0.85), colour, colour, tint(colour, 1.1))
    ball(mesh, middle, (0.135, 0.155, 0.155), bands, 10, 0.7)
    mesh.bucket = 2
    x, y, z = middle
    for side in (-1.0, 0.0, 1.0):
        a, b = side * 0.09 - 0.045, side * 0.09 + 0.045
        za, zb = (z + 0.162 - 0.9 * abs(v) ** 1.6 for v in (a, b))
        mesh.face(
            quad((x + a, y - 0.05, za), (x + b, y - 0.05, zb), (x + b, y + 0.05, zb), (x + a, y + 0.05, za)),
            tint(GLASS, 0.8),
            0.5,
        )
    mesh.bucket = 1
