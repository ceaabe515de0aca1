"""Solid bodies made of flat faces: building, shading and order of drawing.

Body axes: x to the right, y up, z ahead in the body's own direction of travel; metres, origin on the road.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perception.drive.palette import Floats, Light

Colour = tuple[float, float, float]
Point = tuple[float, float, float]
AnyFloats = npt.NDArray[np.floating[Any]]
Corner = Sequence[float] | AnyFloats
_LIFT_M = 0.012


@dataclass(frozen=True)
class _Face:
    """A face on its way into a mesh."""

    part: int
    bucket: int
    level: int
    rank: float
    middle: Point
    corners: list[Point]
    colour: Colour
    gloss: float
    glow: float


@dataclass(frozen=True, eq=False)
class Mesh:
    """A body of V vertices and F faces in P parts; its arrays are never changed.

    `starts` (F + 1,) are the faces' places in `vertices` (V, 3), `counts` (F,) their corners; `parts` are the ranges
    of vertices that belong to the parts.
    `level` (F,) is the detail: 0 always drawn, 1 from middle sizes, 2 only when large.
    `order` holds the faces far to near, seen from behind and seen from the front.
    """

    vertices: Floats
    starts: list[int]
    counts: npt.NDArray[np.int64]
    centres: Floats
    normals: Floats
    albedo: Floats
    gloss: Floats
    glow: Floats
    level: npt.NDArray[np.int32]
    order: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    parts: list[tuple[int, int]]
    size: tuple[float, float, float]
    lamps: list[tuple[float, float, float, str]]

    def shade(self, light: Light, heading: int) -> Floats:
        """The colour of every face (F, 3) BGR, when the body drives in the given direction (+1 ahead, -1 towards)."""
        normals = self.normals * np.array([heading, 1, heading], np.float32)
        lit = light.shade(self.albedo, normals, self.gloss)
        shine = self.glow[:, None] * light.lamps
        out: Floats = np.clip(lit * (1 - shine) + self.albedo * 1.25 * shine, 0, 255).astype(np.float32)
        return out


class MeshBuilder:
    """Collects faces part by part; a face is turned so that it looks away from the middle of its part."""

    def __init__(self) -> None:
        self._faces: list[_Face] = []
        self._part = -1
        self._rank = 0.0
        self._middle: Point = (0.0, 0.0, 0.0)
        self._lamps: list[tuple[float, float, float, str]] = []
        self.level = 0
        self.bucket = 1

    def part(self, middle: Corner, rank: float | None = None) -> None:
        """Begin a convex part around `middle`; parts with a higher `rank` (the middle's z) lie further ahead."""
        self._part += 1
        self._middle = (float(middle[0]), float(middle[1]), float(middle[2]))
        self._rank = float(middle[2]) if rank is None else rank
        self.bucket, self.level = 1, 0

    def face(self, points: Sequence[Corner] | AnyFloats, colour: Colour, gloss: float = 0.0, glow: float = 0.0) -> None:
        """Add one convex face of n points (x, y, z)."""
        corners = [(float(p[0]), float(p[1]), float(p[2])) for p in points]
        self._faces.append(
            _Face(self._part, self.bucket, self.level, self._rank, self._middle, corners, colour, gloss, glow)
        )

    def lamp(self, x: float, y: float, z: float, kind: str) -> None:
        """A lamp at each side: `kind` is head or tail."""
        self._lamps.extend([(x, y, z, kind), (-x, y, z, kind)] if x else [(x, y, z, kind)])

    def mark(
        self,
        quad: Floats,
        box: tuple[float, float, float, float],
        colour: Colour,
        gloss: float = 0.0,
        glow: float = 0.0,
        level: int = 1,
    ) -> None:
        """A quad drawn on a quad: `box` is (u0, v0, u1, v1) in parts of it, u along its first edge, v along its last.

        It lies a little way out, so that it is seen when the face is.
        """
        u0, v0, u1, v1 = box
        corners = np.asarray([(u0, v0), (u1, v0), (u1, v1), (u0, v1)], np.float64)
        u, v = corners[:, :1], corners[:, 1:]
        a, b, c, d = quad
        inner = (a * (1 - u) + b * u) * (1 - v) + (d * (1 - u) + c * u) * v
        before = self.bucket, self.level
        self.bucket, self.level = 2, level
        self.face((inner + _outwards(quad, self._middle) * _LIFT_M).tolist(), colour, gloss, glow)
        self.bucket, self.level = before

    def build(self, size: tuple[float, float, float]) -> Mesh:
        """The finished body; `size` is its width, height and length in metres."""
        faces = self._faces
        starts = np.concatenate([[0], np.cumsum([len(face.corners) for face in faces])])
        vertices = np.asarray([corner for face in faces for corner in face.corners], np.float64)
        centres, normals = _planes(vertices, starts, np.asarray([face.middle for face in faces]))
        parts = []
        for part in range(self._part + 1):
            own = [i for i, face in enumerate(faces) if face.part == part]
            if own:
                parts.append((int(starts[own[0]]), int(starts[own[-1] + 1])))
        return Mesh(
            vertices=vertices.astype(np.float32),
            starts=[int(start) for start in starts],
            counts=np.diff(starts).astype(np.int64),
            centres=centres,
            normals=normals,
            albedo=np.asarray([face.colour for face in faces], np.float32),
            gloss=np.asarray([face.gloss for face in faces], np.float32),
            glow=np.asarray([face.glow for face in faces], np.float32),
            level=np.asarray([face.level for face in faces], np.int32),
            order=(self._order(centres, -1.0), self._order(centres, 1.0)),
            parts=parts,
            size=size,
            lamps=list(self._lamps),
        )

    def _order(self, centres: Floats, sign: float) -> npt.NDArray[np.int64]:
        """Faces far to near for one view: by rank of part, bucket, then place; marks stay in the order of adding."""
        depth = (sign * centres[:, 2]).tolist()
        keys = [
            (sign * face.rank, face.part, face.bucket, depth[i] if face.bucket < 2 else 0.0, i)
            for i, face in enumerate(self._faces)
        ]
        return np.asarray(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def _outwards(quad: Floats, middle: Point) -> npt.NDArray[np.float64]:
    """The unit normal of a quad, away from the middle of its part."""
    a, b, _, d = quad.tolist()
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = d[0] - a[0], d[1] - a[1], d[2] - a[2]
    normal = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
    length = max(math.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2), 1e-9)
    away = sum(n * (p - m) for n, p, m in zip(normal, a, middle, strict=True))
    return np.asarray(normal) / (length if away > 0 else -length)


def _planes(
    vertices: npt.NDArray[np.float64], starts: npt.NDArray[np.int64], middles: npt.NDArray[np.float64]
) -> tuple[Floats, Floats]:
    """The centres and outward unit normals (F, 3) of faces that lie one after another in `vertices`."""
    counts = np.diff(starts)
    centres = np.add.reduceat(vertices, starts[:-1]) / counts[:, None]
    following = np.arange(1, len(vertices) + 1)
    following[starts[1:] - 1] = starts[:-1]
    spokes = vertices - np.repeat(centres, counts, axis=0)
    normals = np.add.reduceat(np.cross(spokes, spokes[following]), starts[:-1])
    normals /= np.maximum(np.sqrt((normals * normals).sum(1)), 1e-12)[:, None]
    inwards = (normals * (centres - middles)).sum(1) < 0
    normals[inwards] *= -1
    return centres.astype(np.float32), normals.astype(np.float32)
