"""A folder of images as a source: natural order of names, unreadable files named and passed over."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from loguru import logger

from perception.camera import picture_file
from perception.camera.capture import Picture
from perception.camera.picture_file import MAX_BYTES, PictureFault
from perception.camera.uri import IMAGE_SUFFIXES, SourceUri
from perception.core.errors import EndOfStream, SourceError
from perception.core.frame import Image
from perception.system.plain_file import read_plain
from perception.system.reasons import lack_of_memory

NAMED = 3
"""Number of files that a message names."""


class ImageFolder:
    """Delivers each image of a folder, or one image file, once; with ?loop=1 repeatedly."""

    fps = 0.0  # images have no rate

    def __init__(self, uri: SourceUri) -> None:
        self._loop = bool(uri.options.get("loop"))
        self._paths = _list_images(Path(uri.target))
        self._next = 0
        self._unreadable: set[Path] = set()  # each is named once, also in a loop
        self._good = 0

    @property
    def summary(self) -> str:
        """Number of images."""
        return f"{len(self._paths)} images"

    def read(self) -> Picture:
        """Return the next image that can be read. SourceError where the folder holds none."""
        while True:
            if self._next == len(self._paths):
                self._end_of_round()
            path = self._paths[self._next]
            self._next += 1
            try:
                image = load_image(path)
            except PictureFault as fault:
                if path not in self._unreadable:
                    self._unreadable.add(path)
                    logger.warning(f"{path} {fault}: passed over")
                continue
            self._good += 1
            return Picture(image, time.monotonic())

    def _end_of_round(self) -> None:
        if not self._good:
            raise SourceError(f"None of {len(self._paths)} files is an image that can be read: {self._paths[0].parent}")
        if not self._loop:
            if self._unreadable:
                logger.warning(f"{len(self._unreadable)} of {len(self._paths)} images could not be read")
            raise EndOfStream
        self._next = self._good = 0

    def close(self) -> None:
        """Do nothing: no file stays open between two images."""


def load_image(path: Path) -> Image:
    """Return the picture in a file as (H, W, 3) uint8 BGR.

    It is measured before it is decoded. Raises PictureFault where the file holds none, a part of one or a giant.
    """
    try:
        data = read_plain(path, MAX_BYTES, SourceError, "image")
    except (FileNotFoundError, SourceError):
        raise PictureFault from None
    picture_file.check(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        if lack_of_memory(error):
            raise
        raise PictureFault from None
    if image is None:
        raise PictureFault
    return image  # type: ignore[return-value]


def read_image(path: Path) -> Image | None:
    """Return the picture in a file as load_image does, or None where it holds none that can be used."""
    try:
        return load_image(path)
    except PictureFault:
        return None


def _list_images(path: Path) -> list[Path]:
    try:
        if path.is_file():
            return [path]
        entries = list(path.iterdir())
        found = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    except FileNotFoundError:
        raise SourceError(f"The folder {path} does not exist", "Give the folder that holds the images.") from None
    except OSError as error:
        raise SourceError(f"The folder {path} cannot be read: {error.strerror}") from None
    if not found:
        raise SourceError(f"The folder {path} holds no images", f"Looked for {' '.join(sorted(IMAGE_SUFFIXES))}.")
    tell_left_out(path, sorted(set(entries) - set(found)))
    return sorted(found, key=lambda entry: _natural(entry.name))


def tell_left_out(folder: Path, paths: Sequence[Path]) -> None:
    """Log in one line which files of a folder are not used; hidden files are not mentioned."""
    names = [str(path.relative_to(folder)) for path in paths if not path.name.startswith(".")]
    if names:
        logger.warning(f"{folder}: {len(names)} of its files and folders are left out: {some(names)}")


def some(names: Sequence[str]) -> str:
    """Return the first few of the names in a row, with dots where there are more."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts frame9 before frame10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.findall(r"\d+|\D+", name.lower())]
