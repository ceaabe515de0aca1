"""Hands that make small files in the place of models and engines, for tests of the pipeline without a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perception.backends.tensorrt.place import work_folder
from perception.workshop.calibration.calibration_set import CalibrationSet
from perception.workshop.export.options import Options
from perception.workshop.export.pipeline import BUILD, EXAMINE, ONNX, QDQ, VERIFY, Task
from perception.workshop.export.sources import Model
from perception.workshop.export.work import Work
from tests.doubles.engine_files import install, plan

FACTS: Mapping[str, Any] = {"seconds": {"build": 7.0}, "builder": {"int8_convolutions": 0.96}}


@dataclass(frozen=True)
class FakeVerdict:
    """What a gate says."""

    passed: bool = True
    lines: tuple[str, ...] = ("mAP50-95 0.324 -> 0.320",)
    report: Mapping[str, Any] = field(default_factory=lambda: {"map50_95": 0.32})


class FakeHands:
    """Makes what the stages would make. faults: what a stage raises; did: the modules of the stages, in order."""

    def __init__(self, verdict: FakeVerdict | None = None) -> None:
        self.verdict = verdict
        self.faults: dict[str, BaseException] = {}
        self.did: list[str] = []
        self.said: list[str] = []
        self.requests: dict[str, Mapping[str, Any]] = {}

    def stage(self, module: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """See Hands."""
        self._begin(module, request)
        if module in (ONNX, QDQ):
            Path(request["target"]).write_bytes(f"{module} of {request}".encode())
        answers: dict[str, dict[str, Any]] = {VERIFY: {"median_ms": 0.6}, EXAMINE: {"layout": "raw"}}
        return answers.get(module, {})

    def build(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """See Hands."""
        self._begin(BUILD, request)
        install(Path(request["engine"]), plan(200 + len(self.did)), precision=request["precision"], accuracy=None)
        return {"facts": FACTS}

    def judge(self, onnx: Path, engine: Path) -> FakeVerdict | None:
        """See Hands."""
        self._begin("judge", {"onnx": onnx, "engine": engine})
        return self.verdict

    def say(self, text: str) -> None:
        """See Hands."""
        self.said.append(text)

    def _begin(self, module: str, request: Mapping[str, Any]) -> None:
        self.did.append(module)
        self.requests[module] = request
        if fault := self.faults.get(module):
            raise fault


def make_task(folder: Path, method: str = "calibrator", weights: str = "yolo11n.pt", **flags: Any) -> Task:
    """An export of small files in `folder`, which gets engines/ and images of a calibration set."""
    model = folder / weights
    if not model.exists():
        model.write_bytes(b"PK\3\4 weights")
    (folder / "engines").mkdir(mode=0o755, exist_ok=True)
    options = Options(model=str(model), output=folder / "engines", **flags)
    place = options.place(model.stem)
    images = (folder / "1.png", folder / "2.png")
    calibration = CalibrationSet(folder, images, "c" * 64) if options.precision == "int8" else None
    found = Model(model, False)
    return Task(options, found, calibration, method, "a GPU", place, Work(work_folder(place.folder), place.stem))
