"""The settings of a drive."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perception.settings.model import COCO_VEHICLES

CLASS_NAMES = COCO_VEHICLES
BICYCLE, CAR, MOTORCYCLE, BUS, TRUCK = range(5)
LIGHTS = ("day", "dusk", "night")
STAMP_WIDTH = 640
_INTEGERS = {
    "seed": (0, 2**63 - 1),
    "vehicles": (0, 64),
    "width": (160, 7680),
    "height": (120, 4320),
}
_NUMBERS = {"fps": (0.1, 1000.0), "duration": (0.001, 1e6), "rain": (0.0, 1.0)}


@dataclass(frozen=True)
class DriveSettings:
    """The drive to render: sizes in pixels, `fps` in frames a second, `duration` in seconds, `rain` from 0 to 1.

    Raises ValueError, naming the field, its value and what is allowed.
    """

    seed: int = 1
    vehicles: int = 6
    width: int = 1280
    height: int = 720
    fps: float = 25.0
    duration: float = 20.0
    light: str = "day"
    rain: float = 0.0
    stamp: bool = False

    def __post_init__(self) -> None:
        for name, (low, high) in _INTEGERS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name}={value!r} is not allowed: a whole number from {low} to {high}")
        for name, (least, most) in _NUMBERS.items():
            self._check_number(name, least, most)
        if self.light not in LIGHTS:
            raise ValueError(f"light={self.light!r} is not allowed: one of {', '.join(LIGHTS)}")
        if not isinstance(self.stamp, bool):
            raise ValueError(f"stamp={self.stamp!r} is not allowed: True or False")
        if self.stamp and self.width < STAMP_WIDTH:
            raise ValueError(f"width={self.width!r} is not allowed with a stamp: {STAMP_WIDTH} or more")

    def _check_number(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high:
            raise ValueError(f"{name}={value!r} is not allowed: a number from {low:g} to {high:g}")
