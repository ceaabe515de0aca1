"""A calibration set, read whole and compared with its manifest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from perception.camera.images import some, tell_left_out
from perception.camera.uri import IMAGE_SUFFIXES
from perception.core.errors import SettingsError
from perception.system.plain_file import read_plain, reason_of
from perception.system.trusted_file import sha256_of
from perception.workshop.calibration import manifest
from perception.workshop.calibration.manifest import HELD_OUT, IMAGES, REBUILD, Entry
from perception.workshop.data_set import files_in, images_in, read_data_set

BUILD = "Build one: python3 scripts/build_calibration_set.py VIDEO..."
ENOUGH = 300
LEAST = 100


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
    """Read the set that `data` names: a file such as config/calibration.yaml, or a folder of images.

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
    """Warn of a set of fewer than ENOUGH images. SettingsError for fewer than LEAST, unless `force`."""
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
    if os.path.lexists(folder / manifest.NAME):
        return _read_manifest(folder / manifest.NAME)
    if folder.name == IMAGES and os.path.lexists(folder.parent / manifest.NAME):
        return _read_manifest(folder.parent / manifest.NAME)
    files = files_in(folder)
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if images:
        tell_left_out(folder, sorted(set(files) - set(images)))
    return _undescribed(folder, images)


def _read_yaml(data: Path) -> CalibrationSet:
    found = read_data_set(data)
    if named := found.values.get("manifest"):
        path = found.place("manifest", named)
        if not path.exists():
            raise SettingsError(f"There is no calibration set: {path}, which {data} names, does not exist", BUILD)
        return _read_manifest(path)
    split = next((name for name in ("train", "val") if found.has(name)), None)
    if split is None:
        raise SettingsError(f"{data} names no images", "Write `train: FOLDER`, as ultralytics' data sets have it.")
    return _undescribed(found.root, found.images(split))


def _undescribed(root: Path, images: Sequence[Path]) -> CalibrationSet:
    """Return the set of images without a manifest. Those that cannot be opened are left out, with a warning."""
    if not images:
        raise SettingsError(
            f"{root} holds no images (looked for {' '.join(sorted(IMAGE_SUFFIXES))})",
            "Name a folder of images, or build a set: python3 scripts/build_calibration_set.py VIDEO...",
        )
    whole, good, bad = hashlib.sha256(), [], []
    for path in images:
        try:
            line = f"{os.path.relpath(path, root)}\0{sha256_of(path)}\n"
        except OSError as error:
            bad.append(f"{path} cannot be read: {reason_of(error)}")
            continue
        whole.update(line.encode(errors="surrogateescape"))
        good.append(path)
    if not good:
        raise SettingsError(f"Not one of {len(bad)} images can be read: {some(bad)}", "Check the paths.")
    if bad:
        logger.warning(f"{len(bad)} of {len(images)} images are left out: {some(bad)}")
    return CalibrationSet(root, tuple(good), whole.hexdigest())


def _read_manifest(path: Path) -> CalibrationSet:
    """Return the set beside a manifest, after comparing every file."""
    data = read_plain(path, manifest.MAX_BYTES, SettingsError, "manifest")
    root = path.parent
    listed = manifest.parse(path, data)
    entries = (*listed.images, *listed.held_out)
    there = {image for part in (IMAGES, HELD_OUT) if (root / part).is_dir() for image in images_in(root / part)}
    _refuse_differences(root, entries, there)
    if not listed.images:
        raise SettingsError(f"{path} lists no images", f"Build the set again: {REBUILD}")
    images, held_out = (tuple(sorted(root / one.file for one in part)) for part in (listed.images, listed.held_out))
    return CalibrationSet(root, images, hashlib.sha256(data).hexdigest(), held_out)


def _refuse_differences(root: Path, entries: Iterable[Entry], there: set[Path]) -> None:
    listed = {root / entry.file: entry.sha256 for entry in entries}
    faults = {
        "missing": sorted(path for path in listed if path not in there),
        "added": sorted(there - set(listed)),
        "changed": sorted(path for path, sha256 in listed.items() if path in there and sha256_of(path) != sha256),
    }
    said = [
        f"{len(paths)} {word}: {some([str(path.relative_to(root)) for path in paths])}"
        for word, paths in faults.items()
        if paths
    ]
    if said:
        raise SettingsError(
            f"The calibration set in {root} is not the one of its manifest ({'; '.join(said)})",
            f"Build it again: {REBUILD}",
        )
