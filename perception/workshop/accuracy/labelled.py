"""Pictures with labels: the `val` split of a data set in ultralytics' format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from loguru import logger

from perception.camera.images import some
from perception.core.errors import SettingsError
from perception.settings.model import COCO_VEHICLES
from perception.system.plain_file import reason_of
from perception.workshop.accuracy.detector import places_of
from perception.workshop.accuracy.labels import EXPECTED, Labels, read_label_file
from perception.workshop.accuracy.model_run import UNREADABLE
from perception.workshop.data_set import EXAMPLE, DataSet, read_data_set, shortened


@dataclass(frozen=True)
class LabelledSet:
    """Pictures whose vehicles are known. names: the classes of the labels by id. classes: the vehicle classes."""

    images: tuple[Path, ...]
    names: Mapping[int, str]
    classes: tuple[str, ...]

    @property
    def unlabelled_classes(self) -> tuple[str, ...]:
        """The vehicle classes that the data set does not know: what a model finds of them is not judged."""
        here = {name.casefold() for name in self.names.values()}
        return tuple(name for name in self.classes if name.casefold() not in here)

    def labels(self, sizes: Sequence[tuple[int, int]]) -> list[Labels]:
        """Return the vehicles of each picture; class ids are places in `classes`. sizes: (height, width) in pixels.

        Of a picture of size (0, 0), which could not be read, none. Raises SettingsError for a line that is not a label.
        """
        places = places_of(self.classes, self.names)
        read = (read_label_file(label_of(path), self.names) for path in self.images)
        return [
            _placed(labels.in_pixels(size), places) if size != UNREADABLE else Labels.of([], [])
            for labels, size in zip(read, sizes)
        ]


def read_labelled(data: Path, classes: Sequence[str] = COCO_VEHICLES) -> LabelledSet | None:
    """Return the pictures of `val` in a data set file; None where not one of them has a label file.

    A picture whose labels are wrong is left out, as by ultralytics, with a warning. classes: names of the vehicle
    classes. Raises SettingsError for a file that cannot be used, or where no picture is left.
    """
    found = read_data_set(data)
    try:
        images = _images(found)
    except OSError as error:
        raise SettingsError(f"{error.filename or data} cannot be read: {reason_of(error)}", "Check the path.") from None
    if not any(map(os.path.lexists, map(label_of, images))):
        return None
    names = found.names
    return LabelledSet(tuple(_usable(data, images, names)), names, tuple(classes))


def _usable(data: Path, images: Sequence[Path], names: Mapping[int, str]) -> list[Path]:
    """Return the pictures whose labels can be used; warn of the others, once for each kind of fault."""
    good: list[Path] = []
    faults: list[str] = []
    repeated: list[Path] = []
    classes: set[int] = set()
    lines = 0
    for image in images:
        try:
            labels = read_label_file(label_of(image), names)
        except SettingsError as fault:
            faults.append(fault.what)
            continue
        good.append(image)
        classes |= set(labels.rows[:, 0].astype(int).tolist())
        if labels.duplicates:
            repeated.append(image)
            lines += labels.duplicates
    hint = _numbering(faults, classes, names)
    if not good:
        raise SettingsError(
            f"Not one of {len(faults)} label files of {data} can be used: {some(faults)}{hint}", EXPECTED
        )
    if faults:
        logger.warning(f"{len(faults)} of {len(images)} pictures are left out for their labels{hint}: {some(faults)}")
    if repeated:
        logger.warning(f"{lines} labels stand twice and count once, in {some([str(path) for path in repeated])}")
    return good


def _numbering(faults: Sequence[str], classes: Set[int], names: Mapping[int, str]) -> str:
    """Return the likely reason of a class that is one too high; what is left of the labels is then wrong, too."""
    beyond = f"there is no class {max(names) + 1}"
    if 0 in classes or not any(fault.endswith(beyond) for fault in faults):
        return ""
    return " (the classes seem to be numbered from 1, and not from 0: then every figure is that of a wrong class)"


def label_of(image: Path) -> Path:
    """Return the path of a picture's labels: its last folder `images` replaced by `labels`, as ultralytics has it."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _images(found: DataSet) -> list[Path]:
    if not found.has("val"):
        raise SettingsError(f"{found.path} names no pictures to judge on: val is {found.values.get('val')}", EXAMPLE)
    images = found.images("val")
    if not images:
        raise SettingsError(f"{shortened(found.values['val'])}, the `val` of {found.path}, holds no pictures", EXAMPLE)
    return images


def _placed(labels: Labels, places: npt.NDArray[np.int64]) -> Labels:
    """Return the labels of vehicle classes alone, with ids of our own."""
    class_id = places[labels.class_id]
    return Labels(labels.xyxy[class_id >= 0], class_id[class_id >= 0])
