"""Reads a calibration set, whole and unchanged, or says what is wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from loguru import logger

from perception.backends.trusted_file import reason_of, sha256_of
from perception.camera.uri import IMAGE_SUFFIXES
from perception.errors import SettingsError
from perception.workshop.calibration import listing
from perception.workshop.calibration.listing import HELD_OUT, IMAGES, REBUILD, Entry

BUILD = "Build one: python3 scripts/build_calibration_set.py VIDEO..."
ENOUGH = 300
LEAST = 100
NAMED = 3
"""How many files a message names."""


@dataclass(frozen=True)
class CalibrationSet:
    """Pictures to calibrate on, sorted by name, and the ones held out to judge the engine on.

    root: the folder of the set. manifest_sha256: of manifest.json; without one, of names and contents in order.
    """

    root: Path
    images: tuple[Path, ...]
    manifest_sha256: str
    held_out: tuple[Path, ...] = ()


def read_set(data: Path) -> CalibrationSet:
    """The set that `data` names: a file such as config/calibration.yaml, or a folder of images.

    A file is of ultralytics' dataset format; of one made elsewhere `train` is taken, or else `val`. Where the set has a
    manifest, every file is compared with it. Raises SettingsError, with the cure, for a set that is not there, is empty
    or is not what its manifest says; files that were changed, are missing or were added are named.
    """
    try:
        if data.is_dir():
            return _read_folder(data)
        if not data.exists():
            raise SettingsError(f"There is no calibration set: {data} does not exist", BUILD)
        if data.suffix.lower() not in (".yaml", ".yml"):
            raise SettingsError(
                f"{data} is neither a data set (.yaml) nor a folder of images", "Name one of them with --data."
            )
        return _read_yaml(data)
    except OSError as error:
        raise SettingsError(f"{error.filename or data} cannot be read: {reason_of(error)}", "Check the path.") from None


def minimum(count: int, force: bool) -> None:
    """Warns of a set of fewer than ENOUGH images. SettingsError for fewer than LEAST, unless `force`."""
    if count < LEAST and not force:
        raise SettingsError(
            f"A set of {count} images is too small to calibrate on: it takes at least {LEAST}, better {ENOUGH}",
            "Draw more, from more clips (scripts/build_calibration_set.py), or go on with --force: accuracy suffers.",
        )
    if count < ENOUGH:
        logger.warning(
            f"A set of {count} images is small: accuracy may suffer below {ENOUGH}. Draw more, from more clips."
        )


def _read_folder(folder: Path) -> CalibrationSet:
    if os.path.lexists(folder / listing.NAME):
        return _read_manifest(folder / listing.NAME)
    if folder.name == IMAGES and os.path.lexists(folder.parent / listing.NAME):
        return _read_manifest(folder.parent / listing.NAME)
    return _undescribed(folder, images_in(folder))


def _read_yaml(data: Path) -> CalibrationSet:
    values = read_data_set(data)
    root = root_of(data, values)
    if named := values.get("manifest"):
        path = root / _text(data, "manifest", named)
        if not path.exists():
            raise SettingsError(f"There is no calibration set: {path}, which {data} names, does not exist", BUILD)
        return _read_manifest(path)
    split = next((name for name in ("train", "val") if values.get(name)), None)
    if split is None:
        raise SettingsError(f"{data} names no images", "Write `train: FOLDER`, as ultralytics' data sets have it.")
    places = values[split] if isinstance(values[split], list) else [values[split]]
    images = [image for place in places for image in images_at(data, root / _text(data, split, place))]
    return _undescribed(root, sorted(set(images)))


def read_data_set(data: Path) -> Mapping[str, Any]:
    """The keys of a data set. Not as settings are read: here class numbers are keys, too."""
    try:
        values = yaml.safe_load(data.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"{data} cannot be read as YAML ({reason})", "Mend it, or build a set anew.") from None
    if not isinstance(values, dict):
        raise SettingsError(
            f"{data} describes no data set", "Write `train: FOLDER`, as ultralytics' data sets have it."
        )
    return values


def root_of(data: Path, values: Mapping[str, Any]) -> Path:
    """What the paths of a data set start from: its `path`, itself from the file's folder or from here."""
    beside = data.parent
    if not values.get("path"):
        return beside
    given = Path(_text(data, "path", values["path"]))
    return next((place for place in (beside / given, given) if place.is_dir()), beside / given)


def _text(data: Path, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise SettingsError(f"{data}: {key} is {value!r}, not a path", "Write the path of a folder of images.")
    return value


def images_at(data: Path, place: Path) -> list[Path]:
    """The images of one entry of a data set: a folder, an image, or a .txt with a path on each line."""
    if place.is_dir():
        return images_in(place)
    if not place.exists():
        raise SettingsError(f"{place}, which {data} names, does not exist", "Mend the path in the file.")
    if place.suffix != ".txt":
        return [place]
    lines = [line.strip() for line in place.read_text(encoding="utf-8", errors="replace").splitlines()]
    return [place.parent / line for line in lines if line]


def images_in(folder: Path) -> list[Path]:
    """The images in a folder and the folders in it, sorted by name; hidden ones are left out."""
    found = []
    for top, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(top, name) for name in files if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)


def _raise(error: OSError) -> None:
    raise error


def _undescribed(root: Path, images: Sequence[Path]) -> CalibrationSet:
    if not images:
        raise SettingsError(
            f"{root} holds no images (looked for {' '.join(sorted(IMAGE_SUFFIXES))})",
            "Name a folder of images, or build a set: python3 scripts/build_calibration_set.py VIDEO...",
        )
    whole = hashlib.sha256()
    for path in images:
        whole.update(f"{os.path.relpath(path, root)}\0{sha256_of(path)}\n".encode(errors="surrogateescape"))
    return CalibrationSet(root, tuple(images), whole.hexdigest())


def _read_manifest(path: Path) -> CalibrationSet:
    """The set beside a manifest, every file of it compared."""
    if path.stat().st_size > listing.MAX_BYTES:
        raise SettingsError(f"{path} is too large for a manifest", f"Build the set again: {REBUILD}")
    data = path.read_bytes()
    root = path.parent
    manifest = listing.parse(path, data)
    entries = (*manifest.images, *manifest.held_out)
    there = {image for part in (IMAGES, HELD_OUT) if (root / part).is_dir() for image in images_in(root / part)}
    _refuse_differences(root, entries, there)
    if not manifest.images:
        raise SettingsError(f"{path} lists no images", f"Build the set again: {REBUILD}")
    images, held_out = (tuple(sorted(root / one.file for one in part)) for part in (manifest.images, manifest.held_out))
    return CalibrationSet(root, images, hashlib.sha256(data).hexdigest(), held_out)


def _refuse_differences(root: Path, entries: Iterable[Entry], there: set[Path]) -> None:
    listed = {root / entry.file: entry.sha256 for entry in entries}
    faults = {
        "missing": sorted(path for path in listed if path not in there),
        "added": sorted(there - set(listed)),
        "changed": sorted(path for path, sha256 in listed.items() if path in there and sha256_of(path) != sha256),
    }
    said = [f"{len(paths)} {word}: {_some(root, paths)}" for word, paths in faults.items() if paths]
    if said:
        raise SettingsError(
            f"The calibration set in {root} is not the one of its manifest ({'; '.join(said)})",
            f"Build it again: {REBUILD}",
        )


def _some(root: Path, paths: Sequence[Path]) -> str:
    names = [str(path.relative_to(root)) for path in paths[:NAMED]]
    return ", ".join(names) + (", ..." if len(paths) > NAMED else "")
