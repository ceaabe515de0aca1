"""Writes the chosen frames as a set, whole or not at all."""

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
from perception.workshop.calibration import manifest
from perception.workshop.calibration.manifest import HELD_OUT, IMAGES, Entry, Manifest
from perception.workshop.calibration.reading import Source, SourceFrame
from perception.workshop.calibration.scanning import FrameCandidate
from perception.workshop.calibration.set_paths import SetPaths, as_settings_error, install, staging

JPEG_QUALITY = 95
KEPT_AS_THEY_ARE = frozenset({".jpeg", ".jpg", ".png"})
"""Files of these kinds are copied: another compression would add its own noise."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The candidates to write, in their order, and further facts for the manifest."""

    images: Sequence[FrameCandidate]
    held_out: Sequence[FrameCandidate]
    sources: Sequence[Mapping[str, Any]]
    choice: Mapping[str, Any]


def write_set(
    sources: Sequence[Source],
    chosen: Chosen,
    paths: SetPaths,
    suffix: str,
    check_stop: Callable[[], None],
    wrote: Callable[[], None],
) -> int:
    """Write the set beside its place, move it there in one step, and return its size in bytes.

    suffix: .jpg or .png, for frames of clips. check_stop: called for each frame that is read; what it raises ends the
    work. wrote: called for each picture. Raises SettingsError, with the cure, where the disk is in the way, and
    SourceError where a source has changed since it was scanned. Whatever is raised, the set before it is untouched.
    """
    with as_settings_error(paths), staging(paths) as made:
        size = _write_into(made, sources, chosen, suffix, check_stop, wrote)
        install(made, paths)
    return size


def _write_into(
    folder: Path,
    sources: Sequence[Source],
    chosen: Chosen,
    suffix: str,
    check_stop: Callable[[], None],
    wrote: Callable[[], None],
) -> int:
    stems = _stems(sources, chosen)
    for part in (IMAGES, HELD_OUT):
        (folder / part).mkdir()
    entries: dict[tuple[int, int], Entry] = {}
    size = 0
    for number, source in enumerate(sources):
        for frame in _wanted_frames(source, {frame for of, frame in stems if of == number}, check_stop):
            data, kind = _encoded(frame, suffix)
            path = folder / f"{stems[number, frame.number]}{kind}"
            path.write_bytes(data)
            sync(path)
            name, sha256 = path.relative_to(folder).as_posix(), hashlib.sha256(data).hexdigest()
            entries[number, frame.number] = Entry(name, sha256, number, frame.number, frame.time_s)
            size += len(data)
            wrote()
    _write_manifest(folder, chosen, entries)
    return size


def _stems(sources: Sequence[Source], chosen: Chosen) -> dict[tuple[int, int], str]:
    """Return the path of each picture in the set, without its suffix, by source and frame.

    Its place comes first, so that sorting by name keeps the order of choice: every beginning is a spread set, too.
    """
    stems: dict[tuple[int, int], str] = {}
    for part, candidates in ((IMAGES, chosen.images), (HELD_OUT, chosen.held_out)):
        for place, candidate in enumerate(candidates):
            plain = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(sources[candidate.source].name).stem)[:40]
            stems[candidate.source, candidate.frame] = f"{part}/{place:05d}_{plain}_{candidate.frame:06d}"
    return stems


def _wanted_frames(source: Source, wanted: set[int], check_stop: Callable[[], None]) -> Iterator[SourceFrame]:
    """Yield the wanted frames; read no further than the last of them. SourceError where one is gone."""
    missing = set(wanted)
    if missing:
        for frame in source.frames(lambda number: number in wanted, lambda _: check_stop()):
            if frame.image is None:
                break
            missing.discard(frame.number)
            yield frame
            if not missing:
                return
        if missing:
            raise SourceError(
                f"{source.name} has changed while it was read: frame {min(missing)} is gone", "Try again."
            )


def _encoded(frame: SourceFrame, suffix: str) -> tuple[bytes, str]:
    """Return the bytes of an image file, and the suffix of its name."""
    if frame.path is not None and frame.path.suffix.lower() in KEPT_AS_THEY_ARE:
        return frame.path.read_bytes(), frame.path.suffix.lower()
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    return cv2.imencode(suffix, frame.image, options)[1].tobytes(), suffix  # type: ignore[arg-type]


def _write_manifest(folder: Path, chosen: Chosen, entries: Mapping[tuple[int, int], Entry]) -> None:
    images, held_out = (
        tuple(entries[candidate.source, candidate.frame] for candidate in candidates)
        for candidates in (chosen.images, chosen.held_out)
    )
    path = folder / manifest.NAME
    path.write_text(Manifest(images, held_out, chosen.sources, chosen.choice).text, encoding="utf-8")
    for written in (path, folder / IMAGES, folder / HELD_OUT, folder):
        sync(written)
