"""Small calibration sets, written as the command writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from perception.core.frame import Image
from perception.workshop.calibration.manifest import NAME, Entry, Manifest


def picture(number: int, hw: tuple[int, int] = (36, 64)) -> Image:
    """Noise that differs from number to number: (H, W, 3) uint8."""
    return np.random.default_rng(number).integers(0, 255, (*hw, 3), np.uint8)


def write_pictures(folder: Path, names: Sequence[str], first: int = 0) -> list[Path]:
    """Pictures by these names, each another one."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in names]
    for number, path in enumerate(paths, first):
        path.write_bytes(cv2.imencode(path.suffix, picture(number))[1].tobytes())
    return paths


def write_set(root: Path, images: int = 3, held_out: int = 2) -> Manifest:
    """A set with its manifest."""
    parts = []
    for part, count in (("images", images), ("held_out", held_out)):
        paths = write_pictures(root / part, [f"{number:03d}.png" for number in range(count)], first=len(part))
        parts.append(
            tuple(
                Entry(f"{part}/{path.name}", hashlib.sha256(path.read_bytes()).hexdigest(), 0, number, number / 25)
                for number, path in enumerate(paths)
            )
        )
    manifest = Manifest(parts[0], parts[1], [{"name": "clip.mp4", "frames": 100}], {"seed": 1})
    (root / NAME).write_text(manifest.text)
    return manifest


def names(folder: Path) -> list[str]:
    """Return the contents of a folder."""
    return sorted(path.name for path in folder.iterdir())
