"""Simple solids for the bodies: boxes, tapered boxes, hulls, tubes, balls and wheels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from perception.drive.mesh import Colour, MeshBuilder
from perception.drive.palette import Floats

TYRE: Colour = (30, 29, 28)
RIM: Colour = (168, 166, 162)
DARK: Colour = (34, 33, 32)
GLASS: Colour = (52, 44, 36)
SKY_GLASS: Colour = (150, 132, 112)
PLATE: Colour = (228, 232, 234)
RED_LAMP: Colour = (40, 34, 205)
WHITE_LAMP: Colour = (246, 250, 250)
AMBER: Colour = (30, 150, 245)


def tint(colour: Colour, gain: float) -> Colour:
    """A colour made lighter or darker."""
    return (min(colour[0] * gain, 255.0), min(colour[1] * gain, 255.0), min(colour[2] * gain, 255.0))


def quad(*corners: Sequence[float]) -> Floats:
    """Corners as an array."""
    return np.asarray(corners, np.float32)


def panel(x: tuple[float, float], y: tuple[float, float], z: float) -> Floats:
    """Return an upright rectangle across the road, from its lower left corner."""
    return quad((x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z))


def frustum(
    mesh: MeshBuilder,
    low: tuple[float, float, float, float],
    high: tuple[float, float, float, float],
    colour: Colour,
    gloss: float = 0.0,
    top: bool = True,
) -> dict[str, Floats]:
    """A tapered box: `low` and `high` are (half width, y, z rear, z front). Returns its faces by name.

    Each face runs from its lower left corner, seen from outside.
    """
    w0, y0, r0, f0 = low
    w1, y1, r1, f1 = high
    faces = {
        "rear": quad((-w0, y0, r0), (w0, y0, r0), (w1, y1, r1), (-w1, y1, r1)),
        "front": quad((w0, y0, f0), (-w0, y0, f0), (-w1, y1, f1), (w1, y1, f1)),
        "right": quad((w0, y0, r0), (w0, y0, f0), (w1, y1, f1), (w1, y1, r1)),
        "left": quad((-w0, y0, f0), (-w0, y0, r0), (-w1, y1, r1), (-w1, y1, f1)),
    }
    if top:
        faces["top"] = quad((-w1, y1, r1), (w1, y1, r1), (w1, y1, f1), (-w1, y1, f1))
    for face in faces.values():
        mesh.face(face, colour, gloss)
    return faces


def box(
    mesh: MeshBuilder,
    half: float,
    low: tuple[float, float],
    high: tuple[float, float],
    colour: Colour,
    gloss: float = 0.0,
) -> dict[str, Floats]:
    """An upright box of half width `half` from `low` (y, z) to `high` (y, z)."""
    (y0, z0), (y1, z1) = low, high
    return frustum(mesh, (half, y0, z0, z1), (half, y1, z0, z1), colour, gloss)


def hull(mesh: MeshBuilder, rings: Sequence[Floats], colours: Sequence[Colour], gloss: float) -> None:
    """A skin over rings of equally many points, with both ends closed; one colour for each strip along the rings."""
    for ring, following in zip(rings[:-1], rings[1:], strict=True):
        for i, colour in enumerate(colours):
            mesh.face([ring[i], ring[i + 1], following[i + 1], following[i]], colour, gloss)
    mesh.face(rings[0], colours[len(colours) // 2], gloss)
    mesh.face(rings[-1], colours[len(colours) // 2], gloss)


def tube(
    mesh: MeshBuilder,
    start: Sequence[float],
    end: Sequence[float],
    radii: tuple[float, float],
    colour: Colour,
    sides: int = 6,
) -> None:
    """A tapered rod between two points, as a part of its own."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    axis = (b - a) / max(float(np.sqrt(((b - a) ** 2).sum())), 1e-6)
    helper = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.8 else np.array([0, 1.0, 0])
    u = np.cross(axis, helper)
    u /= np.sqrt((u * u).sum())
    v = np.cross(axis, u)
    turns = [2 * math.pi * i / sides for i in range(sides)]
    first = [a + radii[0] * (math.cos(t) * u + math.sin(t) * v) for t in turns]
    last = [b + radii[1] * (math.cos(t) * u + math.sin(t) * v) for t in turns]
    mesh.part((a + b) / 2)
    for i in range(sides):
        j = (i + 1) % sides
        mesh.face([first[i], first[j], last[j], last[i]], colour)
    mesh.face(first, colour)
    mesh.face(last, colour)


def ball(
    mesh: MeshBuilder,
    middle: Sequence[float],
    radii: tuple[float, float, float],
    colours: Sequence[Colour],
    sides: int = 8,
    gloss: float = 0.0,
) -> None:
    """An egg as a part of its own; `colours` are its bands from the bottom up."""
    bands = len(colours)
    mesh.part(middle)
    rings = []
    for band in range(bands + 1):
        lift = -math.pi / 2 + math.pi * band / bands
        rings.append(
            [
                (
                    middle[0] + radii[0] * math.cos(lift) * math.cos(2 * math.pi * i / sides),
                    middle[1] + radii[1] * math.sin(lift),
                    middle[2] + radii[2] * math.cos(lift) * math.sin(2 * math.pi * i / sides),
                )
                for i in range(sides)
            ]
        )
    for band, colour in enumerate(colours):
        for i in range(sides):
            j = (i + 1) % sides
            mesh.face([rings[band][i], rings[band][j], rings[band + 1][j], rings[band + 1][i]], colour, gloss)


def circle(x: float, y: float, z: float, radius: float, sides: int) -> Floats:
    """A circle in the plane across x."""
    turns = np.arange(sides) * (2 * math.pi / sides)
    return np.stack([np.full(sides, x), y + radius * np.sin(turns), z + radius * np.cos(turns)], 1).astype(np.float32)


def wheel_ends(mesh: MeshBuilder, half: float, z: float, radius: float, width: float) -> None:
    """Add the ends of a pair of tyres, seen from behind and from the front: drawn before the body."""
    before = mesh.bucket
    mesh.bucket = 0
    for side in (-1.0, 1.0):
        inner, outer = side * (half - width), side * half
        for end in (-1.0, 1.0):
            for low, high in ((0.0, 0.35), (0.35, 1.0)):
                z0 = z + end * radius * math.sqrt(max(1 - (1 - low) ** 2, 0.0))
                z1 = z + end * radius * math.sqrt(1 - (1 - high) ** 2)
                corners = quad(
                    (inner, low * radius, z0),
                    (outer, low * radius, z0),
                    (outer, high * radius, z1),
                    (inner, high * radius, z1),
                )
                mesh.face(corners, tint(TYRE, 0.7 + 0.5 * low))
    mesh.bucket = before


def wheel_sides(mesh: MeshBuilder, half: float, z: float, radius: float, rim: Colour = RIM) -> None:
    """Add the wheels of an axle from the side: arch, tyre and rim, drawn on the body."""
    mesh.bucket = 2
    for side in (-1.0, 1.0):
        mesh.level = 1
        mesh.face(circle(side * (half + 0.004), radius * 1.06, z, radius * 1.13, 16), (20, 20, 20))
        mesh.level = 0
        mesh.face(circle(side * (half + 0.008), radius, z, radius, 16), TYRE)
        mesh.level = 1
        mesh.face(circle(side * (half + 0.012), radius, z, radius * 0.66, 12), rim)
        mesh.level = 2
        mesh.face(circle(side * (half + 0.016), radius, z, radius * 0.52, 12), tint(rim, 0.55))
        for spoke in range(5):
            turn = spoke * 2 * math.pi / 5 + 0.3
            dy, dz = math.sin(turn), math.cos(turn)
            x = side * (half + 0.02)
            mesh.face(
                quad(
                    (x, radius + 0.04 * dz, z - 0.04 * dy),
                    (x, radius - 0.04 * dz, z + 0.04 * dy),
                    (x, radius + radius * 0.6 * dy - 0.04 * dz, z + radius * 0.6 * dz + 0.04 * dy),
                    (x, radius + radius * 0.6 * dy + 0.04 * dz, z + radius * 0.6 * dz - 0.04 * dy),
                ),
                rim,
            )
    mesh.bucket, mesh.level = 1, 0
