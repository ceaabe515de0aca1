"""What an export is asked for, and what it starts from: each mistake gets its sentence before anything is done."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from perception.backends import pytorch
from perception.core.errors import SettingsError
from perception.system.trusted_file import sha256_of
from perception.workshop.accuracy.check import Pictures
from perception.workshop.accuracy.labelled import LabelledSet
from perception.workshop.calibration.calibration_set import CalibrationSet
from perception.workshop.export import sources
from perception.workshop.export.options import Options
from perception.workshop.export.sources import (
    NOBODY,
    Judges,
    Model,
    beside_float,
    calibration_set,
    check_packages,
    find_source,
    judges,
)
from tests.doubles import tiny_model
from tests.workshop.build import small_network


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "DATA", tmp_path / "config" / "calibration.yaml")
    return tmp_path


def options(folder: Path, model: str = "yolo11n.pt", **flags: Any) -> Options:
    return Options(model=model, output=folder / "engines", **flags)


# The words


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"precision": "int4"}, "--precision is 'int4'. It is one of int8, fp16, fp32."),
        ({"method": "magic"}, "--method is 'magic'. It is one of auto, calibrator, qdq."),
        ({"calibrator": "max"}, "--calibrator is 'max'. It is one of auto, percentile, mse, minmax, entropy."),
        (
            {"calibrator": "mse", "method": "calibrator"},
            "--calibrator is 'mse', which --method calibrator does not have. It has minmax, entropy.",
        ),
        ({"tactic_sources": "all"}, "--tactic-sources is 'all'. It is one of default, none."),
        ({"imgsz": 500}, "--imgsz is 500. It is a multiple of 32, as the network halves it 5 times."),
        ({"device": "cpu"}, "--device is 'cpu'. TensorRT builds on a GPU alone: cuda:0."),
        ({"device": "tpu:0"}, "--device is 'tpu:0'. Name a GPU, such as cuda:0."),
    ],
)
def test_a_word_that_cannot_be_is_refused(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Options(**flags)
    assert str(caught.value) == said


@pytest.mark.parametrize(("device", "number"), [("cuda:0", 0), ("cuda", 0), ("cuda:3", 3), ("2", 2)])
def test_a_gpu_by_its_number(device: str, number: int) -> None:
    assert Options(device=device).gpu == number


def test_sizes_and_places(folder: Path) -> None:
    asked = options(folder, workspace_gib=0.25)
    assert asked.workspace_mib == 256
    assert asked.place("yolo11n").engine == folder / "engines" / "yolo11n.engine"
    named = Options(output=folder / "other" / "mine.engine").place("yolo11n")
    assert named.engine == folder / "other" / "mine.engine"


# The model


def refused(folder: Path, model: str) -> str:
    with pytest.raises(SettingsError) as caught:
        find_source(options(folder, model))
    assert caught.value.exit_code == 2
    return str(caught.value)


def write_weights(path: Path) -> Path:
    path.write_bytes(b"PK\3\4 weights")
    return path


def lacks_torch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sources, "why_not_importable", lambda: "torch and ultralytics not installed")


def test_a_path_that_does_not_exist_is_told_with_the_way_to_the_weights(folder: Path) -> None:
    assert refused(folder, "yolo11n.pt").startswith("yolo11n.pt was not found (looked at yolo11n.pt, ")
    assert "curl -fL -o yolo11n.pt" in refused(folder, "yolo11n.pt")
    assert refused(folder, "nets/mine.pt").endswith("Give the path of your weights with --model.")


def test_what_is_no_model_is_refused(folder: Path) -> None:
    assert refused(folder, "clip.mp4").startswith("clip.mp4 is no model that can be run")
    assert refused(folder, "x.engine") == "--model is x.engine, an engine already. Give the weights: a .pt or an .onnx."
    (folder / "page.pt").write_text("<html>")
    assert "page.pt is not PyTorch weights (a zip archive): it is a web page" in refused(folder, "page.pt")


def test_an_onnx_is_told_from_a_quantised_one(folder: Path) -> None:
    tiny_model.build(folder / "tiny.onnx")
    assert find_source(options(folder, "tiny.onnx")) == Model(Path("tiny.onnx"), False)
    small_network.build(folder / "tiny.onnx", quantized=True)
    assert find_source(options(folder, "tiny.onnx")).is_quantized


def test_without_torch_the_onnx_beside_the_weights_is_taken_aloud(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks_torch(monkeypatch)
    weights = write_weights(folder / "tiny.pt")
    said = refused(folder, str(weights))
    assert said.startswith(f"{weights} cannot be read here: torch and ultralytics not installed.")
    assert "yolo export model=tiny.pt format=onnx" in said
    tiny_model.build(folder / "tiny.onnx")
    found = find_source(options(folder, str(weights)))
    assert found.path == folder / "tiny.onnx"
    assert "which lies beside the weights, is taken for them" in found.notes[0]


def test_without_the_weights_that_were_named_their_onnx_is_taken_aloud(folder: Path) -> None:
    tiny_model.build(folder / "tiny.onnx")
    found = find_source(options(folder, "tiny.pt"))
    assert found.path == Path("tiny.onnx")
    assert found.notes == ("tiny.pt was not found: tiny.onnx is taken",)


def test_why_weights_cannot_be_read_is_told_by_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("torch", "onnx") else find(name))
    assert pytorch.why_not_importable().startswith("torch")
    monkeypatch.setattr(sources, "why_not_importable", lambda: "")
    assert sources._why_no_export() == "onnx not installed"


@pytest.mark.parametrize(
    ("method", "asked", "missing"),
    [
        ("calibrator", False, "onnx"),
        ("qdq", False, "onnx, onnxruntime"),
        ("", True, "onnx, onnxruntime, faster-coco-eval"),
    ],
)
def test_packages_that_are_missing_are_told_with_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, method: str, asked: bool, missing: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    images = Judges(Pictures((), LabelledSet((), {}, ()))) if asked else NOBODY
    with pytest.raises(SettingsError) as caught:
        check_packages(options(folder), method, images)
    assert str(caught.value).startswith(f"{sys.executable} lacks what an export needs: {missing}. Install it: ")
    assert caught.value.cure.endswith(f"pip install {missing.replace(',', '')}")


# The images

MODEL = Model(Path("yolo11n.onnx"), False)
WriteImages = Callable[..., Path]


@pytest.fixture
def write_images(folder: Path) -> WriteImages:
    def write(name: str, count: int) -> Path:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(folder / name / f"{number:03}.png"), np.full((4, 4, 3), number, np.uint8))
        return folder / name

    return write


def test_int8_without_a_set_says_how_to_draw_one(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"needs images to calibrate on, and .* does not exist") as caught:
        calibration_set(options(folder), MODEL)
    assert "scripts/build_calibration_set.py VIDEO" in caught.value.cure
    assert calibration_set(options(folder, precision="fp16"), MODEL) is None
    assert calibration_set(options(folder), Model(MODEL.path, True)) is None


def test_a_small_set_needs_force(folder: Path, write_images: WriteImages, logged: list[str]) -> None:
    images = write_images("few", 12)
    with pytest.raises(SettingsError, match="12 images is too small"):
        calibration_set(options(folder, data=images), MODEL)
    found = calibration_set(options(folder, data=images, force=True), MODEL)
    assert found and len(found.images) == 12


def test_int8_that_nothing_can_judge_needs_labels_or_force(folder: Path, write_images: WriteImages) -> None:
    images = write_images("many", 100)
    asked = options(folder, data=images)
    with pytest.raises(SettingsError, match="No images are left to judge an INT8 engine on") as caught:
        judges(asked, calibration_set(asked, MODEL))
    assert "--labels DATA.yaml" in caught.value.cure
    forced = options(folder, data=images, force=True)
    assert not judges(forced, calibration_set(forced, MODEL)).are_there
    assert not judges(options(folder, precision="fp16"), None).are_there


def test_what_was_held_out_judges_and_labels_go_before_it(folder: Path, write_images: WriteImages) -> None:
    held_out = tuple(sorted(write_images("images", 3).iterdir()))
    asked = options(folder)
    found = CalibrationSet(folder, held_out, "c" * 64, held_out)
    judging = judges(asked, found)
    assert judging.pictures and judging.pictures.images == held_out
    assert judging.words == "3 held-out images of the calibration set"
    labels = folder / "data.yaml"
    with pytest.raises(SettingsError, match=r"--labels .*data\.yaml does not exist"):
        judges(options(folder, labels=labels), found)
    labels.write_text("val: images\nnames: {0: car}\n")
    with pytest.raises(SettingsError, match="have no labels"):
        judges(options(folder, labels=labels), found)
    write_label(folder / "labels" / "000.txt")
    judging = judges(options(folder, labels=labels), found)
    assert judging.pictures and judging.pictures.labelled
    assert judging.words == f"3 labelled images of {labels}"


def write_label(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("0 0.5 0.5 0.5 0.5\n")


def test_a_data_set_with_two_splits_calibrates_on_the_one_and_judges_on_the_other(
    folder: Path, write_images: WriteImages
) -> None:
    write_images("images/train", 100)
    val = write_images("images/val", 3)
    write_label(folder / "labels" / "val" / "000.txt")
    data = folder / "data.yaml"
    data.write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: car}\n")
    asked = options(folder, data=data)
    calibration = calibration_set(asked, MODEL)
    assert calibration and len(calibration.images) == 100
    judging = judges(asked, calibration)
    assert judging.pictures and [path.resolve() for path in judging.pictures.images] == sorted(val.iterdir())


def test_a_quantised_model_is_not_judged_by_itself(folder: Path) -> None:
    images = Judges(Pictures((folder / "0.png",), None))
    tiny_model.build(folder / "float.onnx")
    small_network.build(folder / "qdq.onnx", quantized=True)
    quantized = Model(folder / "qdq.onnx", True)
    with pytest.raises(SettingsError, match=r"qdq.onnx is quantised, and an .* --reference FLOAT.onnx; --force"):
        beside_float(options(folder), quantized, images)
    with pytest.raises(SettingsError, match=r"qdq\.onnx is quantised"):
        beside_float(options(folder, reference=folder / "qdq.onnx"), quantized, images)
    with pytest.raises(SettingsError, match=r"--reference gone.onnx is no file"):
        beside_float(options(folder, reference=Path("gone.onnx")), quantized, images)
    assert beside_float(options(folder, reference=folder / "float.onnx"), quantized, images) == images
    assert beside_float(options(folder), MODEL, images) == images
    forced = beside_float(options(folder, force=True), quantized, images)
    assert forced == Judges(None, "there is no float model (--reference)")


def test_a_damaged_set_that_nobody_named_stops_no_fp16_engine(folder: Path) -> None:
    data = folder / "config" / "calibration.yaml"
    data.parent.mkdir()
    data.write_text("train: gone\nmanifest: gone.json\n")
    judging = judges(options(folder, precision="fp16"), None)
    assert not judging.are_there
    assert judging.words
    with pytest.raises(SettingsError):
        judges(options(folder, precision="fp16", data=data), None)


def test_fp16_is_judged_on_a_set_that_is_there(folder: Path, write_images: WriteImages) -> None:
    write_images("calibration/images", 2)
    held = write_images("calibration/held_out", 1)
    files = {part: sorted((folder / "calibration" / part).iterdir()) for part in ("images", "held_out")}
    entries = {
        part: [
            {"file": f"{part}/{path.name}", "sha256": sha256_of(path), "source": 0, "frame": 0, "time_s": None}
            for path in paths
        ]
        for part, paths in files.items()
    }
    manifest = folder / "calibration" / "manifest.json"
    manifest.write_text(json.dumps({"schema": 1, "choice": {}, "sources": [], **entries}))
    (folder / "config").mkdir()
    (folder / "config" / "calibration.yaml").write_text(
        "path: ../calibration\ntrain: images\nmanifest: manifest.json\n"
    )
    judging = judges(options(folder, precision="fp16"), None)
    assert judging.pictures and [path.resolve() for path in judging.pictures.images] == [held / "000.png"]
