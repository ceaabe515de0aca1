"""A data set in ultralytics' format: where its pictures lie and what its classes are called, as ultralytics reads it.

Paths are resolved as check_det_dataset does, lists as BaseDataset.get_img_files (ultralytics/data/utils.py, base.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from perception.camera.images import some
from perception.camera.uri import IMAGE_SUFFIXES
from perception.core.errors import SettingsError
from perception.settings.yaml_file import DATA_SET, read_mapping
from perception.system.plain_file import from_home, read_plain

MOST_LIST_BYTES = 1 << 26
SHORT = 80
"""So much of a wrong value is shown."""
SPLITS = ("train", "val", "test")
DATASETS = (Path("datasets"), Path("..", "datasets"))
"""ultralytics' default folders of data sets, from here (its DATASETS_DIR)."""
EXAMPLE = "Give a data set with `val: FOLDER` and `names:`, and labels/ beside its images/."


@dataclass(frozen=True)
class DataSet:
    """The keys of a data set file. root: what its paths start from."""

    path: Path
    root: Path
    values: Mapping[str, Any]

    def has(self, *splits: str) -> bool:
        """Return True if it names pictures for each of these splits."""
        return all(self.values.get(split) for split in splits)

    def lies_there(self, split: str) -> bool:
        """Return True if the first place that a split names exists."""
        given = self.values.get(split)
        first = given[0] if isinstance(given, list) and given else given
        return isinstance(first, str) and _exists(self.place(split, first))

    def images(self, split: str) -> list[Path]:
        """Return the pictures of a split: files of a folder, of folders in it, and of lists. None where it has none.

        What a list names and is not there is left out, and told. Raises SettingsError for an entry that cannot be.
        """
        given = self.values.get(split)
        entries = given if isinstance(given, list) else [given]
        places = [self.place(split, entry) for entry in entries if entry]
        return sorted({image for place in places for image in self._images_at(place)})

    def place(self, key: str, given: object) -> Path:
        """Return the path that a key gives, whether something lies there or not. Raises SettingsError for no path."""
        text = _text(self.path, key, given)
        place = _real(self.root / text)
        if text.startswith("../") and not _exists(place):  # as some sites export it: the file's own folder
            inside = _real(self.root / text[3:])
            return inside if _exists(inside) else place
        return place

    def _images_at(self, place: Path) -> list[Path]:
        if _is_folder(place):
            return images_in(place)
        if not _exists(place):
            raise SettingsError(f"{place}, which {self.path} names, does not exist", "Mend the path in the file.")
        return [place] if place.suffix.lower() in IMAGE_SUFFIXES else _listed(place)

    @property
    def names(self) -> dict[int, str]:
        """The classes of its labels by id. Raises SettingsError where they cannot be told."""
        given, count = self.values.get("names"), self.values.get("nc")
        if given is None and type(count) is int and 0 < count < 10_000:
            return {number: f"class_{number}" for number in range(count)}
        names = dict(enumerate(given)) if isinstance(given, list) else given
        if not isinstance(names, dict) or not names or not all(type(key) is int and key >= 0 for key in names):
            raise SettingsError(
                f"{self.path} does not name the classes of its labels: names is {shortened(given)}", EXAMPLE
            )
        if count is not None and count != len(names):
            raise SettingsError(
                f"{self.path} names {len(names)} classes, and nc is {shortened(count)}",
                "Make them agree, or leave nc out.",
            )
        return {key: str(name) for key, name in names.items()}


def read_data_set(path: Path) -> DataSet:
    """Return the data set that the file at `path` describes. Raises SettingsError where it cannot be read."""
    values = read_mapping(path, DATA_SET)
    if not values:
        raise SettingsError(
            f"{path} describes no data set", "Write `train: FOLDER`, as ultralytics' data sets have it."
        )
    if "val" not in values and "validation" in values:
        values["val"] = values["validation"]
    return DataSet(path, _root(path, values), values)


def _root(path: Path, values: Mapping[str, Any]) -> Path:
    """Return the folder that the paths start from: `path`, or the file's own folder where it has none.

    A relative `path` starts here, in the file's folder, or where ultralytics keeps its data sets: the first of these
    that holds a split counts.
    """
    if not values.get("path"):
        return path.parent
    given = _text(path, "path", values["path"])
    roots = [place / given for place in (Path(), path.parent, *DATASETS)]
    there = [root for root in roots if _is_folder(root)]
    if not there:
        raise SettingsError(
            f"The data set that {path} describes is not there: its `path` is {given}, and no such folder lies here or "
            "beside the file",
            "Fetch it, or mend the path.",
        )
    splits = [DataSet(path, root, values) for root in there]
    fitting = [one.root for one in splits if any(one.lies_there(name) for name in SPLITS)]
    # Where no split is there, the file's own folder is the one that people mean.
    return (fitting or [root for root in there if root == path.parent / given] or there)[0]


def _text(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise SettingsError(f"{path}: {key} is {shortened(value)}, not a path", "Write the path of a folder of images.")
    return from_home(value)


def shortened(value: object) -> str:
    """Return the value as Python writes it, in SHORT signs at most."""
    text = repr(value)
    return text if len(text) <= SHORT else text[: SHORT - 3] + "..."


def _listed(place: Path) -> list[Path]:
    """Return the pictures of a text file with a path on each line; what is not there is left out, and told."""
    try:
        lines = read_plain(place, MOST_LIST_BYTES, SettingsError, "list of images").decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise SettingsError(f"{place} is neither an image nor a list of images in UTF-8", "Mend the path.") from None
    entries = [line.strip() for line in lines if line.strip()]
    found, lost = [], []
    for entry in entries:
        path = _of_list(place.parent, entry)
        if path.suffix.lower() in IMAGE_SUFFIXES and _is_file(path):
            found.append(path)
        else:
            lost.append(entry[:SHORT])
    if lost and not found:
        raise SettingsError(
            f"Not one of {len(lost)} images that {place} names is there: {some(lost)}", "Mend the paths."
        )
    if lost:
        logger.warning(f"{len(lost)} of {len(entries)} images that {place} names are not there: {some(lost)}")
    return found


def _of_list(folder: Path, entry: str) -> Path:
    """Return the path on a line of a list: ./ is the list's folder, else the current one, then the list's."""
    given = Path(from_home(entry))
    if entry.startswith("./") or (not given.is_absolute() and not _exists(given)):
        return folder / given
    return given


# os.path, not pathlib, which raises for a name that is too long or goes round in links: such a one is not there.


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder and the folders in it, sorted by name; hidden ones are left out. Raises OSError."""
    return [path for path in files_in(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder and the folders in it, sorted by name, less hidden ones. Raises OSError."""
    found = []
    for top, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(top, name) for name in files if not name.startswith(".")]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error
