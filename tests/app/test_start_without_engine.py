"""An engine that is exported when the pilot starts without one: when that happens, and when it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import detector_service
from detector_service import DetectorService
from perception.app import export_at_start as at_start
from perception.app.check import _check_backend
from perception.backends.base import Alive
from perception.backends.tensorrt import step
from perception.core.errors import BackendError
from perception.settings.model import Settings
from perception.system.stop import Stopped
from tests.backends.test_selection import Prepare, World, not_installed, serves, world
from tests.doubles.fake_tensorrt import write_engine

__all__ = ["world"]


def open_service(settings: Settings, alive: Alive = lambda _: None) -> DetectorService:
    """As pilot.py opens it."""
    return detector_service.open_service(settings, alive, at_start.export_engine)


class Exporter:
    """A script in the place of the real one: it writes another engine into the folder, or fails."""

    def __init__(self, world: World, folder: Path) -> None:
        self.asked_for = folder / "asked_for.txt"
        self._made = write_engine(folder / "made.engine")
        world.engine.unlink()
        world.patch.setattr(at_start, "SCRIPT", folder / "export.py")
        world.patch.setattr(step, "has_cuda_driver", lambda: True)
        world.other["when_missing"] = "export"
        self.ends_with(0)

    def ends_with(self, code: int) -> None:
        """Its next exit code; it installs an engine with 0 alone."""
        at_start.SCRIPT.write_text(
            "import pathlib, shutil, sys\n"
            f"with open({str(self.asked_for)!r}, 'a') as file: print(*sys.argv[1:], file=file)\n"
            "print('Starting the export')\n"
            f"if {code}: sys.exit('No memory. Reboot.')\n"
            "folder = pathlib.Path(sys.argv[sys.argv.index('--output') + 1])\n"
            f"shutil.copy({str(self._made)!r}, folder / 'tiny.engine')\n"
        )

    @property
    def times(self) -> int:
        """How often it was started."""
        return len(self.asked_for.read_text().splitlines()) if self.asked_for.exists() else 0


@pytest.fixture
def exporter(world: World, tmp_path: Path) -> Exporter:
    (tmp_path / "exporter").mkdir()
    return Exporter(world, tmp_path / "exporter")


def test_without_an_engine_one_is_exported_where_that_is_asked_for(
    world: World, exporter: Exporter, logged: list[str]
) -> None:
    waited: list[str] = []
    with open_service(world.settings(), waited.append) as service:
        assert service.info.name == "tensorrt"
    assert [line for line in logged if line.startswith("INFO")] == [
        f"INFO TensorRT passed over: {world.engine} does not exist",
        "INFO Exporting model to TensorRT...",
        "INFO export: Starting the export",
        "INFO Loading vehicle detection model: tiny.engine",
        "INFO Vehicles are bicycle, car, motorcycle, bus, truck",
        "INFO Serving with TensorRT after an export: tensorrt fp32, input 64x64, layout raw (1 passed over, see above)",
    ]
    assert waited[0] == "exporting an engine (0 s)"
    folder = world.engine.parent
    assert exporter.asked_for.read_text() == (
        f"--model {world.onnx} --precision fp16 --output {folder} --imgsz 64 --device cuda:0\n"
    )
    assert serves(world.settings(), at_start.export_engine) == "tensorrt fp32: 2"
    assert exporter.times == 1, "the engine is there now"


def test_a_failed_export_is_told_once_passed_over_and_not_repeated_at_the_next_start(
    world: World, exporter: Exporter, logged: list[str]
) -> None:
    exporter.ends_with(6)
    assert serves(world.settings(), at_start.export_engine) == "onnxruntime fp32: 2"
    assert "WARNING TensorRT after an export passed over: the export failed: No memory. Reboot.. Try it" in "\n".join(
        logged
    )
    assert serves(world.settings(), at_start.export_engine) == "onnxruntime fp32: 2"
    assert exporter.times == 1
    assert any("an export of the same model failed (" in line for line in logged)


def test_an_engine_of_another_tensorrt_is_built_again(world: World, exporter: Exporter, logged: list[str]) -> None:
    world.write(version="10.7.0")
    assert serves(world.settings(), at_start.export_engine) == "tensorrt fp32: 2"
    assert exporter.times == 1


def an_int8_engine(world: World) -> None:
    world.write()
    world.add_sidecar(precision="int8")


def a_cut_engine(world: World) -> None:
    world.write()
    world.change(lambda data: data[:-10])


KEPT: dict[str, tuple[Prepare, dict[str, Any], str]] = {
    "by default": (lambda world: world.other.update(when_missing="fallback"), {}, ""),
    "fp16 is off": (lambda world: None, {"fp16": False}, "fp16 is switched off, and nothing else is built at a start"),
    "no tensorrt": (not_installed, {}, "tensorrt is not installed"),
    "an int8 engine that is off": (
        an_int8_engine,
        {"int8": False},
        "is there, and is not replaced without being asked to",
    ),
    "a cut engine": (
        a_cut_engine,
        {},
        "is there, and is not replaced without being asked to",
    ),
    "no driver": (
        lambda world: world.patch.setattr(step, "has_cuda_driver", lambda: False),
        {},
        "this machine has no CUDA driver",
    ),
}


@pytest.mark.parametrize("why", KEPT)
def test_nothing_is_exported_where_that_would_not_help(
    world: World, exporter: Exporter, logged: list[str], why: str
) -> None:
    prepare, settings, said = KEPT[why]
    prepare(world)
    assert serves(world.settings(**settings), at_start.export_engine) == "onnxruntime fp32: 2"
    assert exporter.times == 0
    assert said in "\n".join(logged)


def test_one_that_must_have_an_engine_exports_none(world: World, exporter: Exporter) -> None:
    with pytest.raises(BackendError, match="An engine is required"):
        open_service(world.settings(require=True))
    assert exporter.times == 0


def test_a_stop_during_an_export_ends_the_start(world: World, exporter: Exporter) -> None:
    def stop(_: str) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        open_service(world.settings(), stop)
    assert list(world.engine.parent.glob("*.json")) == []


def test_check_exports_nothing_and_says_that_a_run_would(world: World, exporter: Exporter) -> None:
    assert _check_backend(world.settings(), open_service) == (
        "onnxruntime fp32, input 64x64, layout raw. Vehicles are bicycle, car, motorcycle, bus, truck; "
        "a run would try an export before"
    )
    with pytest.raises(BackendError) as caught:
        _check_backend(world.settings(allow_cpu=False), open_service)
    assert caught.value.cure.endswith("A run would try an export before, which check does not.")
    assert exporter.times == 0
    world.write()
    assert _check_backend(world.settings(), open_service) == (
        "tensorrt fp32, input 64x64, layout raw. Vehicles are bicycle, car, motorcycle, bus, truck"
    )
