"""Training a YOLO11n from random weights, by ultralytics' trainer, and taking up a run that was interrupted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perception.core.errors import SettingsError
from perception.lab.benchmark.predict import load

ARCHITECTURE = "yolo11n.yaml"


@dataclass(frozen=True)
class Recipe:
    """The parameters of a training run. seconds: stop after so long, 0 for all epochs; workers: processes that load.

    With `seconds` the number of epochs follows from the speed of the machine, and the learning rate with it.
    """

    epochs: int = 100
    seconds: float = 0.0
    batch: int = 128
    imgsz: int = 640
    workers: int = 8
    device: str = "0"
    seed: int = 0
    optimizer: str = "AdamW"
    lr0: float = 0.0015
    momentum: float = 0.9
    close_mosaic: int = 10

    def overrides(self) -> dict[str, Any]:
        """Return the same by ultralytics' names; what is not listed keeps its default."""
        own = asdict(self)
        hours = own.pop("seconds") / 3600
        return {
            **own,
            "time": hours or None,
            "pretrained": False,
            "amp": "bf16" if self.device != "cpu" else False,
            "cos_lr": True,
            "warmup_bias_lr": 0.0,
            "cache": "ram",
            # Real cameras differ in exposure and height more than the pictures here do.
            "hsv_v": 0.5,
            "scale": 0.6,
            "mixup": 0.05,
            # The last weights are taken, not the best on the validation split, which is kept to report on.
            "val": False,
            "plots": False,
            "deterministic": False,
        }


def train(described: Path, runs: Path, recipe: Recipe, resume: bool | None) -> Path:
    """Train on the data set that `described` (.yaml) names, under `runs`; return the last checkpoint.

    resume: True takes up the interrupted run that lies there (SettingsError without one), False starts anew, None
    does whichever fits.
    """
    last = runs / "vehicle-n" / "weights" / "last.pt"
    interrupted = last.exists() and is_interrupted(last)
    if resume and not interrupted:
        raise SettingsError(f"There is no interrupted run under {runs}", "Leave --resume out.")
    if resume is None and last.exists() and not interrupted:
        return last
    if interrupted and resume is not False:
        where = {"data": str(described), "device": recipe.device, "workers": recipe.workers}
        load(str(last)).train(resume=True, save_dir=str(last.parent.parent), **where)
    else:
        folder = {"project": str(runs.resolve()), "name": "vehicle-n", "exist_ok": True}
        load(ARCHITECTURE).train(data=str(described), **recipe.overrides(), **folder)
    return last


def is_interrupted(checkpoint: Path) -> bool:
    """Return True if a checkpoint is of a run that has not ended: an ended one is stripped of its optimizer."""
    import torch

    content = torch.load(checkpoint, map_location="cpu", weights_only=False)
    return content.get("optimizer") is not None
