"""manifest.json of a calibration set: the origin of each picture and the hash of each file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from perception.core.errors import SettingsError

NAME = "manifest.json"
SCHEMA = 1
IMAGES, HELD_OUT = "images", "held_out"
REBUILD = "python3 scripts/build_calibration_set.py VIDEO... --force"
MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture. file: relative to the folder of the manifest. source: place in `Manifest.sources`.

    frame: its number in the clip, or in the sorted folder, from 0. time_s: from the start of a clip, None in a folder.
    """

    file: str
    sha256: str
    source: int
    frame: int
    time_s: float | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole set. images: to calibrate on. held_out: of the same clips, to judge the engine on.

    sources: of each clip or folder its name and what it gave. choice: how the pictures were chosen.
    """

    images: tuple[Entry, ...]
    held_out: tuple[Entry, ...]
    sources: Sequence[Mapping[str, Any]]
    choice: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The file's text: the same set gives the same bytes."""
        parts = {
            "schema": SCHEMA,
            "choice": dict(self.choice),
            "sources": [dict(source) for source in self.sources],
            IMAGES: [asdict(entry) for entry in self.images],
            HELD_OUT: [asdict(entry) for entry in self.held_out],
        }
        return json.dumps(parts, indent=1) + "\n"


def parse(path: Path, data: bytes) -> Manifest:
    """Parse the bytes of the file at `path`. Raises SettingsError, with the cure, for anything else."""
    try:
        values = json.loads(data)
        if values["schema"] != SCHEMA:
            raise ValueError(f"its schema is {values['schema']!r}, not {SCHEMA}")
        images, held_out = ([_entry(one) for one in values[name]] for name in (IMAGES, HELD_OUT))
        return Manifest(tuple(images), tuple(held_out), values["sources"], values["choice"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise SettingsError(
            f"{path} is no manifest of a calibration set ({' '.join(reason.split())[:200]})",
            f"Build the set again: {REBUILD}",
        ) from None


def _entry(values: Mapping[str, Any]) -> Entry:
    entry = Entry(**values)
    place = PurePosixPath(entry.file)
    if place.is_absolute() or ".." in place.parts:
        raise ValueError(f"{entry.file!r} lies outside the set")
    if not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
        raise ValueError(f"{entry.sha256!r} is no sha256")
    return entry
