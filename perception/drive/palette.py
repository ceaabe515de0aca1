"""Light and air: the colours of a scene by time of day, rain and seed. Colours are BGR, 0 to 255."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perception.drive.hashing import Dice

Floats = npt.NDArray[np.float32]
Colour = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Light:
    """The light of a scene: where the sun is (unit vector), what sun, sky and ground give, and the haze.

    `time` is day, dusk or night; `lamps` is how far lamps are lit (0 to 1), `beam` the strength of the camera
    car's own headlights. `haze_m` is the distance at which two thirds of a thing's colour are lost.
    """

    time: str
    sun: Floats
    sun_gain: Floats
    sky_gain: Floats
    ground_gain: Floats
    zenith: Floats
    horizon: Floats
    haze: Floats
    haze_m: float
    lamps: float
    beam: float
    cloud: float
    shadow: float
    wet: float

    def shade(self, albedo: Floats, normals: Floats, gloss: Floats) -> Floats:
        """Colours (n, 3) of faces with the given (n, 3) albedo and unit normals and (n,) gloss."""
        up = normals[:, 1:2]
        facing = np.maximum(normals @ self.sun, 0)[:, None]
        light = self.ground_gain * (0.5 - 0.5 * up) + self.sky_gain * (0.5 + 0.5 * up) + self.sun_gain * facing
        mirror = gloss[:, None] * (0.07 + 0.30 * np.maximum(up, 0)) * self.horizon
        glint = gloss[:, None] * 0.5 * facing**6 * self.sun_gain * 255
        out: Floats = np.clip(albedo * light + mirror + glint, 0, 255).astype(np.float32)
        return out

    def flat(self, colour: Colour, facing: float = 0.5) -> Floats:
        """The lit colour of an upright flat thing; `facing` is how much sun it takes."""
        light = 0.5 * (self.ground_gain + self.sky_gain) + self.sun_gain * facing
        out: Floats = np.clip(np.asarray(colour, np.float32) * light, 0, 255).astype(np.float32)
        return out

    def clear(self, z: float) -> float:
        """The part of a thing's colour that comes through the haze from z metres away."""
        return math.exp(-max(z, 0.0) / self.haze_m)


def _bgr(red: float, green: float, blue: float) -> Floats:
    return np.asarray([blue, green, red], np.float32)


def _day(dice: Dice) -> dict[str, Floats]:
    warm = dice.unit(1)
    return {
        "sun_gain": _bgr(0.80, 0.77, 0.70 - 0.06 * warm),
        "sky_gain": _bgr(0.50, 0.53, 0.58),
        "ground_gain": _bgr(0.30, 0.29, 0.25),
        "zenith": _bgr(58 + 30 * dice.unit(2), 118 + 20 * dice.unit(3), 196),
        "horizon": _bgr(205, 222, 234),
        "haze": _bgr(190, 207, 220),
    }


def _dusk(dice: Dice) -> dict[str, Floats]:
    red = dice.unit(1)
    return {
        "sun_gain": _bgr(0.56, 0.36, 0.22),
        "sky_gain": _bgr(0.34, 0.32, 0.40),
        "ground_gain": _bgr(0.20, 0.16, 0.16),
        "zenith": _bgr(48, 58 + 12 * red, 112),
        "horizon": _bgr(250, 168 - 26 * red, 104),
        "haze": _bgr(186, 134, 120),
    }


def _night(dice: Dice) -> dict[str, Floats]:
    blue = dice.unit(1)
    return {
        "sun_gain": _bgr(0.10, 0.11, 0.15),
        "sky_gain": _bgr(0.19, 0.20, 0.26),
        "ground_gain": _bgr(0.14, 0.13, 0.12),
        "zenith": _bgr(12, 16, 36 + 10 * blue),
        "horizon": _bgr(62, 64, 88 + 14 * blue),
        "haze": _bgr(38, 42, 58),
    }


_TIMES = {"day": _day, "dusk": _dusk, "night": _night}
_LAMPS = {"day": 0.0, "dusk": 0.8, "night": 1.0}
_BEAM = {"day": 0.0, "dusk": 0.12, "night": 0.62}


def make_light(dice: Dice, light: str, rain: float) -> Light:
    """The light of one scene, by `light` (day, dusk, night) and `rain` (0 to 1)."""
    colours = _TIMES[light](dice)
    bearing = dice.between(5, 0.35, 1.25) * dice.pick(6, (-1.0, 1.0))
    lift = 0.22 if light == "dusk" else dice.between(7, 0.55, 1.0)
    # Behind the camera by preference: what is ahead is seen lit. At dusk it is low and ahead, for the sky's sake.
    ahead = -math.cos(bearing) if light != "dusk" else -0.25
    sun = np.asarray([math.sin(bearing), lift, ahead], np.float32)
    grey = colours["horizon"].mean() * np.asarray([1.02, 1.0, 0.97], np.float32)
    dull = 0.75 * rain
    return Light(
        time=light,
        sun=(sun / np.sqrt((sun * sun).sum())).astype(np.float32),
        sun_gain=colours["sun_gain"] * (1 - 0.85 * rain),
        sky_gain=colours["sky_gain"] * (1 + 0.12 * rain),
        ground_gain=colours["ground_gain"],
        zenith=colours["zenith"] * (1 - dull) + grey * (0.72 * dull),
        horizon=colours["horizon"] * (1 - dull) + grey * (0.86 * dull),
        haze=colours["haze"] * (1 - dull) + grey * (0.80 * dull),
        haze_m=dice.between(8, 190, 330) * (1 - 0.62 * rain),
        lamps=max(_LAMPS[light], 0.7 * (rain > 0.2)),
        beam=_BEAM[light],
        cloud=min(1.0, dice.between(9, 0.1, 0.75) + 0.6 * rain),
        shadow=(0.0 if light == "night" else 0.62 if light == "day" else 0.4) * (1 - 0.9 * rain),
        wet=rain,
    )
