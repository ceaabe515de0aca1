"""A model's detections in a list of pictures, as a file that one process writes and another one reads."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception.core.detections import Detections
from perception.core.errors import SettingsError
from perception.system.own_files import read_mine
from perception.system.plain_file import reason_of
from perception.system.trusted_file import write_whole

SCHEMA = 1
UNREADABLE = (0, 0)
"""The size of a picture that could not be read: nothing was found in it, and it counts nowhere."""


@dataclass(frozen=True, eq=False)
class ModelRun:
    """One model's detections in a list of pictures.

    classes: the vehicle classes it was asked for; class ids in `found` are places in it. known: those of them that the
    model has. sizes: of each picture, (height, width) in pixels. found: for each picture, best first. class_names: all
    of the model's own, in order of their ids.
    """

    model: str
    backend: str
    precision: str
    classes: tuple[str, ...]
    known: tuple[str, ...]
    class_names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    found: tuple[Detections, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.found):
            raise ValueError(f"ModelRun has {len(self.sizes)} sizes and {len(self.found)} pictures")

    @property
    def missing(self) -> tuple[str, ...]:
        """The classes that the model was asked for and does not have."""
        return tuple(name for name in self.classes if name not in self.known)

    @property
    def pictures(self) -> int:
        """The number of pictures that could be read."""
        return sum(size != UNREADABLE for size in self.sizes)

    @property
    def title(self) -> str:
        """The name of the file and its backend."""
        return f"{self.model} ({self.backend} {self.precision})"

    def write(self, path: Path) -> None:
        """Write the file whole or not at all. Raises SettingsError where it cannot."""
        whole = io.BytesIO()
        texts = {name: getattr(self, name) for name in _TEXTS}
        np.savez(
            whole,
            about=np.array(json.dumps({"schema": SCHEMA, **texts})),
            sizes=np.array(self.sizes, np.int64).reshape(-1, 2),
            counts=np.array([len(one) for one in self.found], np.int64),
            xyxy=_joined([one.xyxy for one in self.found], (0, 4)),
            confidence=_joined([one.confidence for one in self.found], (0,)),
            class_id=_joined([one.class_id for one in self.found], (0,)).astype(np.int64),
        )
        try:
            write_whole(path, whole.getvalue())
        except OSError as error:
            raise SettingsError(f"{path} cannot be written: {reason_of(error)}", "Make room there.") from None


_TEXTS = ("model", "backend", "precision", "classes", "known", "class_names")


def read(path: Path) -> ModelRun:
    """Read a run that `write` wrote. Raises OSError where there is no file, ValueError for another one."""
    try:
        with np.load(io.BytesIO(read_mine(path)), allow_pickle=False) as parts:
            about = json.loads(str(parts["about"]))
            if about.pop("schema") != SCHEMA:
                raise ValueError("of another schema")
            ends = np.cumsum(parts["counts"])[:-1]
            columns = [np.split(parts[name], ends) for name in ("xyxy", "confidence", "class_id")]
            sizes = tuple((int(height), int(width)) for height, width in parts["sizes"])
        found = tuple(Detections(*row) for row in zip(*columns))[: len(sizes)]
        texts: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in about.items()
        }
        return ModelRun(sizes=sizes, found=found, **texts)
    except (KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no list of detections: {error}") from None


def _joined(parts: Sequence[Any], empty: tuple[int, ...]) -> Any:
    return np.concatenate([np.empty(empty, np.float32), *parts])
