"""Export of a training checkpoint to the files that ship: weights as .pt and .onnx, and their origin."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perception.lab.training.train import ARCHITECTURE
from perception.settings.model import ModelSettings
from perception.system.trusted_file import sha256_of
from perception.workshop.quantize.onnx import onnx_from_weights

DEFAULT_CONFIDENCE = ModelSettings().conf
# All that a reader of the file may want to know of the training; paths and machines are none of it.
_KEPT_ARGUMENTS = (
    "task", "mode", "epochs", "time", "batch", "imgsz", "optimizer", "lr0", "lrf", "momentum", "weight_decay",
    "cos_lr", "warmup_epochs", "close_mosaic", "mosaic", "mixup", "scale", "translate", "fliplr", "hsv_h", "hsv_s",
    "hsv_v", "seed", "amp", "pretrained",
)  # fmt: skip


def export(checkpoint: Path, folder: Path, stem: str, sure_from: float, about: Mapping[str, Any]) -> None:
    """Write <stem>.pt (fp16), <stem>.onnx (fp32, opset 17, 1x3x640x640) and <stem>.json to `folder`.

    sure_from: the confidence, 0 to 1, that is to read as DEFAULT_CONFIDENCE in what is written. about: what the JSON
    tells besides that, the settings that lie in the checkpoint and the digests of both files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{stem}.pt"
    settings = strip(checkpoint, weights, sure_from)
    _write_onnx(weights, folder / f"{stem}.onnx")
    files = {name: sha256_of(folder / name) for name in (f"{stem}.pt", f"{stem}.onnx")}
    reads_as = {"confidence": sure_from, "reads_as": DEFAULT_CONFIDENCE}
    note = {"schema": 1, "architecture": ARCHITECTURE, "sha256": files, "settings": settings, "calibration": reads_as}
    note |= about
    (folder / f"{stem}.json").write_text(json.dumps(note, indent=2) + "\n")


def strip(checkpoint: Path, target: Path, sure_from: float) -> dict[str, Any]:
    """Write the averaged weights of a checkpoint in half precision, and return the settings they were trained with.

    What tells of the machine (paths, dates, the repository) stays behind.
    """
    import torch

    content = torch.load(checkpoint, map_location="cpu", weights_only=False)
    model = content.get("ema") or content["model"]
    shift_confidence(model.float(), sure_from)
    model.half()
    settings = {key: content["train_args"].get(key) for key in _KEPT_ARGUMENTS}
    model.args = dict(settings)
    model.yaml = {**model.yaml, "yaml_file": ARCHITECTURE}
    for name in ("criterion", "pt_path"):
        if hasattr(model, name):
            setattr(model, name, None)
    for parameter in model.parameters():
        parameter.requires_grad = False
    kept = {key: content[key] for key in ("version", "license", "docs")}
    torch.save({"epoch": -1, "model": model, "train_args": settings, **kept}, target)
    return settings


def shift_confidence(model: Any, sure_from: float) -> None:
    """Make a confidence of `sure_from` read as DEFAULT_CONFIDENCE, by the biases of the class scores.

    The order of all confidences stays, and with it every average precision; only where the default threshold falls
    on the way from finding more to being right more often changes.
    """

    def logit(share: float) -> float:
        return math.log(share / (1 - share))

    for branch in model.model[-1].cv3:
        branch[-1].bias.data += logit(DEFAULT_CONFIDENCE) - logit(sure_from)


def _write_onnx(weights: Path, target: Path) -> None:
    """Export a .pt; its metadata carries the class names and a description."""
    import onnx

    model = onnx_from_weights(weights, 640)
    described = {
        "description": "YOLO11n architecture, trained from random weights for five classes of vehicles",
        "author": "vehicle-pilot",
    }
    for entry in model.metadata_props:
        entry.value = described.get(entry.key, entry.value)
    onnx.save(model, target)
