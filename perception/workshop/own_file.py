"""Lets a command write over its own files alone. Each carries a mark by which the command knows it again."""

from __future__ import annotations

import sys
from pathlib import Path

from perception.core.errors import SettingsError
from perception.system.plain_file import open_plain
from perception.system.writable import check_writable

HEAD_BYTES = 4096
"""The mark stands within the first bytes of a file."""


def mark() -> str:
    """Return the mark of the files of the command that runs."""
    return f"vehicle-pilot {Path(sys.argv[0]).name}"


def check_own(flag: str, path: Path | None) -> Path | None:
    """Return the path. Raises PilotError where it cannot be written, or names a file that this command did not write.

    So no input can be named, either. None is no file at all; devices, pipes and empty files hold nothing to lose.
    """
    if path is None:
        return None
    check_writable(flag, path)
    if path.is_file() and path.stat().st_size:
        with open_plain(path, SettingsError) as file:
            head = file.read(HEAD_BYTES)
        if mark().encode() not in head:
            raise SettingsError(
                f"{flag} {path} is there already, and was not written by this command", "Name another file."
            )
    return path


def check_json(path: Path | None) -> Path | None:
    """As check_own, for the option --json."""
    return check_own("--json", path)
