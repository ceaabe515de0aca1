"""Bicycles with their riders."""

from __future__ import annotations

import math

import numpy as np

from perception.drive.hashing import Dice
from perception.drive.mesh import Colour, Mesh, MeshBuilder
from perception.drive.solids import DARK, RED_LAMP, TYRE, WHITE_LAMP, ball, box, circle, panel, quad, tint, tube
from perception.drive.vehicles.riders import FRAMES, HELMETS, JACKETS, TROUSERS, upper_body

SKIN: tuple[Colour, ...] = ((150, 180, 222), (110, 146, 196), (70, 96, 140), (52, 70, 104))
PEDAL_PHASES = 8


def make_bicycle(dice: Dice, phase: int) -> Mesh:
    """One design of a bicycle with its rider, the pedals at one of PEDAL_PHASES turns."""
    racer = dice.unit(0) < 0.4
    paint = dice.pick(1, FRAMES)
    turn = 2 * math.pi * phase / PEDAL_PHASES
    mesh = MeshBuilder()
    for z in (-0.52, 0.53):
        _thin_wheel(mesh, z, 0.34)
    joints = {
        "hub": (0.0, 0.34, -0.52),
        "crank": (0.0, 0.29, -0.04),
        "seat": (0.0, 0.84, -0.18),
        "head": (0.0, 0.84, 0.36),
    }
    for a, b in (("hub", "crank"), ("hub", "seat"), ("crank", "seat"), ("crank", "head"), ("seat", "head")):
        tube(mesh, joints[a], joints[b], (0.024, 0.024), paint, 5)
    tube(mesh, joints["head"], (0.0, 0.34, 0.53), (0.024, 0.02), paint, 5)
    bar_y, bar_z = (0.92, 0.46) if racer else (1.02, 0.34)
    tube(mesh, joints["head"], (0.0, bar_y, bar_z - 0.04), (0.022, 0.022), (90, 90, 92), 4)
    tube(mesh, (-0.28, bar_y, bar_z), (0.28, bar_y, bar_z), (0.018, 0.018), DARK, 5)
    mesh.part((0, 0.88, -0.20))
    box(mesh, 0.075, (0.86, -0.32), (0.92, -0.06), (30, 30, 32))
    _bicycle_lamps(mesh, bar_z)
    trousers, jacket = dice.pick(4, TROUSERS), dice.pick(3, JACKETS)
    for side in (-1.0, 1.0):
        _leg(mesh, side, turn + (0 if side > 0 else math.pi), trousers, dice)
    lean = 0.36 if racer else 0.16
    upper_body(mesh, (0.92, -0.20), (1.44, -0.18 + lean), jacket, (0.27, bar_y + 0.02, bar_z), dice)
    _head(mesh, (0, 1.60, -0.12 + lean), dice)
    return mesh.build((0.62, 1.76, 1.75))


def _bicycle_lamps(mesh: MeshBuilder, bar_z: float) -> None:
    mesh.part((0, 0.70, -0.28), rank=-0.6)
    mesh.face(panel((-0.045, 0.045), (0.66, 0.75), -0.30), RED_LAMP, 0.2, 1.0)
    mesh.part((0, 0.86, bar_z + 0.08), rank=0.7)
    mesh.face(panel((-0.04, 0.04), (0.80, 0.89), bar_z + 0.12), WHITE_LAMP, 0.2, 1.0)
    mesh.lamp(0.0, 0.70, -0.33, "tail")
    mesh.lamp(0.0, 0.85, bar_z + 0.14, "head")


def _thin_wheel(mesh: MeshBuilder, z: float, radius: float) -> None:
    mesh.part((0, radius, z))
    sides, half = 14, 0.024
    outer, inner = (circle(half, radius, z, r, sides) for r in (radius, radius * 0.86))
    flip = np.array([-1, 1, 1], np.float32)
    for i in range(sides):
        j = (i + 1) % sides
        mesh.face([outer[i], outer[j], outer[j] * flip, outer[i] * flip], TYRE)
        for mirror in (np.ones(3, np.float32), flip):
            mesh.bucket = 2
            mesh.face(np.asarray([outer[i], outer[j], inner[j], inner[i]]) * mirror, TYRE)
            mesh.bucket = 1
    mesh.bucket, mesh.level = 2, 1
    for turn in np.arange(6) * (math.pi / 6):
        dy, dz = math.sin(turn) * radius * 0.86, math.cos(turn) * radius * 0.86
        for x in (-half, half):
            mesh.face(
                quad(
                    (x, radius + dy, z + dz),
                    (x, radius + dy, z + dz + 0.012),
                    (x, radius - dy, z - dz + 0.012),
                    (x, radius - dy, z - dz),
                ),
                (150, 150, 150),
            )
    mesh.bucket, mesh.level = 1, 0


def _leg(mesh: MeshBuilder, side: float, turn: float, colour: Colour, dice: Dice) -> None:
    """A leg from the hip to a pedal, bent at the knee so that thigh and shin keep their lengths."""
    hip = np.array([0.93, -0.16])
    foot = np.array([0.31 + 0.17 * math.sin(turn), -0.06 + 0.17 * math.cos(turn)])
    thigh, shin = 0.45, 0.47
    span = foot - hip
    length = min(float(np.sqrt((span * span).sum())), thigh + shin - 0.005)
    along = (thigh**2 - shin**2 + length**2) / (2 * length)
    out = math.sqrt(max(thigh**2 - along**2, 0.0))
    unit = span / np.sqrt((span * span).sum())
    knee = hip + unit * along + np.array([unit[1], -unit[0]]) * out
    if knee[1] < (hip + unit * along)[1]:
        knee = hip + unit * along - np.array([unit[1], -unit[0]]) * out
    shorts = dice.unit(8) < 0.45
    lower = dice.pick(6, SKIN) if shorts else colour
    points = ((side * 0.10, *hip), (side * 0.13, *knee), (side * 0.12, *foot))
    tube(mesh, points[0], points[1], (0.085, 0.062), colour, 6)
    tube(mesh, points[1], points[2], (0.060, 0.042), lower, 6)
    tube(mesh, points[2], (side * 0.12, foot[0] - 0.03, foot[1] + 0.14), (0.045, 0.035), (40, 40, 44), 5)


def _head(mesh: MeshBuilder, middle: tuple[float, float, float], dice: Dice) -> None:
    skin, hat = dice.pick(6, SKIN), dice.pick(7, HELMETS)
    ball(mesh, middle, (0.095, 0.13, 0.11), (skin, skin, skin, skin), 8)
    if dice.unit(9) < 0.75:
        ball(
            mesh,
            (middle[0], middle[1] + 0.06, middle[2] - 0.01),
            (0.12, 0.10, 0.145),
            (tint(hat, 0.7), hat, tint(hat, 1.1)),
            9,
            0.6,
        )
    else:
        ball(mesh, (middle[0], middle[1] + 0.05, middle[2] - 0.03), (0.105, 0.10, 0.12), ((40, 50, 66),) * 3, 8)
