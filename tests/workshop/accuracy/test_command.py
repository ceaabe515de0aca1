"""scripts/evaluate.py: the table, the differences, the verdict, the exit code and the JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
from rich.table import Table

from perception.core.errors import SettingsError
from perception.system.home import ROOT
from perception.workshop.accuracy import child, command
from perception.workshop.accuracy.check import Comparison, find_pictures, judge
from perception.workshop.accuracy.command import REFUSED, AccuracyOptions, run
from perception.workshop.accuracy.detector import Conditions
from perception.workshop.accuracy.gate import LEAST_SURE
from tests.doubles import tiny_model
from tests.doubles.fakes import make_image
from tests.workshop.accuracy.folders import write_set

CAR = "1 0.25 0.375 0.25 0.25"
BUS = "3 0.71875 0.4375 0.4375 0.375"
"""The vehicles that tiny_model finds in every picture, as labels."""
LESS = tiny_model.BOXES[:1]
"""The car alone."""


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AccuracyOptions:
    """A model that finds the bus and the car of every picture, looking in this process."""

    def look_here(_: str, request: Mapping[str, Any], on_event: Callable[[Mapping[str, Any]], None]) -> Any:
        return child.run(request, on_event)

    monkeypatch.setattr(command, "run_stage", look_here)
    model = tiny_model.build(tmp_path / "whole.onnx")
    data = write_set(tmp_path, {str(number): [CAR, BUS] for number in range(LEAST_SURE)})
    return AccuracyOptions(
        (model,), None, data, 0.25, None, None, Conditions(threads=1), None, tmp_path / "figures.json"
    )


def half(tmp_path: Path) -> Path:
    return tiny_model.build(tmp_path / "half.onnx", boxes=LESS)


def test_one_model_alone_has_its_row(options: AccuracyOptions, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(options) == 0
    out = capsys.readouterr().out
    assert "40 labelled vehicles in 20 pictures" in out
    assert "whole.onnx (onnxruntime fp32)" in out
    assert "100.0 / 100.0" in out
    assert "The labels do not know" not in out


def test_several_stand_in_one_table_with_their_differences_in_points(
    options: AccuracyOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = options.models[0]
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(reference.read_bytes())
    assert run(replace(options, reference=reference, models=(copy, half(tmp_path)))) == 0
    lines = capsys.readouterr().out.splitlines()
    (same,) = (line for line in lines if line.startswith("copy.onnx (onnxruntime fp32) - whole.onnx"))
    assert "mAP50-95 +0.00" in same
    (worse,) = (line for line in lines if line.startswith("half.onnx"))
    assert "mAP50-95 -50.00, mAP50 -50.00, recall at 0.25 -50.00, AP car +0.00, AP bus -100.00" in worse
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [one["map50_95"] for one in figures["scores"]] == [1.0, 1.0, 0.5]
    assert figures["verdicts"] == []


def test_a_candidate_that_loses_more_than_allowed_ends_with_its_exit_code(
    options: AccuracyOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = replace(options, reference=options.models[0], max_drop=1.0)
    assert run(judged) == 0
    assert "whole.onnx (onnxruntime fp32) passes:" in capsys.readouterr().out
    assert run(replace(judged, models=(half(tmp_path),))) == REFUSED
    out = capsys.readouterr().out
    assert "half.onnx (onnxruntime fp32) IS REFUSED:" in out
    assert "mAP50-95 falls by 50.00 points, 1 are allowed." in out
    assert json.loads((tmp_path / "figures.json").read_text())["verdicts"][0]["passed"] is False


def test_without_labels_it_is_the_agreement(
    options: AccuracyOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = replace(options, data=tmp_path / "images" / "val", reference=options.models[0], max_drop=1.0)
    assert run(pictures) == 0
    assert "Agreement with whole.onnx (onnxruntime fp32) in 20 pictures at 0.25" in capsys.readouterr().out
    assert run(replace(pictures, models=(half(tmp_path),))) == REFUSED
    assert "It misses 20 sure vehicles, 1 of 40 are allowed." in capsys.readouterr().out


def test_missing_classes_are_told(options: AccuracyOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model.build(tmp_path / "cars.onnx", names={0: "person", 1: "car"}, boxes=[(8, 16, 24, 32, 0.9, 1)])
    options.data.write_text("val: images/val\nnames: {1: car, 3: bus}\n")
    assert run(replace(options, reference=options.models[0], models=(model,))) == 0
    out = capsys.readouterr().out
    assert "cars.onnx does not know the classes bicycle, motorcycle, bus, truck\n" in out
    assert "The labels do not know bicycle, motorcycle, truck: what is found of that is not judged\n" in out
    assert run(replace(options, models=(model,), reference=None)) == 0
    assert "bus (" not in capsys.readouterr().out, "a class that no model of the table has is left out"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_drop": 1.0}, "there is none. Name it: --reference"),
        ({"models": (Path("absent.onnx"),)}, "absent.onnx does not exist"),
        ({"data": Path("absent.yaml")}, "absent.yaml does not exist"),
        ({"json": Path("/absent/figures.json")}, "--json /absent/figures.json"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_run(
    options: AccuracyOptions, change: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(command, "run_stage")
    with pytest.raises(Exception, match=said):
        run(replace(options, **change))


def test_pictures_that_cannot_be_read_are_left_out_of_every_model_and_named_once(
    options: AccuracyOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images" / "val"
    whole = cv2.imencode(".jpg", make_image(3, 64, 64))[1].tobytes()
    (images / "0.png").write_bytes(whole[:-2])
    (images / "1.png").write_bytes(b"no picture")
    assert run(replace(options, reference=options.models[0], max_drop=1.0)) == 0
    out = capsys.readouterr().out
    assert "36 labelled vehicles in 18 pictures" in out
    assert out.count(f"2 of 20 pictures cannot be read and are left out: {images}/0.png, {images}/1.png") == 1
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["images"], figures["scores"][0]["map50_95"]) == (18, 1.0)
    (tmp_path / "figures.json").unlink()
    unlabelled = replace(options, data=images, reference=options.models[0], max_drop=1.0)
    assert run(unlabelled) == 0
    assert "in 18 pictures" in capsys.readouterr().out


def test_pictures_without_labels_need_a_reference(options: AccuracyOptions, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"has no labels.* Name that with --reference"):
        run(replace(options, data=tmp_path / "images" / "val"))


def test_a_model_that_was_the_candidate_is_known_as_the_reference(options: AccuracyOptions, tmp_path: Path) -> None:
    results: list[Mapping[str, Any]] = []

    def runner(request: Mapping[str, Any]) -> Mapping[str, Any]:
        results.append(child.run(request, lambda _: None))
        return results[-1]

    comparison = Comparison(find_pictures(options.data), runner, tmp_path, tmp_path / "cache")
    first, second = options.models[0], half(tmp_path)
    comparison.run_model(second, comparison.run_model(first))
    comparison.run_model(first, comparison.run_model(second))
    assert [one["cached"] for one in results] == [False, False, True, True]


def test_an_export_asks_for_the_verdict_alone(options: AccuracyOptions, tmp_path: Path) -> None:
    model, worse = options.models[0], half(tmp_path)
    comparison = Comparison(find_pictures(options.data), lambda one: child.run(one, lambda _: None), tmp_path)
    shown: list[Table] = []
    assert judge(comparison, model, model, 1.0, shown.append).passed
    assert not judge(comparison, model, worse, 1.0, shown.append).passed
    unlabelled = replace(comparison, pictures=find_pictures(tmp_path / "images" / "val"))
    assert judge(unlabelled, model, model, 1.0, shown.append).report["kind"] == "unlabelled"
    assert not judge(unlabelled, model, worse, 1.0, shown.append).passed
    assert [one.row_count for one in shown] == [2, 2, 1, 1]


def test_the_script_itself(options: AccuracyOptions, tmp_path: Path) -> None:
    command_line = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), str(half(tmp_path)), "--data"]
    judged = ["--reference", str(options.models[0]), "--max-drop", "1", "--cache", str(tmp_path / "cache")]
    whole = [*command_line, str(options.data), *judged, "--threads", "1", "--count", "5"]
    done = subprocess.run(whole, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == REFUSED, done.stderr
    assert "10 labelled vehicles in 5 pictures" in done.stdout
    assert "IS REFUSED" in done.stdout
    broken = subprocess.run([*command_line, "absent.yaml"], capture_output=True, text=True, timeout=60)
    assert broken.returncode == 2
    assert broken.stderr.count("\n") == 1
