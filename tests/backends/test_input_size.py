"""The size of a network's input: what the file fixes or was made for, and what the user asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detector_service import open_service
from perception.backends.input_size import input_size
from perception.backends.models.model_facts import Facts, size_of
from perception.settings.model import EngineSettings, ModelSettings, Settings
from tests.doubles.output_layouts import table, write


@pytest.mark.parametrize(
    ("fixed", "made_for", "asked", "size", "said"),
    [
        ((None, None), None, None, (640, 640), ""),
        ((None, None), (1280, 1280), None, (1280, 1280), ""),
        ((None, None), (384, 640), None, (384, 640), ""),
        ((None, None), (1280, 1280), 640, (640, 640), "was made for 1280x1280 and runs at 640x640"),
        ((None, None), (640, 640), 640, (640, 640), ""),
        ((None, None), None, 320, (320, 320), ""),
        ((384, 640), (640, 640), None, (384, 640), ""),
        ((384, 640), None, 640, (384, 640), "takes 640x384 alone: imgsz 640 has no effect"),
        ((640, 640), None, 640, (640, 640), ""),
        ((None, 512), (320, 320), None, (320, 512), ""),
    ],
)
def test_what_counts(fixed: Any, made_for: Any, asked: int | None, size: tuple[int, int], said: str) -> None:
    found, note = input_size("m.onnx", fixed, Facts(imgsz=made_for), asked)
    assert found == size
    assert said in note
    assert bool(said) == bool(note)


@pytest.mark.parametrize(
    ("told", "size"),
    [(640, (640, 640)), ([384, 640], (384, 640)), ([640], (640, 640)), (600, (608, 608)), (2**40, None), (0, None),
     (-5, None), (True, None), ("640", None), ([1, 2, 3], None), (None, None), (640.0, None)],
)  # fmt: skip
def test_sizes_in_metadata(told: object, size: object) -> None:
    assert size_of(told) == size


def test_an_open_model_runs_at_what_it_was_exported_at(tmp_path: Path, logged: list[str]) -> None:
    path = write(tmp_path / "m.onnx", table("raw", 2), {0: "car", 1: "truck"}, ("h", "w"), imgsz="[320, 512]")

    def size(imgsz: int | None) -> tuple[int, int]:
        model = ModelSettings(weights=str(path), imgsz=imgsz)
        with open_service(Settings(model=model, engine=EngineSettings(dir=tmp_path), allow_cpu=True)) as service:
            return service.info.input_hw

    assert size(None) == (320, 512)
    assert not [line for line in logged if line.startswith("WARNING")]
    assert size(640) == (640, 640)
    assert any("was made for 512x320 and runs at 640x640" in line for line in logged if line.startswith("WARNING"))
