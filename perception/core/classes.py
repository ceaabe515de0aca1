"""The vehicle classes of a model, found by name in the model's own metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from perception.core.errors import BackendError, SettingsError

SYNONYMS: tuple[frozenset[str], ...] = (
    frozenset(("bicycle", "bike", "cycle", "pedalcycle", "pushbike")),
    frozenset(("motorcycle", "motorbike", "motor", "moto")),
    frozenset(("car", "automobile")),
    frozenset(("bus", "autobus", "coach")),
    frozenset(("truck", "lorry")),
)
"""Other words of data sets (VisDrone, PASCAL VOC, MIO-TCD, ...) for the classes of COCO, as `folded` writes them."""
MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class Picked:
    """The classes of a model that count. ids: rising. lacking: wanted names that it has none of.

    other_words: the wanted name by id, for classes that the model calls otherwise.
    """

    ids: tuple[int, ...]
    lacking: tuple[str, ...]
    other_words: Mapping[int, str]

    def words(self, names: Mapping[int, str]) -> str:
        """Return which classes count and which are lacking, in a sentence."""
        counting = [
            f"{names[number]} (for {self.other_words[number]})" if number in self.other_words else names[number]
            for number in self.ids
        ]
        lacking = f"; the model has no {listed(self.lacking)}" if self.lacking else ""
        return f"Vehicles are {listed(counting)}{lacking}"


def folded(name: str) -> str:
    """Return a name as it is compared: upper case, spaces, hyphens and underscores do not count."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def listed(names: Iterable[str]) -> str:
    """Return names in a row, of many the first ones."""
    known = list(names)
    return ", ".join(known[:MOST_LISTED]) + (", ..." if len(known) > MOST_LISTED else "")


def pick(names: Mapping[int, str], wanted: Sequence[str]) -> Picked:
    """Return the classes of a model (its own names by id) that `wanted` names, or a synonym where it has not the word.

    Every class of one name counts.
    """
    found: set[int] = set()
    other_words: dict[int, str] = {}
    lacking = []
    for name in dict.fromkeys(wanted):
        same = {number for number, own in names.items() if folded(own) == folded(name)}
        if not same:
            group = next((group for group in SYNONYMS if folded(name) in group), frozenset[str]())
            same = {number for number, own in names.items() if folded(own) in group}
            other_words |= dict.fromkeys(same, name)
        if not same:
            lacking.append(name)
        found |= same
    return Picked(tuple(sorted(found)), tuple(lacking), other_words)


def vehicle_ids(names: Mapping[int, str], wanted: Sequence[str], *, asked_for: bool) -> tuple[int, ...]:
    """Return the ids of the classes in `wanted`, rising.

    names: the model's own, by id. asked_for: `wanted` was set by the user, so each name must be in the model
    (SettingsError otherwise); the default names are taken as far as the model has them (BackendError for none).
    """
    picked = pick(names, wanted)
    if picked.lacking and asked_for:
        raise SettingsError(
            f"classes: the model has no class {picked.lacking[0]!r}", f"It has: {listed(names.values())}."
        )
    if not picked.ids:
        raise BackendError(
            f"The model has no vehicle class: none of {', '.join(wanted)}",
            f"Name its vehicle classes in the settings key `classes`; it has: {listed(names.values())}.",
        )
    return picked.ids
