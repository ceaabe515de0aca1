"""Files that an export keeps until the next one, named by all that they were made from, so that none is ever stale."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY_DIGITS = 16


def key_of(inputs: Mapping[str, Any]) -> str:
    """Return a key that is the same for the same inputs alone."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


@dataclass(frozen=True, slots=True)
class Work:
    """The folder of one model's unfinished files, see place.work_folder."""

    folder: Path
    stem: str

    def onnx(self, key: str, kind: str = "") -> Path:
        """Return an ONNX model made from weights; kind: `.qdq` for a quantised one."""
        return self.folder / f"{self.stem}.{key}{kind}.onnx"

    def engine(self, key: str) -> Path:
        """Return an engine that is not in service yet, in a folder of its own with its sidecar."""
        return self.folder / f"{self.stem}.{key}" / f"{self.stem}.engine"

    def forget_others(self, kept: Path) -> None:
        """Remove the models of the kind of `kept`, or the engines' folders, that were made from other inputs."""
        if kept.suffix == ".onnx":
            kind = "".join(kept.suffixes[-2:]) if kept.name.endswith(".qdq.onnx") else ".onnx"
            for path in self.folder.glob(f"{self.stem}.{'?' * KEY_DIGITS}{kind}"):
                if path != kept:
                    path.unlink(missing_ok=True)
            return
        for folder in self.folder.glob(f"{self.stem}.{'?' * KEY_DIGITS}"):
            if folder != kept.parent:
                _remove_folder(folder)

    def forget(self, engine: Path) -> None:
        """Remove the folder of an engine that is in service now."""
        _remove_folder(engine.parent)


def _remove_folder(folder: Path) -> None:
    with suppress(OSError):  # a file that stays does no harm
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
