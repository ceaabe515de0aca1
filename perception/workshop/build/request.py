"""The request for a build: one frozen noun, read from the JSON that a stage gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from perception.core.errors import SettingsError
from perception.core.layouts import LAYOUTS

CHOICES: Mapping[str, tuple[str, ...]] = {
    "precision": ("int8", "fp16", "fp32"),
    "calibrator": ("entropy", "minmax"),
    "tactic_sources": ("default", "none"),
}
"""The words that a field may hold, the usual one first."""
_PATHS = ("onnx", "engine", "timing_cache", "cache_dir")


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """A build of one engine. Raises SettingsError, naming the field, for a value that cannot be.

    onnx: the model. engine: where the engine is written, its sidecar beside it; nothing is installed. batch: images of
    the engine's input, of its largest where the model leaves it open. imgsz: side in pixels where the model leaves it
    open, None for what it was made for. layout: of its output, None where it is not known. workspace_mib: scratch
    memory that a layer may use while it is tried and run. optimization_level: 0 to 5, None for TensorRT's own.
    tactic_sources: "none" for a host without cuBLAS and cuDNN. timing_cache: a file that is read if it exists, and
    written.

    An INT8 engine of a model without Q/DQ is calibrated on `images`, whose list `manifest_sha256` identifies; what
    perception/workshop/quantize/graph.py names, decoding and depthwise convolutions, stays in float16, and so does the
    output of the head's output convolutions. calibration_batch: images at once. cache_dir: the folder of calibration
    caches, None for that of the engine. calibrated: what a Q/DQ model was calibrated on, for the sidecar: images,
    manifest_sha256, algorithm.
    """

    onnx: Path
    engine: Path
    precision: str = "int8"
    batch: int = 1
    imgsz: int | None = None
    layout: str | None = None
    device: int = 0
    workspace_mib: int = 2048
    optimization_level: int | None = None
    tactic_sources: str = "default"
    timing_cache: Path | None = None
    images: tuple[Path, ...] = ()
    manifest_sha256: str | None = None
    calibrator: str = "entropy"
    calibration_batch: int = 1
    cache_dir: Path | None = None
    recalibrate: bool = False
    calibrated: Mapping[str, Any] | None = None
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise _fault(name, getattr(self, name), f"one of {', '.join(allowed)}")
        for name, least, most in (
            ("batch", 1, 1024), ("workspace_mib", 1, 1 << 20), ("calibration_batch", 1, 1024),
            ("device", 0, 1024),
        ):  # fmt: skip
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise _fault(name, value, f"a whole number from {least} to {most}")
        if self.imgsz is not None and (type(self.imgsz) is not int or not 32 <= self.imgsz <= 8192):
            raise _fault("imgsz", self.imgsz, "a whole number from 32 to 8192")
        if self.layout not in (None, *LAYOUTS):
            raise _fault("layout", self.layout, f"one of {', '.join(LAYOUTS)}")
        level = self.optimization_level
        if level is not None and (type(level) is not int or not 0 <= level <= 5):
            raise _fault("optimization_level", level, "a whole number from 0 to 5")

    @property
    def caches(self) -> Path:
        """The folder of calibration caches."""
        return self.cache_dir or self.engine.parent


def from_json(values: Mapping[str, Any]) -> BuildRequest:
    """Return the request in the JSON of a stage. Raises SettingsError for a wrong or missing key, or a wrong value."""
    known = {field.name: field for field in fields(BuildRequest)}
    for name in values:
        if name not in known:
            raise SettingsError(f"A build has no {name!r}", f"It has: {', '.join(known)}.")
    for name, field in known.items():
        if field.default is MISSING and name not in values:
            raise SettingsError(f"A build needs {name!r}", "Name the model and the engine.")
    taken = {name: value for name, value in values.items() if value is not None}
    for name in _PATHS:
        if name in taken:
            taken[name] = Path(_text(name, taken[name]))
    if "images" in taken:
        taken["images"] = tuple(Path(text) for text in _texts("images", taken["images"]))
    return BuildRequest(**taken)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _fault(name, value, "a path")
    return value


def _texts(name: str, values: object) -> Sequence[str]:
    if not isinstance(values, list):
        raise _fault(name, values, "a list of texts")
    return [_text(name, value) for value in values]


def _fault(name: str, value: object, expected: str) -> SettingsError:
    return SettingsError(f"{name} is {value!r}", f"It must be {expected}.")
