"""What an export starts from: the model file, the images to calibrate on, and those to judge the engine on."""

from __future__ import annotations

import importlib.util
import mmap
from dataclasses import dataclass
from pathlib import Path

from perception.backends.pytorch import why_not_importable
from perception.config import ROOT
from perception.errors import BackendError, SettingsError
from perception.model_files import ModelFiles, find_model
from perception.workshop.calibration.manifest import CalibrationSet, minimum, read_set
from perception.workshop.export.options import DATA, Options
from perception.yaml_file import read_mapping

BUILD_SET = "python3 scripts/build_calibration_set.py VIDEO..."


@dataclass(frozen=True, slots=True)
class Model:
    """The file that the engine is made from. is_quantized: an ONNX with Q/DQ nodes. notes: what is worth a line."""

    path: Path
    is_quantized: bool
    notes: tuple[str, ...] = ()

    @property
    def is_onnx(self) -> bool:
        """Whether it need not be exported first."""
        return self.path.suffix == ".onnx"


@dataclass(frozen=True, slots=True)
class Judges:
    """The images that the gate looks at: those of the data set `labels`, else held_out ones, else none."""

    labels: Path | None
    held_out: tuple[Path, ...]

    @property
    def are_there(self) -> bool:
        """Whether accuracy can be judged."""
        return self.labels is not None or bool(self.held_out)

    def __str__(self) -> str:
        if self.labels is not None:
            return f"labelled images of {self.labels}"
        return f"{len(self.held_out)} held-out images of the calibration set" if self.held_out else "no images"


def find_source(options: Options) -> Model:
    """The model file that was asked for. Raises SettingsError where there is none that can be exported here."""
    if Path(options.model).suffix == ".engine":
        raise SettingsError(f"--model is {options.model}, an engine already", "Give the weights: a .pt or an .onnx.")
    try:
        files = find_model(options.model, ROOT, options.place("").folder)
    except BackendError as fault:
        raise SettingsError(fault.what, fault.cure) from None
    return _chosen(options, files)


def _chosen(options: Options, files: ModelFiles) -> Model:
    if not files.weights:
        raise SettingsError(
            f"{options.model} was not found; there is its engine alone, {files.engine}", "Give the path of the weights."
        )
    path, notes = files.weights[0], []
    if path.name != Path(options.model).name:
        notes.append(f"{options.model} was not found: {path} is taken")
    if path.suffix == ".pt" and (why := _why_no_export()):
        if files.onnx is None:
            raise SettingsError(
                f"{path} cannot be read here: {why}",
                "Install it: pip install -r requirements-torch.txt; or, on another machine: "
                f"yolo export model={path.name} format=onnx, and give that file: --model {path.stem}.onnx",
            )
        path = files.onnx
        notes.append(f"{why}: {path}, which lies beside the weights, is taken for them")
    return Model(path, path.suffix == ".onnx" and is_quantized(path), tuple(notes))


def _why_no_export() -> str:
    if why := why_not_importable():
        return why
    return "" if importlib.util.find_spec("onnx") else "onnx not installed"


def is_quantized(path: Path) -> bool:
    """Whether an ONNX file holds Q/DQ nodes. It is not loaded for that: the kind of a node stands in it as text."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b"QuantizeLinear") >= 0
    except ValueError:  # an empty file
        return False


def calibration_set(options: Options, model: Model) -> CalibrationSet | None:
    """The images to calibrate on, None where none are needed. Raises SettingsError where they are not there."""
    if options.precision != "int8" or model.is_quantized:
        return None
    data = options.data or DATA
    if not data.exists():
        raise SettingsError(
            f"An INT8 engine needs images to calibrate on, and {data} does not exist",
            f"Draw some from your own footage: {BUILD_SET}; or name a folder or data set with --data, or build one "
            "that needs none: --precision fp16.",
        )
    found = read_set(data)
    minimum(len(found.images), options.force)
    return found


def judges(options: Options, calibration: CalibrationSet | None) -> Judges:
    """The images for the gate: --labels, else `val` of a data set that was given to calibrate on, else held-out ones.

    Raises SettingsError where the labels that were named are not there, or where nothing could judge an INT8 engine.
    """
    found = _judges(options, calibration)
    if options.precision == "int8" and not found.are_there and not options.force:
        raise SettingsError(
            "No images are left to judge an INT8 engine on, and it may have lost much of its accuracy",
            f"Name labelled ones with --labels DATA.yaml, or draw a set with held-out ones: {BUILD_SET}; --force "
            "installs it unjudged.",
        )
    return found


def _judges(options: Options, calibration: CalibrationSet | None) -> Judges:
    if options.labels is not None:
        if not options.labels.is_file():
            raise SettingsError(f"--labels {options.labels} is no file", "Give a data set in ultralytics' format.")
        return Judges(options.labels, ())
    if options.data is not None and options.data.is_file():
        values = read_mapping(options.data)
        if values.get("train") and values.get("val") and not values.get("manifest"):
            return Judges(options.data, ())
    if calibration is not None:
        return Judges(None, calibration.held_out)
    data = options.data or DATA
    if not data.exists():
        return Judges(None, ())
    return Judges(None, read_set(data).held_out)
