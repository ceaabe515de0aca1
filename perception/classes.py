"""Which of a model's classes are vehicles: by name, from the model's own metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perception.errors import BackendError, SettingsError


def vehicle_ids(names: Mapping[int, str], wanted: Sequence[str], *, asked_for: bool) -> tuple[int, ...]:
    """The ids of the classes in `wanted`, rising.

    names: the model's own, by id. asked_for: `wanted` was set by the user, so each name must be in the model
    (SettingsError otherwise); the default names are taken as far as the model has them (BackendError for none).
    """
    here = {name.casefold() for name in names.values()}
    missing = [name for name in wanted if name.casefold() not in here]
    listed = ", ".join(list(names.values())[:20]) + (", ..." if len(names) > 20 else "")
    if missing and asked_for:
        raise SettingsError(f"classes: the model has no class {missing[0]!r}", f"It has: {listed}.")
    wished = {name.casefold() for name in wanted}
    found = sorted(number for number, name in names.items() if name.casefold() in wished)
    if not found:
        raise BackendError(
            f"The model has no vehicle class: none of {', '.join(wanted)}",
            f"Name its vehicle classes in the settings key `classes`; it has: {listed}.",
        )
    return tuple(found)
