"""The stage that writes Q/DQ nodes into a float model, from what ONNX Runtime sees in the calibration images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perception.core.errors import SettingsError
from perception.core.layouts import way_of
from perception.system.plain_file import reason_of
from perception.workshop.progress import Tell, stage
from perception.workshop.quantize.quantizer import qdq


def run(request: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Write the ONNX file `target`. request: onnx, images, target (paths), imgsz (pixels), layout (a name), calibrator
    (a method).

    The result tells what became INT8, see quantize.Quantized. Raises SettingsError or BuildError.
    """
    stage(tell, "quantising")
    images, target = [Path(path) for path in request["images"]], Path(request["target"])
    method = request["calibrator"]
    try:
        done = qdq(
            Path(request["onnx"]),
            images,
            target,
            method,
            tell,
            imgsz=request.get("imgsz"),
            way=way_of(request.get("layout")),
        )
        return done.facts()
    except OSError as error:
        raise SettingsError(f"{target} cannot be written: {reason_of(error)}", "Make room on the disk.") from None


if __name__ == "__main__":
    from perception.workshop.stage import serve

    serve(run)
