"""Small files of the layout of TensorRT engines, and their sidecars, for the tests. No plan in them can be run."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from perception.backends.tensorrt.sidecar import Calibration, Sidecar
from perception.core.errors import BackendError

T = TypeVar("T")

ULTRALYTICS: dict[str, Any] = {
    "description": "Ultralytics YOLO11n model trained on coco.yaml",
    "stride": 32,
    "task": "detect",
    "batch": 1,
    "imgsz": [640, 640],
    "names": {"0": "person", "2": "car"},
    "args": {"batch": 1, "half": False, "int8": True, "dynamic": False},
    "channels": 3,
}


def plan(
    size: int = 200, version: tuple[int, int, int] = (10, 3, 0), *, kind: int = 0, length: int | None = None
) -> bytes:
    """A plan of `size` bytes whose header says `length`, its own by default."""
    header = b"ftrt" + struct.pack("<IQQ4B4x", kind, 1, size if length is None else length, *version, 26)
    return (header + bytes(range(256)) * (size // 256 + 1))[:size]


def with_header(metadata: object, plan_: bytes) -> bytes:
    """The file that ultralytics' exporter writes: 4 bytes of length, JSON, plan."""
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    return len(text).to_bytes(4, "little") + text + plan_


def sidecar(data: bytes = b"", **changes: Any) -> Sidecar:
    """A sidecar of an INT8 engine of an Orin, for the file `data`."""
    values: dict[str, Any] = {
        "created_at": "2026-11-22T07:00:00+00:00",
        "weights_sha256": "a" * 64,
        "onnx_sha256": "b" * 64,
        "precision": "int8",
        "input_shape": (1, 3, 640, 640),
        "class_names": {0: "person", 2: "car"},
        "tensorrt_version": "10.3.0",
        "cuda_version": "12.6",
        "gpu_name": "Orin",
        "compute_capability": "8.7",
        "l4t_release": "36.4.3",
        "builder": {"workspace_mib": 512},
        "calibration": Calibration(500, "c" * 64, "entropy_2", "1"),
        "accuracy": {"recall": 0.97},
        "engine_sha256": hashlib.sha256(data).hexdigest(),
    }
    return Sidecar(**{**values, **changes})


def install(path: Path, data: bytes, **changes: Any) -> Path:
    """Writes an engine with its sidecar, as the exporter does; gives the engine's path."""
    path.write_bytes(data)
    sidecar(data, **changes).write(path.with_suffix(".json"))
    return path


def taken_or_refused(read: Callable[[Path], T], path: Path, data: bytes) -> T | None:
    """What `read` makes of a file of these bytes, None where it refuses it in a sentence; no other exception passes."""
    path.write_bytes(data)
    try:
        return read(path)
    except BackendError as fault:
        said = str(fault)
    assert said.isprintable()
    return None
