"""Thresholds of a board's temperatures, the same for all parts."""

from __future__ import annotations

from collections.abc import Collection

HOT_MARGIN_C = 5.0
"""A board is hot within so many degrees of the temperature from which it slows itself down."""


def shown_zone(zones: Collection[str]) -> str | None:
    """The zone whose temperature stands for the board: the GPU's. None where it is not known.

    A GPU that is switched off has none: then `tj` speaks, the hottest part of the chip.
    """
    return next((zone for zone in ("gpu", "tj") if zone in zones), None)
