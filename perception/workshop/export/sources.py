"""Finds the inputs of an export: the model file, the images to calibrate on, and those to judge the engine on."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from perception.backends.models.model_files import ModelFiles, find_model
from perception.backends.models.onnx_file import is_quantized
from perception.backends.pytorch import why_not_importable
from perception.core.errors import BackendError, SettingsError
from perception.system.home import ROOT
from perception.workshop.accuracy.check import Pictures
from perception.workshop.accuracy.labelled import read_labelled
from perception.workshop.calibration.calibration_set import CalibrationSet, minimum, read_set
from perception.workshop.data_set import read_data_set
from perception.workshop.export.options import DATA, Options

BUILD_SET = "python3 scripts/build_calibration_set.py VIDEO..."


@dataclass(frozen=True, slots=True)
class Model:
    """The file that the engine is made from. is_quantized: an ONNX with Q/DQ nodes. notes: what is worth a line."""

    path: Path
    is_quantized: bool
    notes: tuple[str, ...] = ()

    @property
    def is_onnx(self) -> bool:
        """True if it need not be exported first."""
        return self.path.suffix == ".onnx"


@dataclass(frozen=True, slots=True)
class GateImages:
    """The pictures for the gate, None without any. words: which they are, or why there are none."""

    pictures: Pictures | None
    words: str = "there are no images for it (--labels)"

    @property
    def are_there(self) -> bool:
        """True if accuracy can be judged."""
        return self.pictures is not None


NO_GATE_IMAGES = GateImages(None)


def find_source(options: Options) -> Model:
    """Return the model file that was asked for. Raises SettingsError where there is none that can be exported here."""
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
    return Model(path, is_quantized(path), tuple(notes))


def _why_no_export() -> str:
    if why := why_not_importable():
        return why
    return "" if importlib.util.find_spec("onnx") else "onnx not installed"


def check_packages(options: Options, method: str, images: GateImages) -> None:
    """Raise SettingsError, with the command that installs them, where packages for the stages are missing."""
    needed = {} if options.only_onnx and not method else {"onnx": "onnx"}
    if method == "qdq" or images.pictures is not None:
        needed["onnxruntime"] = "onnxruntime"
    if images.pictures is not None and images.pictures.labelled is not None:
        needed["faster_coco_eval"] = "faster-coco-eval"
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise SettingsError(
            f"{sys.executable} lacks what an export needs: {', '.join(missing)}",
            f"Install it: {sys.executable} -m pip install {' '.join(missing)}",
        )


def calibration_set(options: Options, model: Model) -> CalibrationSet | None:
    """Return the images to calibrate on, None where none are needed. Raises SettingsError where they are not there."""
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


def gate_images(options: Options, calibration: CalibrationSet | None) -> GateImages:
    """Return the images for the gate: --labels, else `val` of the data set to calibrate on, else held-out ones.

    Raises SettingsError where the labels that were named are not there, or where nothing could judge an INT8 engine.
    """
    found = _gate_images(options, calibration)
    if options.precision == "int8" and not found.are_there and not options.force:
        raise SettingsError(
            "No images are left to judge an INT8 engine on, and it may have lost much of its accuracy",
            f"Name labelled ones with --labels DATA.yaml, or draw a set with held-out ones: {BUILD_SET}; --force "
            "installs it unjudged.",
        )
    return found


def beside_float(options: Options, model: Model, images: GateImages) -> GateImages:
    """Return the images if there is a float model to judge beside. Raises SettingsError where there is none."""
    reference = options.reference
    if reference is not None and not reference.is_file():
        raise SettingsError(f"--reference {reference} is no file", "Name the float .onnx that the model was made from.")
    if not images.are_there or not (is_quantized(reference) if reference else model.is_quantized):
        return images
    if not options.force:
        raise SettingsError(
            f"{reference or model.path} is quantised, and an engine is judged beside the float model",
            "Name the .onnx that was quantised: --reference FLOAT.onnx; --force installs the engine unjudged.",
        )
    return GateImages(None, "there is no float model (--reference)")


def _gate_images(options: Options, calibration: CalibrationSet | None) -> GateImages:
    if options.labels is not None:
        if not options.labels.is_file():
            what = "is no file" if options.labels.exists() else "does not exist"
            raise SettingsError(f"--labels {options.labels} {what}", "Give a data set (.yaml) in ultralytics' format.")
        return _labelled(options.labels) or _no_labels(options.labels)
    if options.data is not None and options.data.is_file() and _has_two_splits(options.data):
        return _labelled(options.data) or NO_GATE_IMAGES
    data = options.data or DATA
    if calibration is None and data.exists():
        try:
            calibration = read_set(data)
        except SettingsError as fault:
            if options.data is not None or options.precision == "int8":
                raise
            return GateImages(None, fault.what)  # nobody named it, and nothing is calibrated on it
    if calibration is None or not calibration.held_out:
        return NO_GATE_IMAGES
    held_out = calibration.held_out
    return GateImages(Pictures(held_out, None), f"{len(held_out)} held-out images of the calibration set")


def _has_two_splits(data: Path) -> bool:
    """Return True if a data set has images to judge on besides those to calibrate on."""
    found = read_data_set(data)
    return found.has("train", "val") and not found.has("manifest")


def _labelled(data: Path) -> GateImages | None:
    labelled = read_labelled(data)
    if labelled is None:
        return None
    return GateImages(Pictures(labelled.images, labelled), f"{len(labelled.images)} labelled images of {data}")


def _no_labels(data: Path) -> NoReturn:
    raise SettingsError(f"The `val` images of {data} have no labels", "Put labels/ beside their images/.")
