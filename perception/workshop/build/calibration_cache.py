"""Keeps the result of a calibration in a file that is never taken for that of other inputs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from perception.system.own_files import NotMine, read_mine
from perception.system.trusted_file import write_whole

CACHE_TAG = b"vehicle-pilot calibration "


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Everything that the ranges of a calibration depend on. input_shape: of the batches, (n, 3, H, W)."""

    onnx_sha256: str
    manifest_sha256: str
    preprocess_version: str
    algorithm: str
    input_shape: tuple[int, ...]
    tensorrt_version: str

    @property
    def sha256(self) -> str:
        """The hash of the key: the same for the same inputs alone."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class CalibrationCache:
    """The result of a calibration, in a file of `folder` whose name and first line hold the key.

    stem: of the model. A file of another key, or one that was changed, is not read.
    """

    def __init__(self, folder: Path, stem: str, key: CacheKey) -> None:
        self._key = key.sha256
        self.path = folder / f"{stem}.{self._key[:16]}.calib"

    def read(self) -> bytes | None:
        """Return TensorRT's own text; None without one for this key, or if another user put it there."""
        try:
            first, _, content = read_mine(self.path).partition(b"\n")
        except (FileNotFoundError, NotMine):
            return None
        return content if first == self._first_line(content) else None

    def write(self, content: bytes) -> None:
        """Write it, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, self._first_line(content) + b"\n" + content)

    def _first_line(self, content: bytes) -> bytes:
        return CACHE_TAG + f"{self._key} {hashlib.sha256(content).hexdigest()}".encode()
