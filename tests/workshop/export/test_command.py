"""The whole command, in processes of its own, on an emulated GPU and a fake TensorRT."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perception.app.failed_exports import FailureNote
from perception.backends.models.onnx_file import is_quantized
from perception.backends.tensorrt.engine_file import open_engine
from perception.core.errors import BuildError, ExportMemoryError, SettingsError
from perception.system.home import ROOT
from perception.system.lock import Lock
from perception.workshop.build import preflight
from perception.workshop.export import command, sources
from perception.workshop.export.options import Options
from tests.doubles.engine_files import install, plan
from tests.small_disk import small_disk
from tests.workshop.export.conftest import Workshop

FP16 = ("--precision", "fp16")
KILLS = 20
"""Deaths of a whole export; it has some hundred system calls a second, so each is at another place."""


def weights(workshop: Workshop, content: str) -> None:
    (workshop.folder / "small.pt").write_bytes(b"PK\3\4" + content.encode())


def test_a_first_export_says_what_it_does_and_installs(workshop: Workshop) -> None:
    FailureNote(workshop.place, {}).failed("failed", 8)
    text = workshop.run(*FP16)
    assert text.splitlines()[:5] == [
        "Starting FP16 TensorRT export",
        "  Model: small.pt",
        "  Workspace: 2 GiB",
        "  Batch size: 1",
        "  Device: cuda:0",
    ]
    assert "Builder: TensorRT 10.3.0, Emulated\n" in text
    stages = ("weights to ONNX: small.pt ...", "building ...", "trying the engine ...", "FP16 TensorRT engine exported")
    assert [text.index(stage) for stage in stages] == sorted(text.index(stage) for stage in stages)
    assert "  Engine path: engines/small.engine\n" in text
    assert "Accuracy: not compared with the float model's" in text
    assert "Next: python3 pilot.py check --require-engine --model engines/small.engine" in text
    sidecar = open_engine(workshop.place.engine).sidecar
    assert sidecar and (sidecar.precision, sidecar.class_names) == ("fp16", {0: "person", 1: "car"})
    assert not FailureNote(workshop.place, {}).path.exists(), "what failed before does not count any more"


@pytest.mark.slow
def test_a_second_one_keeps_the_first_and_a_rollback_tries_it_before_it_brings_it_back(workshop: Workshop) -> None:
    workshop.run(*FP16)
    first = workshop.place.engine.read_bytes()
    text = workshop.run("--precision", "fp32")
    assert "ONNX of these weights: " in text
    assert ", made before" in text
    back = "--rollback --model small.pt --output engines)"
    assert (
        f"The engine before it: small.engine.previous (back to it: python3 scripts/export_int8_engine.py {back}" in text
    )
    assert workshop.place.engine.read_bytes() != first
    text = workshop.run("--rollback")
    assert "trying the engine ..." in text
    assert "engines/small.engine is the previous engine again" in text
    assert workshop.place.engine.read_bytes() == first


@pytest.mark.long
def test_int8_on_the_same_images_reads_the_calibration_again_and_with_one_changed_it_does_not(
    workshop: Workshop,
) -> None:
    flags = ("--data", "images/train", "--force", "--method", "calibrator")
    text = workshop.run(*flags)
    assert "  Calibration data: images/train (8 images)" in text
    assert "INT8 TensorRT engine exported successfully" in text
    assert re.search(r"\d+% of the convolutions run in INT8", text)
    sidecar = open_engine(workshop.place.engine).sidecar
    assert sidecar and sidecar.calibration and sidecar.calibration.images == 8
    cached = re.compile(r"^Calibration is read from .*\.calib: model, images and settings are the same", re.MULTILINE)
    again = workshop.run(*flags)
    assert cached.search(again)
    (workshop.folder / "images" / "train" / "0.png").write_bytes(
        (workshop.folder / "images" / "train" / "1.png").read_bytes()
    )
    anew = workshop.run(*flags)
    assert not cached.search(anew)


@pytest.mark.long
def test_a_quantised_model_is_made_once_and_can_be_made_for_another_machine(workshop: Workshop) -> None:
    flags = ("--data", "images/train", "--force")
    text = workshop.run(*flags)
    assert "quantising ..." in text
    assert "INT8 TensorRT engine exported successfully" in text
    sidecar = open_engine(workshop.place.engine).sidecar
    assert sidecar and sidecar.calibration and sidecar.calibration.algorithm == "qdq percentile"
    assert "Q/DQ model of these images: " in workshop.run(*flags)
    assert "quantising ..." in workshop.run(*flags, "--calibrator", "mse")
    text = workshop.run(*flags, "--only-onnx")
    assert "ONNX model: engines/small_qdq.onnx" in text
    assert "Next: copy both to the device" in text
    assert text.rstrip().endswith("--model small_qdq.onnx --precision int8 --reference small.onnx")
    assert not is_quantized(workshop.place.folder / "small.onnx")
    text = workshop.run("--force", model="engines/small_qdq.onnx")
    assert "Calibration data: none needed, the model holds its ranges (Q/DQ)" in text
    assert (workshop.place.folder / "small_qdq.engine").exists()


@pytest.mark.slow
def test_an_engine_that_finds_nothing_of_what_is_labelled_stays_out_of_service(workshop: Workshop) -> None:
    install(workshop.place.engine, plan(200))
    before = workshop.place.engine.read_bytes()
    (workshop.folder / "labels" / "val").mkdir(parents=True)
    (workshop.folder / "labels" / "val" / "0.txt").write_text("1 0.5 0.5 0.4 0.4\n")
    data = workshop.folder / "data.yaml"
    data.write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: person, 1: car}\n")
    text = workshop.run("--precision", "fp32", "--labels", "data.yaml", code=7)
    assert "compare it with the float model on 4 labelled images of data.yaml" in text
    assert "mAP50-95" in text
    assert "did not pass beside the float model, and stays out of service (it is " in text
    assert workshop.place.engine.read_bytes() == before


@pytest.mark.slow
def test_an_onnx_of_elsewhere_needs_no_torch(workshop: Workshop) -> None:
    workshop.run("--only-onnx", *FP16)
    (workshop.folder / "small.pt").unlink()
    text = workshop.run(*FP16, model="engines/small.onnx")
    assert "weights to ONNX" not in text
    assert open_engine(workshop.place.engine).sidecar


def test_a_dry_run_writes_nothing_and_says_what_is_missing(workshop: Workshop) -> None:
    text = workshop.run("--dry-run", "--data", "nowhere.yaml", code=2)
    assert re.search(r"^  ok          memory            \d+ MiB available", text, re.MULTILINE)
    assert "Calibration data: nowhere.yaml (cannot be used, see below)" in text
    assert "An export would end here: An INT8 engine needs images to calibrate on, and nowhere.yaml does not" in text
    assert "  6. install engines/small.engine" in text
    assert list(workshop.place.folder.iterdir()) == []


def test_a_dry_run_ends_with_the_code_of_the_export(workshop: Workshop) -> None:
    workshop.run("--dry-run", *FP16)
    lock = Lock()
    lock.take(workshop.place.folder)
    assert "An export would end here: " in workshop.run("--dry-run", *FP16, code=3)
    lock.release()
    del workshop.environment["FAKE_GPU"]
    text = workshop.run("--dry-run", *FP16, code=8)
    assert "Builder: nothing to build with: " in text
    assert "An export would end here: No engine can be built here: " in text
    assert list(workshop.place.folder.iterdir()) == []
    text = workshop.run("--dry-run", "--data", "nowhere.yaml", code=2)
    assert "And then here: No engine can be built here: " in text
    workshop.run("--dry-run", "--only-onnx", *FP16)


def test_a_gpu_that_is_not_there_is_told_before_anything_is_built(workshop: Workshop) -> None:
    text = workshop.run("--dry-run", "--device", "cuda:3", *FP16, code=8)
    assert "Builder: nothing to build with: there is no GPU 3, the last one is 0 (--device)" in text


@pytest.mark.slow
def test_without_a_gpu_an_export_says_so_before_it_begins(workshop: Workshop) -> None:
    del workshop.environment["FAKE_GPU"]
    text = workshop.run(*FP16, code=8)
    assert "No engine can be built here: " in text
    assert "weights to ONNX: small.pt ..." not in text
    assert "--only-onnx" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"model": "nets/none.pt"}, "nets/none.pt was not found (looked at nets/none.pt). Give the path of your"),
        ({"model": "clip.mp4"}, "clip.mp4 is no model that can be run"),
        (
            {"data": Path("nowhere.yaml")},
            "nowhere.yaml does not exist. Draw some from your own footage: python3 scripts/",
        ),
        ({"data": Path("images/train")}, "A set of 8 images is too small to calibrate on"),
        ({"rollback": True}, "holds no previous engine of small"),
        ({"output": Path("small.pt")}, "small.pt is not a folder"),
        (
            {"output": Path("none"), "rollback": True},
            "none does not exist. Name the folder of the engines with --output",
        ),
    ],
)
def test_a_mistake_gets_a_sentence_and_exit_2(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(workshop.folder)
    monkeypatch.setattr(sources, "why_not_importable", str)  # as where ultralytics is installed
    act = command.rollback if flags.pop("rollback", False) else command.export
    with pytest.raises(SettingsError) as caught:
        act(Options(**{"model": "small.pt", "output": Path("engines"), **flags}))
    assert said in str(caught.value)
    assert caught.value.exit_code == 2
    assert [path.name for path in workshop.place.folder.iterdir() if path.name != ".work"] == []


def test_a_mistake_ends_the_process_with_its_sentence_alone(workshop: Workshop) -> None:
    said = workshop.run("--precision", "int4", code=2)
    assert said == "--precision is 'int4'. It is one of int8, fp16, fp32.\n"


@pytest.mark.parametrize("dry_run", [False, True])
def test_without_memory_nothing_is_begun_unless_forced(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], dry_run: bool
) -> None:
    monkeypatch.chdir(workshop.folder)
    monkeypatch.setattr(sources, "why_not_importable", str)  # as where ultralytics is installed
    monkeypatch.setattr(preflight, "BUILDER_MIB", 1 << 40)
    options = Options(model="small.pt", output=Path("engines"), precision="fp16", dry_run=dry_run)
    with pytest.raises(ExportMemoryError, match=r"No export is begun: .* MiB available") as caught:
        command.export(options)
    assert caught.value.exit_code == 6
    said = capsys.readouterr().out
    assert "problem     memory " in said
    assert ("Plan" in said) is dry_run
    with pytest.raises(BuildError, match="No engine can be built here"):
        command.export(replace(options, dry_run=False, force=True))


@pytest.mark.slow
def test_two_exports_do_not_work_in_one_folder(workshop: Workshop) -> None:
    workshop.environment["FAKE_BUILD_S"] = "20"
    with workshop.start(*FP16) as first:
        wait_for(workshop.place.folder / ".work")
        text = workshop.run("--precision", "fp32", code=3)
        first.send_signal(signal.SIGINT)
        first.wait(20)
    assert f"process {first.pid} is at work in engines. Wait for that export, or end it." in text


@pytest.mark.slow
def test_a_full_disk_ends_it_with_a_sentence_and_the_old_engine(workshop: Workshop) -> None:
    install(workshop.place.engine, plan(200))
    before = workshop.place.engine.read_bytes()
    with small_disk(workshop.folder / "disk", 256) as disk:
        (disk.path / "small.engine").write_bytes(before)
        (disk.path / "small.json").write_bytes(workshop.place.sidecar.read_bytes())
        disk.fill()
        flags = ("--precision", "fp32", "--output", str(disk.path))
        assert "0 MiB free: an export needs 512. Make room: " in workshop.run(*flags, code=6)
        text = workshop.run(*flags, "--force", code=2)
        assert re.search(r"No space left on device\. Make room on the disk", text)
        assert "Traceback" not in text
        assert (disk.path / "small.engine").read_bytes() == before


# Ends


def wait_for(path: Path) -> None:
    ends_at = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < ends_at, path
        time.sleep(0.01)


def stages(workshop: Workshop) -> list[int]:
    """The stages that run of exports in this folder."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes()
            if b"stage_child" in line and (folder / "cwd").resolve() == workshop.folder:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_stop_in_the_build_ends_all_of_it_at_once_and_the_next_export_goes_on_from_there(
    workshop: Workshop, number: signal.Signals
) -> None:
    workshop.environment["FAKE_BUILD_S"] = "60"
    with workshop.start(*FP16) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("building"):
                break
        process.send_signal(number)
        started = time.monotonic()
        rest = process.stdout.read()
        process.wait(20)
    assert time.monotonic() - started < 10
    assert process.returncode not in (0, None)
    assert "Traceback" not in rest
    assert ("Stopped. What was in service still is" in rest) is (number == signal.SIGINT)
    assert stages(workshop) == []
    assert not workshop.place.engine.exists()
    workshop.environment["FAKE_BUILD_S"] = "0"
    assert ", made before" in workshop.run(*FP16)


@pytest.mark.slow
def test_a_build_that_is_killed_is_tried_again_with_less_and_told_as_a_want_of_memory(workshop: Workshop) -> None:
    workshop.environment["FAKE_BUILD_S"] = "60"
    with workshop.start(*FP16, "--workspace", "0.5") as process:
        assert process.stdout
        text = ""
        for line in process.stdout:
            text += line
            if line.startswith("building"):
                for child in stages(workshop):
                    os.kill(child, signal.SIGKILL)
        process.wait(20)
    assert process.returncode == 6, text
    assert text.count("building ...") == 2
    assert "Trying again with a workspace of 256 MiB instead of 512" in text
    assert not workshop.place.engine.exists()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_at_twenty_random_instants_the_old_engine_serves_and_no_half_one_lies_there(workshop: Workshop) -> None:
    workshop.environment["FAKE_BUILD_S"] = "0.5"
    workshop.run(*FP16)
    started = time.monotonic()
    weights(workshop, "timed")
    workshop.run(*FP16)
    whole_s, chance, died = time.monotonic() - started, random.Random(13), []
    for number in range(KILLS):
        weights(workshop, f"kill {number}")
        before = workshop.place.engine.read_bytes()
        with workshop.start(*FP16) as process:
            time.sleep(chance.uniform(0.2, 1) * whole_s)
            process.kill()
            text = process.communicate(timeout=20)[0]
        died.append(process.returncode == -signal.SIGKILL)
        whole_s *= 1 if died[-1] else 0.8  # the machine is less busy than it was
        now = open_engine(workshop.place.engine)
        assert now.sidecar, text
        assert workshop.place.engine.read_bytes() == before or "trying the engine" in text
        made = [path for path in workshop.place.folder.iterdir() if path.name != ".work"]
        left = {path.name for path in made if not path.match("kernels-*") and not path.match("layout-*")}
        assert left <= {"small.engine", "small.json", "small.engine.previous", "small.json.previous"}
    assert sum(died) >= KILLS / 2, "most were killed before their end"
    assert re.search("exported successfully", workshop.run(*FP16))
    assert stages(workshop) == []


@pytest.mark.parametrize(
    "script", ["export_int8_engine", "evaluate", "build_calibration_set", "latency_report", "soak"]
)
def test_a_python_without_the_packages_is_told_of_the_one_that_has_them(workshop: Workshop, script: str) -> None:
    line = [sys.executable, "-I", "-S", str(ROOT / "scripts" / f"{script}.py"), "--help"]
    done = subprocess.run(line, cwd=workshop.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{sys.executable} lacks the package 'typer'. ")
    assert done.stderr.count("\n") == 1


def test_help_names_every_flag_of_the_issue(workshop: Workshop) -> None:
    text = workshop.run("--help")
    for flag in (
        *("model", "data", "workspace", "batch", "calibration-batch", "imgsz", "device", "precision", "method"),
        *("calibrator", "cache", "recalibrate", "output", "optimization-level", "timing-cache", "max-drop"),
        *("dry-run", "force", "rollback", "labels"),
    ):
        assert f"--{flag} " in text, flag
