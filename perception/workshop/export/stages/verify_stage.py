"""The stage that tries an engine: opened, deserialised and run on a warm-up frame by the pilot's own run time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from detector_service import WARM_UP_HW, DetectorService
from perception.backends.base import Request
from perception.backends.tensorrt.backend import open_engine_backend
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.identity import precision_of
from perception.core.frame import Frame
from perception.settings.model import ModelSettings

Emit = Callable[[Mapping[str, Any]], None]
WARM_UP_FRAMES = 20
"""A GPU that rested takes some time to reach its clock."""
FRAMES = 40


def run(request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Opens the engine as the pilot would, and detects in some frames after the warm-up one.

    request: engine, described_by (path of its sidecar, None for beside it), kernel_dir, imgsz, layout, device. The
    result has the precision, the input (height, width), the layout, and the median in ms of a frame that lies where a
    camera's reader would have left it. Raises BackendError or GpuError.
    """
    emit({"event": "stage", "name": "trying the engine"})
    described_by = request.get("described_by")
    file = open_engine(Path(request["engine"]), Path(described_by) if described_by else None)
    backend = open_engine_backend(
        file, (), request.get("imgsz"), Path(request["kernel_dir"]), request["device"], layout=request.get("layout")
    )
    every_class = Request(ModelSettings().conf, ModelSettings().iou, tuple(sorted(backend.info.class_names)))
    times = []
    with DetectorService(backend, every_class) as service:
        info = service.info
        for number in range(WARM_UP_FRAMES + FRAMES):
            image = service.lend(WARM_UP_HW)
            if image is None:
                image = np.empty((*WARM_UP_HW, 3), np.uint8)
            image[:] = 40 + number
            times.append(service.detect([Frame(image, number, 0.0, "trial")])[0].total_ms)
    return {
        "precision": precision_of(file),
        "input_hw": list(info.input_hw),
        "layout": info.layout,
        "median_ms": round(float(np.median(times[WARM_UP_FRAMES:])), 3),
        "warnings": list(file.warnings),
    }


if __name__ == "__main__":
    from perception.workshop.stage import serve

    serve(run)
