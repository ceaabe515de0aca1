"""Small engine files with their sidecars, as a build leaves them: a plan's header and no more."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

from perception.backends.tensorrt.sidecar import Sidecar

LENGTH = 64


def write_engine(path: Path, tensorrt: str = "10.3.0", gpu: str = "Orin", **changes: Any) -> None:
    """An engine of `LENGTH` bytes for `gpu` (compute capability 8.7), and its sidecar."""
    major, minor, patch = (int(part) for part in tensorrt.split("."))
    plan = b"ftrt" + struct.pack("<IIIQ", 0, 0, 0, LENGTH) + bytes([major, minor, patch, 0])
    path.write_bytes(plan.ljust(LENGTH, b"\0"))
    path.chmod(0o644)
    values: dict[str, Any] = {
        "created_at": "2026-11-01T12:00:00+00:00",
        "weights_sha256": None,
        "onnx_sha256": "1" * 64,
        "precision": "int8",
        "input_shape": (1, 3, 640, 640),
        "class_names": {2: "car"},
        "tensorrt_version": tensorrt,
        "cuda_version": "12.6",
        "gpu_name": gpu,
        "compute_capability": "8.7",
        "l4t_release": "36.4.3",
        "builder": {},
        "calibration": None,
        "accuracy": None,
        "engine_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    Sidecar(**{**values, **changes}).write(path.with_suffix(".json"))
