"""The road of a scene: its kind, camera, lanes, lines, edges and rails, all drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass

from perception.drive.camera import Camera
from perception.drive.hashing import Dice

KINDS = ("country", "suburb", "highway")


@dataclass(frozen=True)
class Lane:
    """A lane with its middle at `x` metres from the camera car's lane; `heading` +1 ahead, -1 towards.

    `role`: lead (the camera car's own), slow, fast, oncoming, bike or bike_oncoming.
    """

    x: float
    heading: int
    role: str


@dataclass(frozen=True)
class Strip:
    """A band of ground from x0 to x1 metres of one material."""

    x0: float
    x1: float
    material: str


@dataclass(frozen=True)
class Layout:
    """A scene's fixed things. `speed` in m/s; `solid` and `dashed` lines by x; `rails` by (x, kind)."""

    kind: str
    speed: float
    lanes: tuple[Lane, ...]
    strips: tuple[Strip, ...]
    solid: tuple[float, ...]
    dashed: tuple[float, ...]
    dash: tuple[float, float]
    rails: tuple[tuple[float, str], ...]
    left: float
    right: float


def make_camera(dice: Dice, width: int, height: int, kind: str) -> Camera:
    """A camera of its own height, pitch and focal length, on a slight bend."""
    bend = dice.between(4, 0.0, 1 / 900) * dice.pick(5, (-1.0, 1.0))
    return Camera(
        width=width,
        rows=height,
        focal=width * dice.between(1, 0.92, 1.22),
        centre_x=width * dice.between(6, 0.47, 0.53),
        horizon=float(round(height * dice.between(2, 0.38, 0.47))),
        height=dice.between(3, 1.45, 2.5),
        bend=bend if dice.unit(7) < 0.75 else 0.0,
    )


def make_layout(dice: Dice) -> Layout:
    """The road of the seed."""
    kind = dice.weighted(0, (("country", 1.0), ("suburb", 1.0), ("highway", 1.0)))
    return {"country": _country, "suburb": _suburb, "highway": _highway}[kind](dice)


def _country(dice: Dice) -> Layout:
    w = dice.between(1, 3.4, 3.8)
    left, right = -1.5 * w - 0.5, w / 2 + dice.between(2, 1.5, 2.0)
    lanes = (
        Lane(0.0, 1, "lead"),
        Lane(-w, -1, "oncoming"),
        Lane(w / 2 + 0.85, 1, "bike"),
        Lane(-1.5 * w - 0.1, -1, "bike_oncoming"),
    )
    fenced = dice.unit(4) < 0.5
    return Layout(
        kind="country",
        speed=dice.between(3, 15, 21),
        lanes=lanes,
        strips=(Strip(left - 0.8, left, "gravel"), Strip(right, right + 0.8, "gravel"), Strip(left, right, "road")),
        solid=(-1.5 * w + 0.15, w / 2 - 0.05),
        dashed=(-w / 2,),
        dash=(3.0, 9.0),
        rails=((right + 3.2, "fence"), (left - 3.0, "fence")) if fenced else (),
        left=left - 1.4,
        right=right + 1.4,
    )


def _suburb(dice: Dice) -> Layout:
    w = dice.between(1, 3.1, 3.5)
    wide = dice.unit(2) < 0.55
    onc = (-w, -2 * w) if wide and dice.unit(5) < 0.6 else (-w,)
    slow = (w,) if wide else ()
    edge = w * (1.5 if wide else 0.5)
    path = edge + dice.between(3, 1.5, 1.9)
    left = onc[-1] - w / 2 - 0.3
    lanes = [Lane(0.0, 1, "lead")] + [Lane(x, 1, "slow") for x in slow] + [Lane(x, -1, "oncoming") for x in onc]
    lanes += [Lane((edge + path) / 2 + 0.05, 1, "bike"), Lane(left - 0.2, -1, "bike_oncoming")]
    track = "cycle" if dice.unit(6) < 0.6 else "road"
    return Layout(
        kind="suburb",
        speed=dice.between(4, 10, 14),
        lanes=tuple(lanes),
        strips=(
            Strip(left - 4.4, left - 1.2, "walk"),
            Strip(path + 0.18, path + 3.2, "walk"),
            Strip(left - 1.2, path, "road"),
            Strip(edge + 0.1, path, track),
            Strip(path, path + 0.18, "kerb"),
            Strip(left - 1.38, left - 1.2, "kerb"),
        ),
        solid=(edge, left + 0.1) + ((-w / 2,) if wide else ()),
        dashed=((w / 2,) if wide else (-w / 2,)) + ((-1.5 * w,) if len(onc) == 2 else ()),
        dash=(3.0, 6.0),
        rails=(),
        left=left - 3.6,
        right=path + 3.0,
    )


def _highway(dice: Dice) -> Layout:
    w = 3.65
    many = 3 if dice.unit(1) < 0.6 else 2
    own = dice.pick(2, (0, 1)) if many == 3 else 0
    xs = [(i - own) * w for i in range(many)] if many == 3 else [0.0, w]
    if many == 2 and dice.unit(5) < 0.5:
        xs = [-w, 0.0]
    roles = {x: "lead" if abs(x) < 0.1 else "fast" if x < 0 else "slow" for x in xs}
    left, right = xs[0] - w / 2 - 0.9, xs[-1] + w / 2
    shoulder = right + 2.7
    far = left - 2.2
    lanes = [Lane(x, 1, role) for x, role in roles.items()]
    lanes += [Lane(far - w * (i + 0.6), -1, "oncoming") for i in range(2)]
    lanes.append(Lane(right + 1.5, 1, "bike"))
    median = dice.pick(6, ("concrete", "rail"))
    return Layout(
        kind="highway",
        speed=dice.between(3, 22, 28),
        lanes=tuple(lanes),
        strips=(
            Strip(far - 2.1 * w - 1.5, far, "road"),
            Strip(left, shoulder, "road"),
            Strip(far, left, "gravel" if median == "rail" else "walk"),
            Strip(shoulder, shoulder + 1.0, "gravel"),
        ),
        solid=(xs[0] - w / 2, right, far - 0.3, far - 2.15 * w),
        dashed=tuple(x + w / 2 for x in xs[:-1]),
        dash=(4.0, 8.0),
        rails=(((left + far) / 2 + 0.3, median), (shoulder + 0.9, "rail")),
        left=far - 2.1 * w - 3.5,
        right=shoulder + 2.4,
    )
