"""A folder with settings for a pilot on the tiny model."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from tests.doubles import tiny_model
from tests.doubles.fakes import make_image


class Folder:
    """Where a pilot runs, on an endless folder of pictures. It has a tiny model, `tiny.onnx`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = path / "x.yaml"
        tiny_model.build(path / "tiny.onnx")
        for name, shade in (("images", 10), ("others", 200)):
            (path / name).mkdir()
            for number in range(3):
                cv2.imwrite(str(path / name / f"{number}.png"), make_image(shade + number))
        self.write()

    def write(self, more: str = "", **keys: str) -> None:
        """Writes the settings; keys by name replace a line, `more` adds some."""
        lines = {
            "source": f"{{uri: 'images://{self.path}/images?loop=1'}}",
            "model": "{weights: tiny.onnx}",
            "allow_cpu": "true",
            "cpu": "{threads: 1}",
            "log": f"{{dir: '{self.path}/logs', file: false, summary_s: 0.5}}",
            **keys,
        }
        new = self.settings.with_suffix(".new")
        new.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()) + more)
        new.replace(self.settings)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
