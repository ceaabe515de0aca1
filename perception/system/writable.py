"""Checks before a run, without touching it, that a file or folder can be written."""

from __future__ import annotations

import os
from pathlib import Path

from perception.core.errors import BusyError, PilotError, SettingsError


def check_writable(flag: str, path: Path) -> None:
    """Raise SettingsError, naming the flag, for a path that this user may not write.

    BusyError where its folder is missing: its disk may not be mounted yet.
    """
    try:
        if not path.parent.is_dir():
            raise _without_folder(f"{flag} {path}", path.parent)
        writable = not path.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)
    except OSError:  # a name too long, a folder that this user may not search
        writable = False
    if not writable:
        raise SettingsError(f"{flag} {path} cannot be written by this user")


def _without_folder(what: str, folder: Path) -> PilotError:
    if folder.exists():
        return SettingsError(f"{what}: {folder} is no folder")
    return BusyError(f"{what}: the folder {folder} does not exist", "Create it, or mount its disk.")


def check_folder_writable(flag: str, path: Path) -> None:
    """Do as check_writable for a folder that is there or is to be made."""
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name too long
        check_writable(flag, path)
        if os.path.lexists(path):
            raise SettingsError(f"{flag} {path} is no folder")
    elif not os.access(path, os.W_OK | os.X_OK):
        raise SettingsError(f"{flag} {path} cannot be written by this user")
