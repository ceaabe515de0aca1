"""Reloads the settings while the pilot runs; what cannot change then waits for the next start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from loguru import logger

from perception.core.errors import GpuError, PilotError
from perception.settings.model import Settings


class Part(Protocol):
    """A part of the pilot that applies new settings while it runs.

    Raises PilotError, and keeps the old ones, where it cannot.
    """

    def apply(self, settings: Settings) -> None: ...


class LiveSettings:
    """The current settings, and the way to read them again."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        """read: the settings as file and flags have them at that moment. Raises SettingsError."""
        self.now = settings
        self._read = read

    def read_again(self, parts: Sequence[Part]) -> None:
        """Pass changed settings to the parts, in order, and log what changed, or why nothing did."""
        try:
            wanted = self._read()
            settings = _carry_over(self.now, wanted)
            self._hand_out(settings, parts)
        except GpuError:
            raise  # not a fault of the settings, and the next frame would fail, too
        except PilotError as fault:
            logger.error(f"The settings stay as they were: {'; '.join(str(fault).splitlines())}")
            return
        changed, pending = _differences(self.now, settings), _differences(settings, wanted)
        self.now = settings
        logger.info(f"Settings read again: {', '.join(changed) or 'nothing'} changed")
        if pending:
            logger.warning(f"takes effect at the next start: {', '.join(pending)}")

    def _hand_out(self, settings: Settings, parts: Sequence[Part]) -> None:
        try:
            for part in parts:
                part.apply(settings)
        except PilotError:
            for part in parts:
                part.apply(self.now)
            raise


def _carry_over(old: Settings, new: Settings) -> Settings:
    """Return the old settings with those new values that can change while the pilot runs."""
    model = {key: getattr(new.model, key) for key in ("conf", "iou")}
    log = {key: getattr(new.log, key) for key in ("level", "summary_s", "records")}
    return old.model_copy(
        update={
            "source": new.source,
            "classes": new.classes,
            "model": old.model.model_copy(update=model),
            "log": old.log.model_copy(update=log),
        }
    )


def _differences(one: Settings, other: Settings) -> list[str]:
    """Return the dotted keys whose values differ."""
    values = dict(_leaves(other.model_dump()))
    return [key for key, value in _leaves(one.model_dump()) if value != values[key]]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
