"""The calibration images: those that can be read, and batches of them as the network takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perception.backends.preprocess import Preprocessor
from perception.camera.images import read_image
from perception.core.errors import SettingsError
from perception.core.layouts import Preprocessing
from perception.workshop.progress import Tell, say, step

MOST_UNREADABLE = 0.02
"""The share of images that may be unreadable."""
NAMED = 5
"""The most unreadable images that a message names."""


def readable(images: Sequence[Path], tell: Tell) -> tuple[Path, ...]:
    """Return the images that can be decoded, in order; the others are named, and counted.

    All are decoded, before anything is built: TensorRT cannot be told to stop in the middle of a build. Raises
    SettingsError where there are none, or more than MOST_UNREADABLE cannot be read.
    """
    good: list[Path] = []
    bad: list[Path] = []
    for number, path in enumerate(images, 1):
        (good if read_image(path) is not None else bad).append(path)
        step(tell, "images read", number, len(images))
    if not images:
        raise SettingsError("There are no images to calibrate on", "python3 scripts/build_calibration_set.py VIDEO...")
    named = ", ".join(str(path) for path in bad[:NAMED]) + (", ..." if len(bad) > NAMED else "")
    if len(bad) > MOST_UNREADABLE * len(images):
        raise SettingsError(
            f"{len(bad)} of {len(images)} calibration images cannot be read: {named}",
            "Build the set again: python3 scripts/build_calibration_set.py VIDEO... --force",
        )
    if bad:
        say(tell, f"{len(bad)} of {len(images)} calibration images cannot be read and are passed over: {named}")
    return tuple(good)


class Batches:
    """Pictures in batches of the network's input, in order.

    images: files that can be read; shape: of the input, (n, 3, H, W); way: as the model's layout asks. The last batch
    is filled up with its last picture, since a network of fixed batch reads all of it: `filled` tells how many times.
    Raises SettingsError where there are no images.
    """

    def __init__(
        self, images: Sequence[Path], shape: tuple[int, int, int, int], way: Preprocessing = "letterbox"
    ) -> None:
        if not images:
            raise SettingsError("There are no images to calibrate on", "Give a set of some hundreds.")
        self.images = tuple(images)
        self.shape = shape
        self._preprocess = Preprocessor((shape[2], shape[3]), way=way)
        self._next = 0

    @property
    def filled(self) -> int:
        """The places of the last batch that repeat its last picture."""
        return -len(self.images) % self.shape[0]

    def __len__(self) -> int:
        return (len(self.images) + self.shape[0] - 1) // self.shape[0]

    @property
    def done(self) -> int:
        """The number of images delivered so far."""
        return min(self._next * self.shape[0], len(self.images))

    def next(self) -> npt.NDArray[np.float32] | None:
        """Return the next batch (n, 3, H, W) of 0 to 1, valid until the next call; None after the last.

        Raises SettingsError for an image that cannot be read any more.
        """
        if self._next >= len(self):
            return None
        size = self.shape[0]
        paths = self.images[self._next * size : (self._next + 1) * size]
        pictures = []
        for path in paths:
            picture = read_image(path)
            if picture is None:
                raise SettingsError(f"{path} cannot be read any more", "Leave the images alone during an export.")
            pictures.append(picture)
        pictures += pictures[-1:] * (size - len(pictures))
        tensor, _ = self._preprocess(pictures)
        self._next += 1
        return tensor.astype(np.float32, copy=False)
