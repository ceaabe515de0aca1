"""The options of an export, as typed, and the checks that need nothing but the words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from perception.backends.tensorrt.place import Place
from perception.core.errors import SettingsError
from perception.core.layouts import LAYOUTS
from perception.system.home import ROOT
from perception.workshop.build.request import CHOICES

METHODS = ("auto", "calibrator", "qdq")
CALIBRATORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"calibrator": ("minmax", "entropy"), "qdq": ("percentile", "mse", "minmax", "entropy")}
)
"""The calibrators of each method of INT8, the best one first: docs/int8.md has the figures."""
DATA = ROOT / "config" / "calibration.yaml"


@dataclass(frozen=True, slots=True)
class Options:
    """The flags of scripts/export_int8_engine.py. Raises SettingsError for a word that cannot be.

    data: the calibration set, None for the one of config/. batch: the engine's. imgsz: side of the input in pixels,
    None for what the model was made for. layout: of its output, None where it is to be found. output: a folder, or the
    engine's own path. workspace_gib: scratch memory of a layer. max_drop: points of accuracy that may be lost. labels:
    images with labels to judge on. reference: the float model that a quantised ONNX was made from.
    """

    model: str = "yolo11n.pt"
    data: Path | None = None
    workspace_gib: float = 2.0
    batch: int = 1
    calibration_batch: int = 1
    imgsz: int | None = None
    layout: str | None = None
    device: str = "cuda:0"
    precision: str = "int8"
    method: str = "auto"
    calibrator: str = "auto"
    cache: Path | None = None
    recalibrate: bool = False
    output: Path = ROOT / "engines"
    optimization_level: int | None = None
    timing_cache: Path | None = None
    max_drop: float = 1.0
    labels: Path | None = None
    reference: Path | None = None
    tactic_sources: str = "default"
    dry_run: bool = False
    force: bool = False
    only_onnx: bool = False

    def __post_init__(self) -> None:
        for flag, value, allowed in (
            ("--precision", self.precision, CHOICES["precision"]),
            ("--method", self.method, METHODS),
            ("--calibrator", self.calibrator, ("auto", *CALIBRATORS["qdq"])),
            ("--tactic-sources", self.tactic_sources, CHOICES["tactic_sources"]),
        ):
            if value not in allowed:
                raise SettingsError(f"{flag} is {value!r}", f"It is one of {', '.join(allowed)}.")
        if self.layout is not None and self.layout not in LAYOUTS:
            raise SettingsError(f"--layout is {self.layout!r}", f"It is one of {', '.join(LAYOUTS)}.")
        if self.imgsz is not None and self.imgsz % 32:
            raise SettingsError(f"--imgsz is {self.imgsz}", "It is a multiple of 32, as the network halves it 5 times.")
        if self.method in CALIBRATORS:
            self.ranges_by(self.method)
        self.gpu  # noqa: B018 - a word that cannot be is told at once

    @property
    def gpu(self) -> int:
        """The number of the GPU, as CUDA counts. Raises SettingsError for what is none."""
        match = re.fullmatch(r"(?:cuda|cuda:(\d{1,3})|(\d{1,3}))", self.device)
        if not match:
            cure = "TensorRT builds on a GPU alone: cuda:0." if self.device == "cpu" else "Name a GPU, such as cuda:0."
            raise SettingsError(f"--device is {self.device!r}", cure)
        return int(match[1] or match[2] or 0)

    def ranges_by(self, method: str) -> str:
        """Return the calibrator of a method of INT8. Raises SettingsError for one that the method does not have."""
        allowed = CALIBRATORS[method]
        if self.calibrator == "auto":
            return allowed[0]
        if self.calibrator not in allowed:
            raise SettingsError(
                f"--calibrator is {self.calibrator!r}, which --method {method} does not have",
                f"It has {', '.join(allowed)}.",
            )
        return self.calibrator

    @property
    def workspace_mib(self) -> int:
        """Scratch memory in MiB."""
        return max(1, round(self.workspace_gib * 1024))

    def place(self, stem: str) -> Place:
        """Return the place of the engine of a model of that stem."""
        if self.output.suffix == ".engine":
            return Place(self.output.parent, self.output.stem)
        return Place(self.output, stem)
