"""The vehicles of a picture as labels, and the text files of the YOLO format that hold them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perception.core.detections import Boxes, ClassIds
from perception.core.errors import SettingsError
from perception.settings.model import COCO_VEHICLES
from perception.system.plain_file import read_plain

MAX_BYTES = 1 << 24
LOWEST, HIGHEST = -0.01, 1.01
"""So far outside the picture ultralytics lets a label lie."""
MOST_PIXELS = 100_000
EXPECTED = "Expected: class x y width height, in shares of the picture."


@dataclass(frozen=True, eq=False)
class Labels:
    """xyxy: (n, 4) float32 pixels of the picture. class_id: (n,) int64, places in config.COCO_VEHICLES."""

    xyxy: Boxes
    class_id: ClassIds

    def __post_init__(self) -> None:
        if self.xyxy.shape != (len(self.class_id), 4):
            raise ValueError(f"Labels.xyxy must have shape ({len(self.class_id)}, 4), got {self.xyxy.shape}")

    def __len__(self) -> int:
        return len(self.class_id)

    @classmethod
    def of(cls, xyxy: object, class_id: object) -> Labels:
        """Make labels from anything that numpy reads, an empty list included."""
        boxes = np.asarray(xyxy, np.float32).reshape(-1, 4)
        return cls(boxes, np.asarray(class_id, np.int64).reshape(-1))


@dataclass(frozen=True, eq=False)
class LabelFile:
    """A label file as it is: (n, 5) float32 of class, middle x and y, width and height in shares of the picture.

    duplicates: how many lines said again what another one says; they are left out.
    """

    rows: npt.NDArray[np.float32]
    duplicates: int

    def in_pixels(self, image_hw: tuple[int, int]) -> Labels:
        """Return the labels of a picture of this height and width."""
        middle, half = self.rows[:, 1:3].astype(np.float64), self.rows[:, 3:5].astype(np.float64) / 2
        scale = np.array([image_hw[1], image_hw[0]] * 2)
        return Labels.of(np.concatenate([middle - half, middle + half], 1) * scale, self.rows[:, 0])


def read_labels(path: Path, image_hw: tuple[int, int], class_count: int = len(COCO_VEHICLES)) -> Labels:
    """Return the labels of a picture of `image_hw` (height, width in pixels), as read_label_file reads them."""
    return read_label_file(path, range(class_count)).in_pixels(image_hw)


def read_label_file(path: Path, classes: Collection[int]) -> LabelFile:
    """Return what a label file holds, as ultralytics takes it (verify_image_label, ultralytics/data/utils.py).

    Lines with more than six words are polygons, of which the box counts. Without a file there are no labels. Raises
    SettingsError, naming file and line, where ultralytics would leave the picture out: for what is not a number, lies
    outside the picture by more than a hundredth, or is none of `classes`.
    """
    try:
        lines = read_plain(path, MAX_BYTES, SettingsError, "label file").decode("utf-8").strip().splitlines()
    except FileNotFoundError:
        return LabelFile(np.empty((0, 5), np.float32), 0)
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not text in UTF-8", EXPECTED) from None
    words = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    polygons = any(len(row) > 6 for _, row in words)
    table = np.array([_row(path, number, row, polygons, classes) for number, row in words], np.float32).reshape(-1, 5)
    first = np.sort(np.unique(table, axis=0, return_index=True)[1])
    return LabelFile(table[first], len(table) - len(first))


def _row(path: Path, number: int, words: list[str], polygon: bool, classes: Collection[int]) -> list[float]:
    """Return the values of one line, whose box must be inside the picture and whose class in `classes`."""

    def fault(what: str) -> SettingsError:
        return SettingsError(f"{path}, line {number}: {what}", EXPECTED)

    try:
        kind, *points = map(float, words)
    except ValueError:
        raise fault(f"{' '.join(words)[:80]!r} is no label") from None
    if len(points) % 2 if polygon else len(points) != 4:
        raise fault(f"{len(words)} values, where a label has 5")
    wrong = next((value for value in points if not LOWEST <= value <= HIGHEST), None)
    if wrong is not None:
        pixels = "; are these pixels?" if HIGHEST < wrong < MOST_PIXELS else ""
        raise fault(f"{wrong:g} is not within 0 to 1, which are shares of the picture{pixels}")
    if kind not in classes:
        raise fault(f"there is no class {kind:g}")
    if polygon:
        xs, ys = points[::2], points[1::2]
        points = [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]
    return [kind, *points]


def write_labels(path: Path, labels: Labels, image_hw: tuple[int, int]) -> None:
    """Write labels, cut at the picture's edges; `image_hw` is its height and width in pixels."""
    height, width = image_hw
    limit = np.array([width, height, width, height], np.float64)
    boxes = np.clip(labels.xyxy.astype(np.float64), 0, limit) / limit
    table = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    lines = [" ".join([str(number), *(f"{value:.6f}" for value in row)]) for number, row in zip(labels.class_id, table)]
    path.write_text("".join(f"{line}\n" for line in lines))
