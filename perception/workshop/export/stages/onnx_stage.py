"""The stage that reads weights: .pt -> .onnx, in a process whose torch is gone from memory when it ends."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perception.core.errors import SettingsError
from perception.system.plain_file import reason_of
from perception.system.trusted_file import write_whole
from perception.workshop.progress import Tell, stage
from perception.workshop.quantize.onnx import onnx_from_weights


def run(request: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Write the ONNX file `target` of the weights, whole or not at all.

    request: weights, target (paths), imgsz (pixels; absent for what it was trained at), dynamic_batch. Raises
    BuildError, and SettingsError where the disk refuses.
    """
    weights, target = Path(request["weights"]), Path(request["target"])
    stage(tell, f"weights to ONNX: {weights.name}")
    # ultralytics would install onnxslim where it is missing.
    simplify = importlib.util.find_spec("onnxslim") is not None
    model = onnx_from_weights(
        weights, request.get("imgsz"), request["dynamic_batch"], simplify=simplify, folder=target.parent
    )
    # The same weights give the same file, by which calibrations are kept.
    kept = [entry for entry in model.metadata_props if entry.key != "date"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    try:
        write_whole(target, model.SerializeToString())
    except OSError as error:
        raise SettingsError(f"{target} cannot be written: {reason_of(error)}", "Make room on the disk.") from None
    return {"onnx": str(target), "bytes": target.stat().st_size}


if __name__ == "__main__":
    from perception.workshop.stage import serve

    serve(run)
