"""A folder with weights, labelled pictures and an exporter whose stages run on an emulated GPU."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.backends.tensorrt.place import Place
from perception.system.home import ROOT

FAKES = Path(__file__).with_name("fake_device")
SCRIPT = ROOT / "scripts" / "export_int8_engine.py"


@dataclass
class Workshop:
    """A place for exports, each made by the real command in a process of its own."""

    folder: Path
    environment: dict[str, str]

    @property
    def place(self) -> Place:
        """The place of the engines."""
        return Place(self.folder / "engines", "small")

    def command(self, *flags: str, model: str = "small.pt") -> list[str]:
        """The command line of an export."""
        line = [sys.executable, str(SCRIPT), "--model", model, "--output", "engines", "--imgsz", "64"]
        return [*line, *flags]

    def start(self, *flags: str, model: str = "small.pt") -> subprocess.Popen[str]:
        """An export that runs."""
        return subprocess.Popen(
            self.command(*flags, model=model), cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *flags: str, model: str = "small.pt", code: int = 0) -> str:
        """Return the output of an export that ends with `code`."""
        with self.start(*flags, model=model) as process:
            text, _ = process.communicate(timeout=100)
        assert process.returncode == code, text
        return text


@pytest.fixture
def workshop(tmp_path: Path, emulator: ctypes.CDLL) -> Workshop:
    tmp_path.chmod(0o755)
    (tmp_path / "small.pt").write_bytes(b"PK\3\4 weights")
    (tmp_path / "engines").mkdir(mode=0o755)
    generator = np.random.default_rng(5)
    for split, count in (("train", 8), ("val", 4)):
        (tmp_path / "images" / split).mkdir(parents=True)
        for number in range(count):
            picture = generator.integers(0, 256, (48, 64, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "images" / split / f"{number}.png"), picture)
    environment = {**os.environ, "PYTHONPATH": f"{FAKES}:{ROOT}", "FAKE_GPU": str(emulator._name)}
    return Workshop(tmp_path, environment)
