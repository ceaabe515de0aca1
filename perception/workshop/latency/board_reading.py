"""The readings of a board's snapshot that a report needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from perception.core.heat import shown_zone
from perception.workshop.latency.plain import printable

MOST_REASONS, LONGEST_REASON = 8, 64


class Reading(NamedTuple):
    """The board at a moment. at_ms: Unix milliseconds. Each None where unknown.

    temperature_c: of the zone that the summary line tells, else of the hottest one. throttled: what
    slows the board down, empty for nothing.
    """

    at_ms: int
    temperature_c: float | None
    power_w: float | None
    throttled: tuple[str, ...] = ()


def reading_of(at_ms: int, board: Mapping[str, Any]) -> Reading:
    """Return the reading in the `board` of a record. Its keys are the fields of BoardSnapshot (core)."""
    zones = board.get("temperatures_c")
    known = {zone: value for zone, value in zones.items() if _is_number(value)} if isinstance(zones, dict) else {}
    zone = shown_zone(known)
    temperature_c = known[zone] if zone else max(known.values(), default=None)
    power_w = board.get("power_w")
    reasons = board.get("throttling")
    return Reading(
        at_ms,
        temperature_c,
        power_w if _is_number(power_w) else None,
        tuple(printable(str(reason)[:LONGEST_REASON]) for reason in reasons[:MOST_REASONS])
        if isinstance(reasons, list)
        else (),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6
