"""Writes an engine that was just built: ultralytics' header before the plan, the sidecar beside it."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from perception.backends.tensorrt.sidecar import Calibration, Sidecar
from perception.core.errors import SettingsError
from perception.system.plain_file import reason_of
from perception.system.trusted_file import write_whole

BITS: Mapping[str, int] = {"int8": 8, "fp16": 16, "fp32": 32}
"""The value of `quantize` in ultralytics' header."""
_LITERALS = ("stride", "batch", "imgsz", "names", "args", "channels", "end2end")


def metadata(
    onnx_metadata: Mapping[str, str], *, precision: str, batch: int, input_hw: tuple[int, int], dynamic: bool
) -> dict[str, Any]:
    """Return the header of an engine, from the metadata of its ONNX model.

    Its keys are those of ultralytics' exporter (8.4, engine/exporter.py, `self.metadata`); batch, imgsz and args are
    those of the engine. What the model does not tell has the value of an ordinary detector.
    """
    told: dict[str, Any] = {
        "description": "Vehicle detector", "author": "vehicle-pilot", "version": "8.4.0",
        "license": "AGPL-3.0 License (https://ultralytics.com/license)", "docs": "https://docs.ultralytics.com",
        "stride": 32, "task": "detect", "names": {}, "args": {}, "channels": 3, "end2end": False,
    }  # fmt: skip
    told |= {key: _value(key, text) for key, text in onnx_metadata.items()}
    told["date"] = datetime.now(timezone.utc).isoformat()
    told["batch"] = batch
    told["imgsz"] = list(input_hw)
    args = told["args"] if isinstance(told["args"], dict) else {}
    settings = {"half": precision == "fp16", "int8": precision == "int8", "quantize": BITS[precision]}
    told["args"] = {**args, "batch": batch, "dynamic": dynamic, "nms": False, **settings}
    return told


def _value(key: str, text: str) -> Any:
    """Return a value of an ONNX model's metadata, which are all texts."""
    if key not in _LITERALS:
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def class_names(header: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of a header by id; empty where it has none that could be used."""
    names = header.get("names")
    if not isinstance(names, dict):
        return {}
    return {int(key): str(name) for key, name in names.items() if str(key).isdecimal()}


def wrap(plan: bytes, header: Mapping[str, Any]) -> bytes:
    """Return the file that `YOLO("x.engine")` loads: the length of a JSON text (4 bytes, little-endian), it, the plan.

    ultralytics/nn/backends/base.py, engine_header. Raises ValueError for values that JSON does not have.
    """
    text = json.dumps(header, allow_nan=False).encode()
    return len(text).to_bytes(4, "little") + text + plan


def write(
    path: Path, plan: bytes, header: Mapping[str, Any], facts: Mapping[str, Any],
    weights_sha256: str | None, calibration: Calibration | None, l4t_release: str | None,
) -> Path:  # fmt: skip
    """Write the engine and its sidecar, each whole, readable by all; return the sidecar's path.

    facts: see builder.py. The accuracy report is left empty here. Raises SettingsError where the
    disk refuses.
    """
    data = wrap(plan, header)
    sidecar = Sidecar(
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        weights_sha256=weights_sha256,
        onnx_sha256=facts["onnx_sha256"],
        precision=facts["precision"],
        input_shape=tuple(facts["input_shape"]),
        class_names=class_names(header),
        tensorrt_version=facts["tensorrt_version"],
        cuda_version=facts["cuda_version"],
        gpu_name=facts["gpu_name"],
        compute_capability=facts["compute_capability"],
        l4t_release=l4t_release,
        builder=facts["builder"],
        calibration=calibration,
        accuracy=None,
        engine_sha256=hashlib.sha256(data).hexdigest(),
        layout=facts.get("layout"),
    )
    beside = path.with_suffix(".json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)  # it spoke of another engine
        write_whole(path, data)
        write_whole(beside, sidecar.to_json().encode())
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {reason_of(error)}", "Make room on the disk.") from None
    return beside
