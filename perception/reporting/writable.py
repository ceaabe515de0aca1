"""Whether a file that a run is to write can be written, told before the run and without touching it."""

from __future__ import annotations

import os
from pathlib import Path

from perception.errors import SettingsError


def check_writable(flag: str, path: Path) -> None:
    """Raises SettingsError, naming the flag, for a path whose folder is missing or that this user may not write."""
    if not path.parent.is_dir():
        raise SettingsError(f"{flag} {path}: the folder {path.parent} does not exist", "Create it first.")
    try:
        writable = not path.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)
    except OSError:  # a name too long, a loop of links
        writable = False
    if not writable:
        raise SettingsError(f"{flag} {path} cannot be written by this user")
