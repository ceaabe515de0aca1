"""The stages of an export as child processes, with their progress on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perception.backends.tensorrt.place import Place
from perception.workshop.accuracy.check import CHILD, Comparison, judge
from perception.workshop.accuracy.detector import Conditions
from perception.workshop.accuracy.gate import Verdict
from perception.workshop.export import report
from perception.workshop.export.options import Options
from perception.workshop.export.pipeline import BUILD
from perception.workshop.export.screen import Screen
from perception.workshop.export.sources import Judges
from perception.workshop.ladder import climb
from perception.workshop.stage import run_stage


class Children:
    """The hands of a real export, see pipeline.Hands.

    folder: where requests, results and the last words of a child that failed lie; None for a temporary one.
    """

    def __init__(self, options: Options, images: Judges, screen: Screen, place: Place) -> None:
        """images: for the gate."""
        self.folder: Path | None = None
        self._options = options
        self._images = images
        self._screen = screen
        self._place = place

    def say(self, text: str) -> None:
        """A line that stays."""
        self._screen.say(text)

    def stage(self, module: str, request: Mapping[str, Any], timeout_s: float | None = None) -> Mapping[str, Any]:
        """Runs a stage; see perception/workshop/stage.run_stage."""
        try:
            return run_stage(module, request, self._screen.event, timeout_s, folder=self.folder)
        finally:
            self._screen.end_stage()

    def build(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Builds, with less and less workspace where memory is short."""

        def attempt(workspace_mib: int) -> Mapping[str, Any]:
            return self.stage(BUILD, {**request, "workspace_mib": workspace_mib})

        offer = ""
        if self._options.precision == "int8":
            offer = f"{report.SCRIPT} --model {self._options.model} --precision fp16"
        return climb(attempt, request["workspace_mib"], self.say, offer)

    def judge(self, onnx: Path, engine: Path) -> Verdict | None:
        """Compares the engine with the float model, on the images there are; None where there are none."""
        if self._images.pictures is None:
            return None
        options, folder = self._options, engine.parent
        how = Conditions(
            imgsz=options.imgsz, device=options.gpu, kernel_dir=self._place.folder.absolute(), layout=options.layout
        )
        self._screen.event({"event": "stage", "name": f"comparing on {self._images.words}"})
        comparison = Comparison(self._images.pictures, self._look, folder, folder.parent / "looks", how)
        return judge(comparison, options.reference or onnx, engine, options.max_drop, self._screen.show)

    def _look(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.stage(CHILD, request)
