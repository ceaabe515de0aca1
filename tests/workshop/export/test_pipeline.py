"""The stages of an export: their order, what is not done twice, and what stays in service where one fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perception.backends.tensorrt.engine_file import open_engine
from perception.core.errors import AccuracyError, BackendError, BuildError, ExportMemoryError, GpuError, PilotError
from perception.workshop.build.request import from_json
from perception.workshop.export import pipeline
from perception.workshop.export.pipeline import BUILD, EXAMINE, ONNX, QDQ, VERIFY, Task, build_request, run
from tests.workshop.export.fake_stages import FakeStages, FakeVerdict, make_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def accuracy(task: Task) -> object:
    sidecar = open_engine(task.place.engine).sidecar
    assert sidecar
    return None if sidecar.accuracy is None else dict(sidecar.accuracy)


def test_the_stages_in_order_and_the_report_of_the_gate_in_the_sidecar(folder: Path) -> None:
    task, stages = make_task(folder), FakeStages(FakeVerdict())
    done = run(task, stages)
    assert stages.did == [ONNX, EXAMINE, BUILD, VERIFY, "judge"]
    assert done.engine == folder / "engines" / "yolo11n.engine"
    assert accuracy(task) == {"map50_95": 0.32}
    assert "mAP50-95 0.324 -> 0.320" in stages.said
    assert sorted(path.name for path in task.place.folder.glob("*")) == [".work", "yolo11n.engine", "yolo11n.json"]


def test_without_images_to_judge_on_the_sidecar_says_nothing_of_accuracy(folder: Path) -> None:
    task = make_task(folder, method="", precision="fp16")
    assert run(task, FakeStages()).verdict is None
    assert accuracy(task) is None


def test_what_a_build_is_asked_for_is_what_it_understands(folder: Path) -> None:
    task = make_task(folder, calibration_batch=8, workspace_gib=0.5, optimization_level=1, device="1")
    request = {**build_request(task, folder / "m.onnx"), "engine": folder / "x.engine"}
    request["images"] = [str(path) for path in request["images"]]
    asked = from_json({key: str(value) if isinstance(value, Path) else value for key, value in request.items()})
    assert (asked.precision, asked.workspace_mib, asked.calibration_batch, asked.device) == ("int8", 512, 8, 1)
    assert asked.optimization_level == 1
    assert asked.images == (folder / "1.png", folder / "2.png")
    assert asked.weights_sha256 is not None
    assert asked.timing_cache == folder / "engines" / ".work" / "timing.cache"


@pytest.mark.parametrize(
    ("method", "flags", "is_dynamic"),
    [
        ("calibrator", {"calibration_batch": 8}, True),
        ("qdq", {"calibration_batch": 8}, False),
        ("", {"precision": "fp16", "calibration_batch": 8}, False),
        ("qdq", {"batch": 4}, True),
        ("calibrator", {}, False),
    ],
)
def test_the_batch_is_left_open_where_something_needs_it(
    folder: Path, method: str, flags: dict[str, Any], is_dynamic: bool
) -> None:
    stages = FakeStages()
    run(make_task(folder, method=method, **flags), stages)
    assert stages.requests[ONNX]["dynamic_batch"] is is_dynamic


def test_a_second_export_reads_the_onnx_again_and_builds_anew(folder: Path) -> None:
    run(make_task(folder), FakeStages())
    stages = FakeStages()
    run(make_task(folder), stages)
    assert stages.did == [EXAMINE, BUILD, VERIFY, "judge"]
    assert any("made before" in line for line in stages.said)


def test_other_weights_are_another_onnx_and_the_old_one_goes(folder: Path) -> None:
    run(make_task(folder), FakeStages())
    (folder / "yolo11n.pt").write_bytes(b"PK\3\4 others")
    stages = FakeStages()
    task = make_task(folder)
    run(task, stages)
    assert stages.did[0] == ONNX
    assert len(list(task.work.folder.glob("*.onnx"))) == 1


def test_another_ultralytics_exports_the_same_weights_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(make_task(folder), FakeStages())
    monkeypatch.setattr(pipeline, "exporter_versions", lambda: {"ultralytics": "9.0.0"})
    stages = FakeStages()
    run(make_task(folder), stages)
    assert stages.did[0] == ONNX


def test_a_model_quantized_by_another_recipe_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(make_task(folder, method="qdq"), FakeStages())
    again = FakeStages()
    run(make_task(folder, method="qdq"), again)
    assert QDQ not in again.did
    monkeypatch.setattr(pipeline, "RECIPE", "another")
    other = FakeStages()
    run(make_task(folder, method="qdq"), other)
    assert QDQ in other.did


def test_an_onnx_that_was_made_elsewhere_is_taken_as_it_is(folder: Path) -> None:
    stages = FakeStages()
    run(make_task(folder, weights="yolo11n.onnx"), stages)
    assert stages.did == [EXAMINE, BUILD, VERIFY, "judge"]
    assert stages.requests[BUILD]["onnx"] == str(folder / "yolo11n.onnx")
    assert "weights_sha256" not in stages.requests[BUILD]


def test_a_quantised_model_is_built_and_the_float_one_is_what_it_is_judged_by(folder: Path) -> None:
    stages = FakeStages(FakeVerdict())
    run(make_task(folder, method="qdq"), stages)
    assert stages.did == [ONNX, EXAMINE, QDQ, BUILD, VERIFY, "judge"]
    assert stages.requests[BUILD]["onnx"].endswith(".qdq.onnx")
    assert not str(stages.requests["judge"]["onnx"]).endswith(".qdq.onnx")
    assert stages.requests[BUILD]["calibrated"]["images"] == 2
    assert "images" not in stages.requests[BUILD]
    again = FakeStages()
    run(make_task(folder, method="qdq"), again)
    assert again.did == [EXAMINE, BUILD, VERIFY, "judge"]
    anew = FakeStages()
    run(make_task(folder, method="qdq", recalibrate=True), anew)
    assert anew.did == [EXAMINE, QDQ, BUILD, VERIFY, "judge"]


# What fails


FAULTS: dict[str, tuple[str, PilotError, type[PilotError], int]] = {
    "the weights": (ONNX, BuildError("no"), BuildError, 8),
    "memory": (BUILD, ExportMemoryError("no"), ExportMemoryError, 6),
    "the build": (BUILD, BuildError("no"), BuildError, 8),
    "the run": (VERIFY, BackendError("does not load"), BuildError, 8),
    "the gpu": (VERIFY, GpuError("fell off the bus"), BuildError, 8),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_the_old_engine_serves(folder: Path, fault: str) -> None:
    run(make_task(folder), FakeStages())
    task, stages = make_task(folder), FakeStages()
    before = task.place.engine.read_bytes()
    (folder / "yolo11n.pt").write_bytes(b"PK\3\4 others")
    stage, raised, kind, code = FAULTS[fault]
    stages.faults[stage] = raised
    with pytest.raises(kind) as caught:
        run(task, stages)
    assert caught.value.exit_code == code
    assert task.place.engine.read_bytes() == before
    assert open_engine(task.place.engine).sidecar


def test_an_engine_that_the_gate_refuses_stays_out_and_is_not_built_again_to_be_judged_again(folder: Path) -> None:
    run(make_task(folder), FakeStages())
    task, stages = make_task(folder), FakeStages(FakeVerdict(False, ("mAP50-95 0.324 -> 0.000",)))
    before = task.place.engine.read_bytes()
    with pytest.raises(AccuracyError, match="did not pass beside the float model, and stays out of service") as caught:
        run(task, stages)
    assert caught.value.exit_code == 7
    assert "--max-drop" in caught.value.cure
    assert "mAP50-95 0.324 -> 0.000" in stages.said
    assert task.place.engine.read_bytes() == before
    again = FakeStages(FakeVerdict())
    run(make_task(folder, max_drop=50.0), again)
    assert again.did == [EXAMINE, VERIFY, "judge"]
    assert any("built before, and is not in service yet" in line for line in again.said)
    assert task.place.engine.read_bytes() != before
    assert task.place.previous_engine.read_bytes() == before


def test_a_stop_in_the_build_leaves_nothing_that_a_later_export_would_take_for_whole(folder: Path) -> None:
    stages = FakeStages()
    stages.faults[BUILD] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(make_task(folder), stages)
    assert stages.did == [ONNX, EXAMINE, BUILD]
    again = FakeStages()
    run(make_task(folder), again)
    assert again.did == [EXAMINE, BUILD, VERIFY, "judge"]


def test_an_unfinished_engine_that_was_changed_is_built_again(folder: Path) -> None:
    task, stages = make_task(folder), FakeStages(FakeVerdict(False))
    with pytest.raises(AccuracyError):
        run(task, stages)
    (left,) = task.work.folder.glob("*/yolo11n.engine")
    left.write_bytes(left.read_bytes()[:-1] + b"!")
    again = FakeStages()
    run(task, again)
    assert again.did == [EXAMINE, BUILD, VERIFY, "judge"]


def test_an_unfinished_engine_of_another_gpu_is_built_again(folder: Path) -> None:
    refused, stages = make_task(folder), FakeStages()
    with pytest.raises(AccuracyError):
        run(refused, FakeStages(FakeVerdict(passed=False)))
    run(replace(refused, builder="TensorRT 10.3.0, another GPU"), stages)
    assert stages.did == [EXAMINE, BUILD, VERIFY, "judge"]


def test_an_unfinished_engine_of_other_settings_goes(folder: Path) -> None:
    with pytest.raises(AccuracyError):
        run(make_task(folder), FakeStages(FakeVerdict(False)))
    task = make_task(folder, method="", precision="fp16")
    run(task, FakeStages())
    assert list(task.work.folder.glob("*/*")) == []
