"""Writes the chosen frames as a set: whole, or not at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from perception.core.errors import SourceError
from perception.system.trusted_file import sync
from perception.workshop.calibration import listing
from perception.workshop.calibration.listing import HELD_OUT, IMAGES, Entry, Manifest
from perception.workshop.calibration.looking import Look
from perception.workshop.calibration.place import Place, install, staging, told
from perception.workshop.calibration.reading import Shot, Source

JPEG_QUALITY = 95
KEPT_AS_THEY_ARE = frozenset({".jpeg", ".jpg", ".png"})
"""Files of these kinds are copied: another compression would add its own noise."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is written: looks in their order, and what the manifest tells besides."""

    images: Sequence[Look]
    held_out: Sequence[Look]
    sources: Sequence[Mapping[str, Any]]
    choice: Mapping[str, Any]


def write_set(
    sources: Sequence[Source],
    chosen: Chosen,
    place: Place,
    suffix: str,
    turn: Callable[[], None],
    wrote: Callable[[], None],
) -> int:
    """Writes the set beside its place and moves it there in one step; gives the bytes it takes.

    suffix: .jpg or .png, for frames of clips. turn: called for each frame that goes by; what it raises ends the work.
    wrote: called for each picture. Raises SettingsError, with the cure, where the disk is in the way, and SourceError
    where a source has changed since it was looked at. Whatever is raised, what was there before is untouched.
    """
    with told(place), staging(place) as made:
        size = _write_into(made, sources, chosen, suffix, turn, wrote)
        install(made, place)
    return size


def _write_into(
    folder: Path,
    sources: Sequence[Source],
    chosen: Chosen,
    suffix: str,
    turn: Callable[[], None],
    wrote: Callable[[], None],
) -> int:
    stems = _stems(sources, chosen)
    for part in (IMAGES, HELD_OUT):
        (folder / part).mkdir()
    entries: dict[tuple[int, int], Entry] = {}
    size = 0
    for number, source in enumerate(sources):
        for shot in _shots(source, {frame for of, frame in stems if of == number}, turn):
            data, kind = _encoded(shot, suffix)
            path = folder / f"{stems[number, shot.number]}{kind}"
            path.write_bytes(data)
            sync(path)
            name, sha256 = path.relative_to(folder).as_posix(), hashlib.sha256(data).hexdigest()
            entries[number, shot.number] = Entry(name, sha256, number, shot.number, shot.time_s)
            size += len(data)
            wrote()
    _write_manifest(folder, chosen, entries)
    return size


def _stems(sources: Sequence[Source], chosen: Chosen) -> dict[tuple[int, int], str]:
    """The path of each picture in the set, less its suffix, by source and frame.

    Its place comes first, so that sorting by name keeps the order of choice: every beginning is a spread set, too.
    """
    stems: dict[tuple[int, int], str] = {}
    for part, looks in ((IMAGES, chosen.images), (HELD_OUT, chosen.held_out)):
        for place, look in enumerate(looks):
            plain = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(sources[look.source].name).stem)[:40]
            stems[look.source, look.frame] = f"{part}/{place:05d}_{plain}_{look.frame:06d}"
    return stems


def _shots(source: Source, wanted: set[int], turn: Callable[[], None]) -> Iterator[Shot]:
    """The wanted frames; reads no further than the last of them. SourceError where one is not there any more."""
    missing = set(wanted)
    if missing:
        for shot in source.shots(lambda number: number in wanted, lambda _: turn()):
            if shot.image is None:
                break
            missing.discard(shot.number)
            yield shot
            if not missing:
                return
        if missing:
            raise SourceError(
                f"{source.name} has changed while it was read: frame {min(missing)} is gone", "Try again."
            )


def _encoded(shot: Shot, suffix: str) -> tuple[bytes, str]:
    """The bytes of an image file, and the suffix of its name."""
    if shot.path is not None and shot.path.suffix.lower() in KEPT_AS_THEY_ARE:
        return shot.path.read_bytes(), shot.path.suffix.lower()
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    return cv2.imencode(suffix, shot.image, options)[1].tobytes(), suffix  # type: ignore[arg-type]


def _write_manifest(folder: Path, chosen: Chosen, entries: Mapping[tuple[int, int], Entry]) -> None:
    images, held_out = (
        tuple(entries[look.source, look.frame] for look in looks) for looks in (chosen.images, chosen.held_out)
    )
    path = folder / listing.NAME
    path.write_text(Manifest(images, held_out, chosen.sources, chosen.choice).text, encoding="utf-8")
    for written in (path, folder / IMAGES, folder / HELD_OUT, folder):
        sync(written)
