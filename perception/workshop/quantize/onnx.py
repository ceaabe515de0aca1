"""Turns .pt weights into an ONNX model, through ultralytics' own exporter."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from perception.backends.input_size import input_size
from perception.backends.models.model_facts import facts_of
from perception.core.errors import BuildError
from perception.system.reasons import cause_of
from perception.workshop.quantize.ultralytics_model import load

OPSET = 17
IR_VERSION = 8
"""The newest that ONNX Runtime 1.16, of JetPack 6's time, and TensorRT 8.6 read."""
EXPORTERS = ("ultralytics", "ultralytics-opencv-headless")
"""Under which names ultralytics may be installed."""


def exporter_versions() -> dict[str, str]:
    """Return the installed versions of ultralytics, by name, without importing it."""
    found = {}
    for name in EXPORTERS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def onnx_from_weights(
    weights: Path, imgsz: int | None, dynamic_batch: bool = False, *, simplify: bool = False, folder: Path | None = None
) -> Any:
    """Return the model in a .pt file as ONNX, float32, input n x 3 x imgsz x imgsz; NMS stays outside of it.

    imgsz: None for what it was trained at. dynamic_batch: True if n is left open; else it is 1. simplify: by onnxslim,
    which must be installed. folder: for what the exporter writes on the way. The class names come along as metadata;
    what tells of this machine does not. Raises BuildError where ultralytics cannot.
    """
    import onnx

    with tempfile.TemporaryDirectory(dir=folder) as place:
        # The exporter writes beside the weights, and a name without a path is all that it then knows.
        copy = shutil.copyfile(weights, Path(place) / weights.name)
        size = {} if imgsz is None else {"imgsz": imgsz}
        made = _export(copy, dynamic=dynamic_batch, simplify=simplify, **size)
        model = onnx.load(made)
    model.ir_version = min(model.ir_version, IR_VERSION)
    if dynamic_batch:  # ultralytics leaves height and width open with it
        facts = facts_of({entry.key: entry.value for entry in model.metadata_props})
        sides, _ = input_size(weights, (None, None), facts, imgsz)
        for axis, side in zip((2, 3), sides):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    onnx.checker.check_model(model)
    return model


def _export(weights: Path, **more: Any) -> str:
    try:
        return str(load(str(weights)).export(format="onnx", opset=OPSET, device="cpu", nms=False, **more))
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # torch's and pickle's own, whatever lies in the file
        raise BuildError(
            f"{weights.name} cannot be exported: {cause_of(error)}",
            "Give the weights of a YOLO detector of ultralytics.",
        ) from error
