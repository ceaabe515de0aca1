"""The places of all vehicles at a moment: slots that return in cycles, with another vehicle in each cycle."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perception.drive.hashing import Dice
from perception.drive.layout import Lane, Layout
from perception.drive.settings import BICYCLE, BUS, CAR, MOTORCYCLE, TRUCK
from perception.drive.vehicles.bicycles import PEDAL_PHASES
from perception.drive.vehicles.bodies import DESIGNS, Fleet, Vehicle

_BEHIND_M = 8.0
_GAP_M = 19.0
_WEIGHTS = {"lead": 1.0, "slow": 1.25, "fast": 1.15, "oncoming": 1.1, "bike": 1.0, "bike_oncoming": 0.6}
_REACH_M = {"lead": 70.0, "slow": 120.0, "fast": 120.0, "oncoming": 150.0, "bike": 95.0, "bike_oncoming": 95.0}
_PERIOD_S = {"slow": 13.0, "fast": 12.0, "oncoming": 6.5, "bike": 10.0, "bike_oncoming": 6.0}
_ROAD_MIX = ((CAR, 0.48), (TRUCK, 0.17), (BUS, 0.14), (MOTORCYCLE, 0.21))
_TRACK_MIX = ((BICYCLE, 0.85), (MOTORCYCLE, 0.15))


@dataclass(frozen=True)
class Slot:
    """A place in a lane: the `index`-th of `count`."""

    lane: Lane
    number: int
    index: int
    count: int


class Traffic:
    """The vehicles of a drive."""

    def __init__(self, dice: Dice, layout: Layout, fleet: Fleet, vehicles: int) -> None:
        self._dice, self._fleet = dice, fleet
        self._slots = _share_out(dice, layout.lanes, vehicles)

    def at(self, time_s: float) -> list[Vehicle]:
        """The vehicles at a time, far ones first."""
        found = [self._place(slot, time_s) for slot in self._slots]
        return sorted(found, key=lambda vehicle: (-vehicle.z, vehicle.x))

    def _place(self, slot: Slot, time_s: float) -> Vehicle:
        if slot.lane.role == "lead":
            return self._leading(slot, time_s)
        lane, dice = slot.lane, self._dice.sub(10, slot.number)
        lane_dice = self._dice.sub(11, int(lane.x * 100) + 100_000)
        period = _PERIOD_S[lane.role] * lane_dice.between(1, 0.85, 1.3)
        phase = lane_dice.unit(2) + (slot.index + dice.between(3, -0.12, 0.12)) / slot.count + time_s / period
        cycle = math.floor(phase)
        part = phase - cycle
        if lane.role != "fast":
            part = 1 - part
        reach = max(_REACH_M[lane.role], _GAP_M * slot.count)
        # Time is spent near the camera, where a vehicle is large, as far as the gaps allow.
        power = min(1.6, math.log(reach / _GAP_M) / math.log(max(slot.count, 2)))
        z = -_BEHIND_M + (reach + _BEHIND_M) * part ** max(power, 1.0)
        return self._vehicle(slot, cycle, z, time_s)

    def _leading(self, slot: Slot, time_s: float) -> Vehicle:
        """A vehicle ahead in the camera car's lane: it falls back and draws away."""
        dice = self._dice.sub(12, slot.number)
        swing = dice.between(1, 3.0, 6.5)
        # The gap holds half a long vehicle at each end besides both swings.
        middle = 20.0 + 27.0 * slot.index + dice.between(2, -1.0, 3.0)
        z = middle + swing * math.sin(2 * math.pi * (time_s / dice.between(3, 9, 17) + dice.unit(4)))
        return self._vehicle(slot, 0, z, time_s)

    def _vehicle(self, slot: Slot, cycle: int, z: float, time_s: float) -> Vehicle:
        lane = slot.lane
        dice = self._dice.sub(13, slot.number, cycle)
        class_id = dice.weighted(1, _TRACK_MIX if lane.role.startswith("bike") else _ROAD_MIX)
        design = int(dice.unit(2) * DESIGNS[class_id])
        length = self._fleet.length(class_id, design)
        turn = 2 * math.pi * (time_s / dice.between(3, 5, 9) + dice.unit(4))
        room = {BICYCLE: 0.12, MOTORCYCLE: 0.45, CAR: 0.2}.get(class_id, 0.08)
        room = min(room, 0.12) if lane.role.startswith("bike") else room
        pedal = int((time_s * dice.between(5, 1.0, 1.5) + dice.unit(6)) * PEDAL_PHASES) % PEDAL_PHASES
        return Vehicle(
            class_id=class_id,
            design=design,
            x=lane.x + room * math.sin(turn),
            z=z + (length / 2 if lane.role == "lead" else 0.0),
            heading=lane.heading,
            drift=0.02 * math.cos(turn),
            phase=pedal if class_id == BICYCLE else 0,
        )


def _share_out(dice: Dice, lanes: tuple[Lane, ...], vehicles: int) -> list[Slot]:
    """Give the vehicles to the lanes, each next one to the lane that has the least for its weight."""
    counts = [0] * len(lanes)
    weights = [_WEIGHTS[lane.role] * dice.between(20 + i, 0.75, 1.25) for i, lane in enumerate(lanes)]
    for _ in range(vehicles):
        best = max(range(len(lanes)), key=lambda i: weights[i] / (counts[i] + 0.6))
        counts[best] += 1
    slots: list[Slot] = []
    for lane, count in zip(lanes, counts, strict=True):
        for index in range(count):
            slots.append(Slot(lane, len(slots), index, count))
    return slots
