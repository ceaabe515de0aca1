"""Things beside the road: their places along it, and their drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from perception.core.frame import Image
from perception.drive.camera import FIXED_BITS, Camera, fixed
from perception.drive.hashing import Dice
from perception.drive.layout import Layout
from perception.drive.mesh import Mesh
from perception.drive.palette import Floats, Light
from perception.drive.scenery.houses import make_house
from perception.drive.scenery.props import (
    Layer,
    Prop,
    make_bale,
    make_bin,
    make_gantry,
    make_lamp,
    make_person,
    make_pole,
    make_post,
    make_sign,
)
from perception.drive.scenery.trees import make_bush, make_conifer, make_tree
from perception.drive.vehicles.bodies import draw_body, pose_mesh

_MAKERS: dict[str, Callable[[Dice, float], Prop]] = {
    "tree": make_tree,
    "conifer": make_conifer,
    "bush": make_bush,
    "sign": make_sign,
    "post": make_post,
    "pole": make_pole,
    "lamp": make_lamp,
    "bin": make_bin,
    "bale": make_bale,
    "person": make_person,
}
_VARIANTS = {"tree": 8, "conifer": 5, "bush": 6, "sign": 6, "bin": 4, "person": 5, "house": 6}
_KEEP = 1024


@dataclass(frozen=True)
class Row:
    """A line of things: one at about every `gap` metres of the road, `near` to `far` metres beyond its edge."""

    gap: float
    near: float
    far: float
    kinds: tuple[tuple[str, float], ...]
    regular: bool = False
    reach: float = 130.0


_WOODS = (("tree", 5.0), ("conifer", 3.0), ("bush", 2.0))
ROWS: dict[str, tuple[Row, ...]] = {
    "country": (
        Row(40, 0.4, 0.5, (("post", 1.0),), True),
        Row(90, 0.5, 1.2, (("sign", 1.0),)),
        Row(48, 5.0, 5.2, (("pole", 1.0),), True),
        Row(16, 4.5, 16, (*_WOODS, ("bale", 0.5), ("bush", 3.0), ("none", 3.0))),
        Row(11, 18, 50, (*_WOODS, ("none", 3.0))),
        Row(80, 22, 40, (("house", 0.5), ("none", 1.0))),
    ),
    "suburb": (
        Row(32, 0.1, 0.2, (("lamp", 1.0),), True),
        Row(40, -0.3, 0.3, (("sign", 1.0), ("none", 0.6))),
        Row(24, -1.6, -0.4, (("person", 1.0), ("bin", 1.0), ("none", 2.0)), False, 70),
        Row(10, 0.8, 3.0, (("tree", 2.0), ("bush", 5.0), ("none", 2.0))),
        Row(17, 10.0, 13.0, (("house", 5.0), ("tree", 1.0))),
        Row(14, 20, 34, (("tree", 2.0), ("conifer", 1.0))),
    ),
    "highway": (
        Row(50, 0.3, 0.4, (("post", 1.0),), True),
        Row(120, 1.0, 1.6, (("sign", 1.0),)),
        Row(13, 4.0, 12.0, (("bush", 5.0), ("tree", 2.0), ("none", 2.0))),
        Row(9, 13, 34, (*_WOODS, ("none", 1.0))),
        Row(140, 30, 45, (("house", 1.0), ("none", 2.0))),
    ),
}


class Thing(NamedTuple):
    """One thing at (x, z) metres; `side` -1 or +1; `tone` varies the colours of its kind."""

    kind: str
    variant: int
    x: float
    z: float
    side: int
    tone: float


@dataclass(frozen=True, eq=False)
class Cut:
    """A flat thing made ready to draw: all its points (n, 2), where each layer starts, its colours and details."""

    prop: Prop
    half: float
    points: Floats
    starts: list[int]
    tones: Floats
    levels: list[int]


class Roadside:
    """The things of a scene; where they stand is a pure function of the distance travelled."""

    def __init__(self, dice: Dice, camera: Camera, layout: Layout, light: Light) -> None:
        self._dice, self._camera, self._layout, self._light = dice, camera, layout, light
        self._cuts: dict[tuple[str, int, int], Cut] = {}
        self._houses: dict[int, tuple[Mesh, Floats]] = {}
        self._placed: dict[tuple[int, int, int], Thing | None] = {}
        self._sun_side = 1.0 if float(light.sun[0]) > 0 else -1.0

    def at(self, travelled: float) -> list[Thing]:
        """The things in view, in no special order of distance."""
        found: list[Thing] = []
        if len(self._placed) > _KEEP:
            self._placed.clear()
        for number, row in enumerate(ROWS[self._layout.kind]):
            for side in (-1, 1):
                for k in range(int((travelled + 1.5) / row.gap), int((travelled + row.reach) / row.gap) + 1):
                    key = (number, side, k)
                    if key not in self._placed:
                        self._placed[key] = self._place(row, *key)
                    thing = self._placed[key]
                    if thing is not None and 1.5 < thing.z - travelled < row.reach:
                        found.append(thing._replace(z=thing.z - travelled))
        if self._layout.kind == "highway":
            found.extend(self._gantries(travelled))
        return found

    def _place(self, row: Row, number: int, side: int, k: int) -> Thing | None:
        dice = self._dice.sub(1, number, side + 1, k)
        kind = dice.weighted(1, row.kinds)
        if kind == "none":
            return None
        edge = self._layout.right if side > 0 else -self._layout.left
        shift = 0.5 if row.regular else dice.unit(2)
        variant = int(dice.unit(4) * _VARIANTS.get(kind, 1))
        x = side * (edge + dice.between(3, row.near, row.far))
        return Thing(kind, variant, x, (k + shift) * row.gap, side, dice.between(5, 0.9, 1.1))

    def _gantries(self, travelled: float) -> list[Thing]:
        first = 260.0 * (1 + int(travelled / 260))
        z = first - 130 - travelled
        z = z if z > 1.5 else z + 260
        return [Thing("gantry", 0, 0.0, z, 1, 1.0)] if z < 150 else []

    def prepare(self) -> None:
        """Make every kind of thing that the scene has, ahead of need."""
        for row in ROWS[self._layout.kind]:
            for kind, _ in row.kinds:
                for variant in range(_VARIANTS.get(kind, 1) if kind != "none" else 0):
                    for side in (-1, 1):
                        thing = Thing(kind, variant, 0.0, 10.0, side, 1.0)
                        if kind == "house":
                            self.house(thing)
                        else:
                            self._cut(thing)

    def prop(self, thing: Thing) -> Prop:
        """The flat thing of a kind and variant."""
        return self._cut(thing).prop

    def _cut(self, thing: Thing) -> Cut:
        key = (thing.kind, thing.variant, thing.side if thing.kind == "lamp" else 1)
        if key not in self._cuts:
            dice = self._dice.sub(2, sum(thing.kind.encode()), thing.variant)
            if thing.kind == "gantry":
                made = make_gantry(dice, 1.0, self._layout.rails[0][0], self._layout.right)
            else:
                made = _MAKERS[thing.kind](dice, self._sun_side)
            made = _mirrored(made) if thing.kind == "lamp" and thing.side < 0 else made
            layers = made.layers
            self._cuts[key] = Cut(
                made,
                made.half,
                np.concatenate([layer.points for layer in layers]),
                [0, *np.cumsum([len(layer.points) for layer in layers]).tolist()],
                np.asarray([self._lit(layer) for layer in layers], np.float32),
                [layer.level for layer in layers],
            )
        return self._cuts[key]

    def _lit(self, layer: Layer) -> Floats:
        glow = layer.glow * self._light.lamps
        out: Floats = (
            self._light.flat(layer.colour, layer.facing) * (1 - glow)
            + np.asarray(layer.colour, np.float32) * 1.2 * glow
        )
        return out

    def house(self, thing: Thing) -> tuple[Mesh, Floats]:
        """A building and its lit colours."""
        if thing.variant not in self._houses:
            mesh = make_house(self._dice.sub(3, thing.variant), self._light.lamps > 0.5)
            self._houses[thing.variant] = (mesh, mesh.shade(self._light, 1))
        return self._houses[thing.variant]

    def draw(self, image: Image, thing: Thing) -> None:
        """Draw one thing."""
        clear = self._light.clear(thing.z)
        if thing.kind == "house":
            mesh, colours = self.house(thing)
            edge = self._camera.spot(thing.x - np.sign(thing.x) * mesh.size[0], 0.0, thing.z + mesh.size[2])[0]
            if not 0 <= edge <= self._camera.width:
                return
            posed = pose_mesh(mesh, (thing.x, thing.z + mesh.size[2] / 2), 1, 0.0, self._camera)
            draw_body(image, posed, colours * clear + self._light.haze * (1 - clear))
            return
        cut = self._cut(thing)
        u, v, scale = self._camera.spot(thing.x, 0.0, thing.z)
        tall, wide = cut.prop.height * scale, cut.half * scale
        if not -wide < u < self._camera.width + wide:
            return
        detail = int(tall > 16) + int(tall > 70)
        points = fixed(cut.points * np.array([scale, -scale], np.float32) + np.array([u, v], np.float32))
        tones = (cut.tones * (thing.tone * clear) + self._light.haze * (1 - clear)).tolist()
        for i, level in enumerate(cut.levels):
            if level <= detail:
                corners = points[cut.starts[i] : cut.starts[i + 1]]
                cv2.fillPoly(image, [corners], tones[i], cv2.LINE_AA, FIXED_BITS)

    def bounds(self, thing: Thing) -> tuple[float, float, float, float]:
        """The box, in pixels, that a flat thing lies in: left, top, right, bottom."""
        cut = self._cut(thing)
        u, v, scale = self._camera.spot(thing.x, 0.0, thing.z)
        return u - cut.half * scale, v - cut.prop.height * scale, u + cut.half * scale, v

    def outlines(self, thing: Thing) -> list[Floats]:
        """The polygons, in pixels, that hide what is behind a flat thing."""
        u, v, scale = self._camera.spot(thing.x, 0.0, thing.z)
        flip, place = np.array([scale, -scale], np.float32), np.array([u, v], np.float32)
        return [layer.points * flip + place for layer in self._cut(thing).prop.layers if layer.level == 0]


def _mirrored(prop: Prop) -> Prop:
    flip = np.array([-1, 1], np.float32)
    lamp = (-prop.lamp[0], prop.lamp[1]) if prop.lamp else None
    return Prop(
        tuple(replace(layer, points=layer.points * flip) for layer in prop.layers), prop.height, prop.shade, lamp
    )
