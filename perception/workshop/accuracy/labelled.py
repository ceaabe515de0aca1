"""Pictures with labels: the `val` split of a data set in ultralytics' format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perception.backends.trusted_file import reason_of
from perception.config import COCO_VEHICLES
from perception.errors import SettingsError
from perception.workshop.accuracy.detector import places_of
from perception.workshop.calibration.manifest import images_at, read_data_set, root_of
from perception.workshop.training.labels import Labels, read_labels

EXAMPLE = "Give a data set with `val: FOLDER` and `names:`, and labels/ beside its images/."


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
        """The vehicles of each picture; class ids are places in `classes`. sizes: (height, width) of each, in pixels.

        Raises SettingsError for what is no label.
        """
        places = places_of(self.classes, self.names)
        read = (read_labels(label_of(path), size, len(places)) for path, size in zip(self.images, sizes))
        return [_placed(labels, places) for labels in read]


def read_labelled(data: Path, classes: Sequence[str] = COCO_VEHICLES) -> LabelledSet | None:
    """The pictures of `val` in a data set file; None where not one of them has a label file.

    classes: names of the vehicle classes. Raises SettingsError for a file that cannot be used.
    """
    try:
        values = read_data_set(data)
        images = _images(data, values)
        if not any(label_of(image).exists() for image in images):
            return None
    except OSError as error:
        raise SettingsError(f"{error.filename or data} cannot be read: {reason_of(error)}", "Check the path.") from None
    return LabelledSet(tuple(images), _names(data, values), tuple(classes))


def label_of(image: Path) -> Path:
    """Where the labels of a picture lie: its last folder `images` replaced by `labels`, as ultralytics has it."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _images(data: Path, values: Mapping[str, Any]) -> list[Path]:
    given = values.get("val")
    places = [place for place in (given if isinstance(given, list) else [given]) if isinstance(place, str)]
    if not places:
        raise SettingsError(f"{data} names no pictures to judge on: val is {given!r}", EXAMPLE)
    images = sorted({image for place in places for image in images_at(data, root_of(data, values) / place)})
    if not images:
        raise SettingsError(f"{given}, the `val` of {data}, holds no pictures", EXAMPLE)
    return images


def _names(data: Path, values: Mapping[str, Any]) -> dict[int, str]:
    given = values.get("names")
    names = dict(enumerate(given)) if isinstance(given, list) else given
    if not isinstance(names, dict) or not names or not all(type(key) is int and key >= 0 for key in names):
        raise SettingsError(f"{data} does not name the classes of its labels: names is {given!r}", EXAMPLE)
    return {key: str(name) for key, name in names.items()}


def _placed(labels: Labels, places: npt.NDArray[np.int64]) -> Labels:
    """The labels of vehicle classes alone, with ids of our own."""
    class_id = places[labels.class_id]
    return Labels(labels.xyxy[class_id >= 0], class_id[class_id >= 0])
