"""Faults of engine and GPU, on the real ones: each ends in its sentence and its exit code."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from detector_service import open_service
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.runtime import import_tensorrt, library_version
from perception.core.errors import BackendError
from perception.lab.benchmark.frame_cost import read_clip
from perception.lab.benchmark.steady import resident_mib
from perception.settings.model import EngineSettings, ModelSettings, Settings
from perception.system.home import ROOT
from tests.journeys.device.conftest import MakeSettings
from tests.journeys.device.test_pipeline import frame

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]

RUN_TO_A_FAULT = """
import sys
from pathlib import Path
import numpy as np
import perception.app.cli as cli
import pilot
from detector_service import DetectorService

detect = DetectorService.detect
def detect_then_break(self, frames):
    if frames[0].frame_id == 5:
        backend = self._backend
        backend._find = lambda slot, image: backend._sources.__setitem__(slot, 64)  # no address of any picture
    return detect(self, frames)
DetectorService.detect = detect_then_break
cli.start(pilot.run, pilot.check, pilot.StopFlag())
"""


def command(engine: Path, names: tuple[str, ...], folder: Path, *program: str) -> list[str]:
    config = folder / "pilot.yaml"
    listed = ", ".join(f'"{name}"' for name in names)
    config.write_text(
        f"model: {{weights: {engine}, names: [{listed}]}}\n"
        f"engine: {{require: true, dir: {folder}}}\nlog: {{dir: {folder / 'logs'}}}\n"
    )
    return [sys.executable, *(program or [str(ROOT / "pilot.py")]), "--config", str(config)]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


def test_a_run_ends_cleanly(engine: Path, names: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    clip = data / "clips" / "dashcam_a_720p.mp4"
    done = run([*command(engine, names, tmp_path), "--source", str(clip)])
    assert done.returncode == 0, done.stderr
    assert f"Loading vehicle detection model: {engine.name}" in done.stderr
    assert done.stderr.count("Vehicle detection:") == 88
    assert "| tensorrt" in done.stderr
    assert "PyCUDA" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_illegal_address_ends_the_process_with_5_after_flushing(
    engine: Path, names: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    clip = data / "clips" / "dashcam_a_720p.mp4"
    done = run([*command(engine, names, tmp_path, "-c", RUN_TO_A_FAULT), "--source", str(clip)])
    assert done.returncode == 5, done.stderr
    assert "The GPU failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Vehicle detection:") == 5
    assert len((tmp_path / "logs" / "frames.jsonl").read_text().splitlines()) == 5
    print(done.stderr[-1500:])


def test_a_plan_of_another_version_is_told_before_tensorrt_sees_it(settings_for: MakeSettings, engine: Path) -> None:
    plan = bytearray(engine.read_bytes())
    here = library_version(import_tensorrt())
    if open_engine(engine).plan_version == here:
        plan[24:27] = 9, 9, 9
    engine.write_bytes(plan)
    engine.with_suffix(".json").unlink(missing_ok=True)
    built = open_engine(engine).plan_version
    with pytest.raises(BackendError, match=f"was built by TensorRT {built}, this device has {here}. Rebuild it: "):
        open_service(settings_for(engine))


def test_a_plan_that_tensorrt_refuses_is_told_in_its_words(settings_for: MakeSettings, engine: Path) -> None:
    plan = bytearray(engine.read_bytes())
    plan[64:4096] = bytes(4032)
    engine.write_bytes(plan)
    with pytest.raises(BackendError, match=r"does not load into TensorRT: .+ Rebuild it on this device: ") as fault:
        open_service(settings_for(engine))
    print(fault.value)


def test_a_cut_plan_says_truncated(settings_for: MakeSettings, engine: Path) -> None:
    engine.write_bytes(engine.read_bytes()[:-100])
    with pytest.raises(BackendError, match="truncated"):
        open_service(settings_for(engine))


def add_header(engine: Path, names: dict[str, str]) -> None:
    """What ultralytics writes before a plan."""
    told = {"names": names, "imgsz": [640, 640], "args": {"half": True, "int8": False}}
    header = json.dumps(told).encode()
    engine.write_bytes(struct.pack("<I", len(header)) + header + engine.read_bytes())
    engine.with_suffix(".json").unlink(missing_ok=True)


def test_an_engine_of_ultralytics_is_served_by_the_names_in_its_header(
    engine: Path, names: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    add_header(engine, {str(number): name for number, name in enumerate(names)})
    engine_settings = EngineSettings(dir=tmp_path, require=True)
    settings = Settings(model=ModelSettings(weights=str(engine)), engine=engine_settings)
    image = read_clip(data / "clips" / "highway_540p.mp4", 1)[0]
    with open_service(settings) as service:
        assert tuple(service.info.class_names.values()) == names
        assert len(service.detect([frame(image)])[0].detections)


def test_an_engine_whose_header_names_too_few_classes_is_refused(settings_for: MakeSettings, engine: Path) -> None:
    add_header(engine, {"0": "person", "1": "car"})
    with pytest.raises(BackendError, match=r"\(1, 84, 8400\)"):  # two classes are not eighty
        open_service(settings_for(engine))


def test_memory_does_not_grow(settings_for: MakeSettings, engine: Path, data: Path) -> None:
    import pycuda.driver as cuda

    images = read_clip(data / "clips" / "dashcam_a_720p.mp4", 40)
    with open_service(settings_for(engine)) as service:
        seen = []
        for _ in range(3):
            for number in range(1000):
                service.detect([frame(images[number % len(images)])])[0]
            seen.append((resident_mib(), cuda.mem_get_info()[0]))
    assert seen[2][0] - seen[0][0] < 2.0
    assert seen[2][1] == seen[0][1]


def test_ten_services_one_after_the_other_leave_nothing_behind(
    settings_for: MakeSettings, engine: Path, data: Path
) -> None:
    import pycuda.driver as cuda

    from perception.backends.gpu.cuda import Gpu

    image = read_clip(data / "clips" / "dashcam_a_720p.mp4", 1)[0]
    with Gpu():
        free = []
        for _ in range(10):
            with open_service(settings_for(engine)) as service:
                service.detect([frame(image)])[0]
            free.append(cuda.mem_get_info()[0])
    assert free[9] >= free[2]
