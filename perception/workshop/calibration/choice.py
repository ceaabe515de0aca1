"""Chooses the pictures of a set: different from one another, sharp, with vehicles, spread over clips and over time.

Sources take turns, each with its next frame in an order that spreads every beginning of itself over the whole source.
A frame that does not pass the filters waits. When no more frames pass, the filters are relaxed by a step, and those
that waited are asked again, until there are enough.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perception.workshop.calibration.scanning import FrameCandidate

PERIOD_S = 30.0
MOST_PERIODS = 8
ZONE_EXCESS = 1.5
"""Zones for held-out frames are larger than their share, as not every frame in them passes the filters."""
GUARD_S = 1.0


@dataclass(frozen=True, slots=True)
class Filters:
    """difference: mean over a thumbnail, in grey levels, by which a frame must differ from every one chosen.

    sharpness: least share of the median of its source. empty: True where a frame without a vehicle may be chosen.
    """

    difference: float
    sharpness: float
    empty: bool

    def __str__(self) -> str:
        if not self.difference:
            return "any frame at all"
        empty = "empty or not" if self.empty else "not empty"
        return f"differing by {self.difference:g}/255, {self.sharpness:.0%} of the usual sharpness, {empty}"


# On the dashcam clips that this was tried on, frames 4 grey levels apart are some 0.4 s apart; photographs of different
# scenes differ by 50. A third of the usual sharpness is what a hard shake leaves.
STEPS = (
    Filters(4.0, 0.35, False),
    Filters(2.0, 0.35, False),
    Filters(2.0, 0.15, False),
    Filters(1.0, 0.15, True),
    Filters(0.0, 0.0, True),
)
STRICT_STEPS = 3
"""The number of steps that are tried in the zones for held-out frames, before other frames are taken."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Places in the list of candidates, in the order of choice, so that every beginning of it is spread, too.

    by_step: how many of the chosen passed at each of STEPS. duplicates, blurred, empty: how many of those that were not
    chosen do not pass the first step, by reason; one may count for several, and empty is only what was looked at.
    """

    chosen: tuple[int, ...]
    held_out: tuple[int, ...]
    by_step: tuple[int, ...]
    duplicates: int
    blurred: int
    empty: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """The numbers of images to choose and to hold out. The same candidates and seed give the same choice."""

    images: int
    held_out: int
    seed: int


def choose(
    candidates: Sequence[FrameCandidate],
    wanted: Wanted,
    is_empty: Callable[[FrameCandidate], bool] | None = None,
    took: Callable[[], None] = lambda: None,
) -> Choice:
    """Choose as many images as are wanted where there are as many, and as many to be held out as then remain.

    Of fewer candidates than the images that are wanted, both get their share. Held-out frames lie in zones of their own
    in time, from which the others are taken only when all else is used up. is_empty: True for a frame without a
    vehicle, None without a model; it is asked only of those about to be chosen. took: called for each frame
    that is chosen.
    """
    pool = _Pool(candidates, is_empty, took)
    dice = random.Random(wanted.seed)
    by_source = [pool.of_source(source) for source in sorted({candidate.source for candidate in candidates})]
    count, share = wanted.images, wanted.held_out / (wanted.images + wanted.held_out)
    zones = [_zone(candidates, places, share, dice) for places in by_source]
    spread = [_spread(places, dice) for places in by_source]
    core = [[place for place in order if zone.get(place)] for order, zone in zip(spread, zones)]
    inside = [[place for place in order if place in zone] for order, zone in zip(spread, zones)]
    outside = [[place for place in order if place not in zone] for order, zone in zip(spread, zones)]

    if len(candidates) < count:
        count = len(candidates) - int(len(candidates) * share)
    aside_count = min(wanted.held_out, len(candidates) - count)
    aside = pool.pick(core, aside_count, STRICT_STEPS)
    picked = pool.pick(outside, count)
    picked += pool.pick(inside, count - len(picked))
    for orders in (inside, outside):
        aside += pool.pick(orders, aside_count - len(aside))
    by_step = tuple(sum(step == number for _, step in picked) for number in range(len(STEPS)))
    chosen, kept_aside = (tuple(place for place, _ in part) for part in (picked, aside))
    return Choice(chosen, kept_aside, by_step, *pool.passed_over())


def _zone(
    candidates: Sequence[FrameCandidate], places: Sequence[int], share: float, dice: random.Random
) -> dict[int, bool]:
    """Return the part of a source where held-out frames are taken from: one run of frames in each period.

    With each place True if it is in the core of its run. The edges are left out as long as there is choice, so that
    a held-out frame is not a neighbour of a chosen one.
    """
    lasts_s = candidates[places[-1]].time_s
    guard = 0 if not lasts_s else round(GUARD_S * len(places) / lasts_s)
    zone: dict[int, bool] = {}
    for period in np.array_split(np.asarray(places), _periods(len(places), lasts_s)):
        length = round(len(period) * min(share * ZONE_EXCESS, 0.5))
        start = int(dice.random() * (len(period) - length + 1))
        edge = min(guard, length // 4)
        for number in range(length):
            zone[int(period[start + number])] = edge <= number < length - edge
    return zone


def _periods(count: int, lasts_s: float | None) -> int:
    """Return one for each PERIOD_S of a clip; for a folder, which has no time, one for 20 images."""
    wanted = count // 20 if lasts_s is None else int(lasts_s // PERIOD_S)
    return min(max(wanted, 1), MOST_PERIODS)


def _spread(places: Sequence[int], dice: random.Random) -> list[int]:
    """Return the places in an order whose every beginning is spread evenly: van der Corput's, from a random start.

    J. G. van der Corput, Verteilungsfunktionen, 1935: number k comes at the place of k with its bits reversed.
    """
    bits = max(len(places) - 1, 1).bit_length()
    order = [int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits)]
    shift = int(dice.random() * len(places))
    return [places[(number + shift) % len(places)] for number in order if number < len(places)]


class _Pool:
    """The candidates, and how far each is from everything taken so far."""

    def __init__(
        self,
        candidates: Sequence[FrameCandidate],
        is_empty: Callable[[FrameCandidate], bool] | None,
        took: Callable[[], None],
    ) -> None:
        self._candidates = candidates
        self._ask = is_empty
        self._took = took
        self._empty: dict[int, bool] = {}
        self._small = np.stack([candidate.small.ravel() for candidate in candidates]).astype(np.int16)
        self._nearest: npt.NDArray[np.float64] = np.full(len(candidates), np.inf)
        self._taken = np.zeros(len(candidates), bool)
        self._sharpness = self._relative_sharpness()

    def _relative_sharpness(self) -> npt.NDArray[np.float64]:
        """Return the sharpness of each candidate relative to the median of its source."""
        sharpness = np.array([candidate.sharpness for candidate in self._candidates])
        sources = np.array([candidate.source for candidate in self._candidates])
        for source in np.unique(sources):
            own = sources == source
            sharpness[own] /= max(float(np.median(sharpness[own])), 1e-9)
        return sharpness

    def of_source(self, source: int) -> list[int]:
        """Return the places of a source, in order of time."""
        return [place for place, candidate in enumerate(self._candidates) if candidate.source == source]

    def pick(self, orders: Sequence[Sequence[int]], count: int, steps: int = len(STEPS)) -> list[tuple[int, int]]:
        """Take up to `count` places, one of each source in turn; return each with the step of STEPS it passed at.

        steps: how many of STEPS are tried.
        """
        picked: list[tuple[int, int]] = []
        for number, filters in enumerate(STEPS[:steps]):
            queues = [iter([place for place in order if not self._taken[place]]) for order in orders]
            while queues and len(picked) < count:
                for queue in queues[:]:
                    if len(picked) == count:
                        break
                    place = next((place for place in queue if self._passes(place, filters)), None)
                    if place is None:
                        queues.remove(queue)
                        continue
                    self._take(place)
                    picked.append((place, number))
        return picked

    def _passes(self, place: int, filters: Filters) -> bool:
        return bool(
            self._nearest[place] >= filters.difference
            and self._sharpness[place] >= filters.sharpness
            and (filters.empty or not self._is_empty(place))
        )

    def _is_empty(self, place: int) -> bool:
        if self._ask is None:
            return False
        if place not in self._empty:
            self._empty[place] = self._ask(self._candidates[place])
        return self._empty[place]

    def _take(self, place: int) -> None:
        self._taken[place] = True
        self._took()
        differences = np.abs(self._small - self._small[place]).mean(axis=1)
        np.minimum(self._nearest, differences, out=self._nearest)

    def passed_over(self) -> tuple[int, int, int]:
        """Return how many of those not taken are near-duplicates, blurred, empty."""
        strict, left = STEPS[0], ~self._taken
        return (
            int(np.sum(left & (self._nearest < strict.difference))),
            int(np.sum(left & (self._sharpness < strict.sharpness))),
            sum(empty and not self._taken[place] for place, empty in self._empty.items()),
        )
