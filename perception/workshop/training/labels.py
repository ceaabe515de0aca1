"""The vehicles of a picture as labels, and the text files of the YOLO format that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perception.config import COCO_VEHICLES
from perception.errors import SettingsError
from perception.frame import Boxes, ClassIds


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
        """Labels from anything that numpy reads, an empty list included."""
        boxes = np.asarray(xyxy, np.float32).reshape(-1, 4)
        return cls(boxes, np.asarray(class_id, np.int64).reshape(-1))


def read_labels(path: Path, image_hw: tuple[int, int], class_count: int = len(COCO_VEHICLES)) -> Labels:
    """The labels of a picture of `image_hw` (height, width in pixels); none where there is no file.

    Raises SettingsError, naming the file and the line, for what is no label of one of `class_count` classes.
    """
    if not path.exists():
        return Labels.of([], [])
    lines = enumerate(path.read_text().splitlines(), 1)
    rows = [_row(path, number, line, class_count) for number, line in lines if line.strip()]
    table = np.asarray(rows, np.float64).reshape(-1, 5)
    middle, half = table[:, 1:3], table[:, 3:5] / 2
    scale = np.array([image_hw[1], image_hw[0]] * 2)
    return Labels.of(np.concatenate([middle - half, middle + half], 1) * scale, table[:, 0])


def _row(path: Path, number: int, line: str, class_count: int) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
        known = values[0] in range(class_count)
    except (ValueError, IndexError):
        values, known = [], False
    if len(values) != 5 or not known:
        raise SettingsError(f"{path}, line {number}: {line!r} is no label", "Expected: class x y width height.")
    return values


def write_labels(path: Path, labels: Labels, image_hw: tuple[int, int]) -> None:
    """Writes labels, cut at the picture's edges; `image_hw` is its height and width in pixels."""
    height, width = image_hw
    limit = np.array([width, height, width, height], np.float64)
    boxes = np.clip(labels.xyxy.astype(np.float64), 0, limit) / limit
    table = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    lines = [" ".join([str(number), *(f"{value:.6f}" for value in row)]) for number, row in zip(labels.class_id, table)]
    path.write_text("".join(f"{line}\n" for line in lines))
