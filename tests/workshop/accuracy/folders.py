"""Small data sets on disk, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2

from tests.doubles.fakes import make_image

NAMES = "[bicycle, car, motorcycle, bus, truck]"


def write_set(folder: Path, pictures: Mapping[str, Sequence[str] | None], names: str = NAMES) -> Path:
    """Writes data.yaml and grey pictures, each with the lines of its label file; None: it has no such file.

    The pictures differ, and are 64 x 64 pixels.
    """
    for kind in ("images", "labels"):
        (folder / kind / "val").mkdir(parents=True)
    for number, (name, lines) in enumerate(pictures.items()):
        cv2.imwrite(str(folder / "images" / "val" / f"{name}.png"), make_image(number, 64, 64))
        if lines is not None:
            (folder / "labels" / "val" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    data = folder / "data.yaml"
    data.write_text(f"path: .\nval: images/val\nnames: {names}\n")
    return data
