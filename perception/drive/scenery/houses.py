"""Buildings beside the road."""

from __future__ import annotations

from perception.drive.hashing import Dice
from perception.drive.mesh import Colour, Mesh, MeshBuilder
from perception.drive.palette import Floats
from perception.drive.solids import GLASS, SKY_GLASS, box, quad, tint

WALLS: tuple[Colour, ...] = (
    (206, 218, 226),
    (170, 190, 206),
    (110, 130, 176),
    (196, 206, 200),
    (150, 176, 214),
    (140, 150, 160),
    (190, 196, 210),
)
ROOFS: tuple[Colour, ...] = ((64, 76, 140), (80, 78, 80), (70, 84, 110), (96, 92, 88), (60, 90, 150))
LIT: Colour = (130, 205, 245)


def make_house(dice: Dice, evening: bool) -> Mesh:
    """A house with a gable, or a block of flats; some windows are lit in the `evening`."""
    mesh = MeshBuilder()
    half, length = dice.between(0, 3.4, 5.0), dice.between(1, 8.0, 13.0)
    flats = dice.unit(2) < 0.35
    tall = dice.between(3, 8.0, 15.0) if flats else dice.between(3, 3.0, 5.6)
    wall, roof = dice.pick(4, WALLS), dice.pick(5, ROOFS)
    z0, z1 = -length / 2, length / 2
    mesh.part((0, tall / 2, 0))
    faces = box(mesh, half, (0, z0), (tall, z1), wall)
    storeys = max(1, int(tall / 2.7))
    for name, columns in (("rear", 3), ("left", 5), ("right", 5)):
        _windows(mesh, faces[name], storeys, columns, dice.sub(hash_key(name)), evening)
    mesh.mark(faces["rear"], (0, 0, 1, 0.06), tint(wall, 0.7), level=1)
    if flats:
        mesh.part((0, tall + 0.2, 0), rank=-1)
        box(mesh, half + 0.2, (tall, z0 - 0.2), (tall + 0.4, z1 + 0.2), tint(wall, 0.75))
        return mesh.build((2 * half, tall + 0.4, length))
    top = _gable(mesh, (half, tall, z0, z1), tall + half * dice.between(6, 0.55, 0.9), wall, roof)
    return mesh.build((2 * half, top, length))


def _gable(
    mesh: MeshBuilder, walls: tuple[float, float, float, float], top: float, wall: Colour, roof: Colour
) -> float:
    """A pitched roof on walls of (half width, height, z rear, z front); returns the height of its ridge."""
    (half, tall, z0, z1), out = walls, 0.45
    mesh.part((0, tall + 0.3, 0), rank=-1)
    for z in (z0, z1):
        mesh.face(quad((-half, tall, z), (half, tall, z), (0, top, z)), wall)
    for side in (-1.0, 1.0):
        mesh.face(
            quad(
                (side * (half + out), tall - 0.2, z0 - out),
                (side * (half + out), tall - 0.2, z1 + out),
                (0, top + 0.12, z1 + out),
                (0, top + 0.12, z0 - out),
            ),
            roof,
        )
    edge = tint(roof, 0.6)
    for side in (-1.0, 1.0):
        mesh.face(
            quad(
                (side * (half + out), tall - 0.34, z0 - out),
                (side * (half + out), tall - 0.16, z0 - out),
                (0, top + 0.14, z0 - out),
                (0, top - 0.08, z0 - out),
            ),
            edge,
        )
    return top


def hash_key(name: str) -> int:
    """A small number for a face's name, the same in every process."""
    return sum(ord(letter) for letter in name)


def _windows(mesh: MeshBuilder, face: Floats, storeys: int, columns: int, dice: Dice, evening: bool) -> None:
    for row in range(storeys):
        v0 = (row + 0.32) / storeys
        for column in range(columns):
            u0, key = (column + 0.28) / columns, row * 10 + column
            if row == 0 and column == columns // 2:
                mesh.mark(face, (u0, 0.0, u0 + 0.36 / columns, 0.72 / storeys), (50, 60, 90), level=1)
                continue
            lit = evening and dice.unit(key) < 0.35
            u1, v1 = u0 + 0.44 / columns, v0 + 0.46 / storeys
            mesh.mark(face, (u0 - 0.03 / columns, v0 - 0.03, u1 + 0.03 / columns, v1 + 0.02), (226, 230, 232), level=2)
            mesh.mark(face, (u0, v0, u1, v1), LIT if lit else GLASS, 0.3, 0.9 if lit else 0.0, level=0)
            if not lit:
                mesh.mark(face, (u0, (v0 + v1) / 2, u1, v1), tint(SKY_GLASS, 0.7), 0.4, level=2)
