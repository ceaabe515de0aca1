"""Protects footage: a flag that names a file that exists is refused, and one that names the source itself always."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perception.camera.uri import SourceUri, parse
from perception.core.errors import SettingsError, SourceError
from perception.reporting.output_file import claim
from perception.settings.model import Settings
from perception.system.lock import Lock

OVERWRITE = "record.overwrite"


def protect(settings: Settings, flags: Mapping[str, tuple[str, Any]]) -> None:
    """Refuse a run that would overwrite files which are not its own.

    Raises SettingsError, and BusyError where another pilot writes them.

    flags: as for config.load. A file that a flag names goes with --overwrite alone, whatever the settings say.
    """
    source = parsed(settings.source.uri)
    footage = Path(source.target) if source and source.scheme in ("file", "images") else None
    written = {"record.path": settings.record.path, "record.truth": settings.record.truth}
    for key, path in written.items():
        if path is None:
            continue
        flag, value = flags.get(key, (key, None))
        name = f"{flag if value is not None else key} {path}"
        _refuse_source(name, path, footage)
        if value is not None and _is_file(path) and not flags.get(OVERWRITE, ("", None))[1]:
            _refuse_busy(path, flag)
            raise SettingsError(f"{name} is there already, and is kept", "Name another file, or add --overwrite.")
    if settings.record.path and settings.record.path == settings.record.truth:
        raise SettingsError(f"record.path and record.truth are both {settings.record.path}", "Name two files.")


def parsed(uri: str) -> SourceUri | None:
    """Return the source that a URI names; None for a wrong URI, which is told where the source is opened."""
    try:
        return parse(uri)
    except SourceError:
        return None


def _refuse_source(name: str, path: Path, source: Path | None) -> None:
    """Raise SettingsError where `path` is the source, also by a link, or a folder that would delete it in time."""
    if source is None:
        return
    if _is_same(path, source) and _is_file(path):
        raise SettingsError(f"{name} is the source itself", "Name another file: a source is never overwritten.")
    origin = Path(os.path.realpath(source))
    if not _is_same(path, origin.parent):
        return
    from perception.reporting.recording.segment_folder import is_segment  # what only a run that records needs

    if is_segment(origin.name):
        raise SettingsError(
            f"{name} holds the source {origin.name}, and its oldest segments are deleted in time",
            "Name another folder, or move the source out of it.",
        )


def _refuse_busy(path: Path, flag: str) -> None:
    """Raise BusyError where another pilot writes the file at this moment: it may be gone at the next start."""
    lock = Lock()
    claim(lock, path, f"Give {flag} another name.")
    lock.release()


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for a name too long, which its writer tells


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them is not there, or no name
        return False
