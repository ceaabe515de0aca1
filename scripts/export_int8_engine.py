#!/usr/bin/env python3
"""Builds a TensorRT engine from weights or an ONNX model, judges it, and installs it in engines/.

INT8 by default, calibrated on the images of config/calibration.yaml (scripts/build_calibration_set.py makes them). The
engine is opened, run and compared with the float model before it takes the place of the one in service, which is kept
and comes back with --rollback. Start it after a reboot, when memory is free. Exit codes: 0 installed, 2 arguments,
3 another export is at work, 6 memory, 7 the engine lost too much accuracy, 8 it could not be built.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from perception.workshop.packages import exit_if_missing

with exit_if_missing():
    import typer

    from perception.workshop.script_entry import enter

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
_Path = Optional[Path]
_Level = Optional[int]
_Word = Optional[str]


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, **more)


@app.command(help=__doc__)
def main(
    model: Annotated[str, _option("--model", help=".pt or .onnx, a path or a name")] = "yolo11n.pt",
    data: Annotated[_Path, _option("--data", help="images to calibrate on: .yaml or a folder")] = None,
    workspace_gib: Annotated[float, _option("--workspace", min=0.25, max=1024, help="GiB a layer may use")] = 2.0,
    batch: Annotated[int, _option("--batch", min=1, max=64, help="images of the engine's input, at most")] = 1,
    calibration_batch: Annotated[int, _option("--calibration-batch", min=1, max=64, help="images at once")] = 1,
    imgsz: Annotated[_Level, _option("--imgsz", min=32, max=4096, help="input side, px; else as trained")] = None,
    layout: Annotated[_Word, _option("--layout", help="of the output, as model.layout; else found out")] = None,
    device: Annotated[str, _option("--device", help="the GPU")] = "cuda:0",
    precision: Annotated[str, _option("--precision", help="int8, fp16 or fp32")] = "int8",
    method: Annotated[str, _option("--method", help="of INT8: auto, calibrator or qdq")] = "auto",
    calibrator: Annotated[str, _option("--calibrator", help="auto, minmax, entropy; of qdq percentile, mse")] = "auto",
    cache: Annotated[_Path, _option("--cache", help="folder of calibration caches")] = None,
    recalibrate: Annotated[bool, _option("--recalibrate", help="use nothing that was made before")] = False,
    output: Annotated[Path, _option("--output", help="folder of engines, or the engine's path")] = ROOT / "engines",
    optimization_level: Annotated[_Level, _option("--optimization-level", min=0, max=5, help="TensorRT's")] = None,
    timing_cache: Annotated[_Path, _option("--timing-cache", help="file of measured kernels")] = None,
    max_drop: Annotated[float, _option("--max-drop", min=0, max=100, help="accuracy that may be lost, points")] = 1.0,
    labels: Annotated[_Path, _option("--labels", help="data set (.yaml) with labels, to judge on its val")] = None,
    reference: Annotated[_Path, _option("--reference", help="float .onnx that a Q/DQ model was made from")] = None,
    tactic_sources: Annotated[str, _option("--tactic-sources", help="default, none without cuBLAS")] = "default",
    dry_run: Annotated[bool, _option("--dry-run", help="prints the plan alone; the exit code is the export's")] = False,
    force: Annotated[bool, _option("--force", help="go on with little memory, few images, or unjudged")] = False,
    only_onnx: Annotated[bool, _option("--only-onnx", help="end with the (Q/DQ) ONNX; needs no GPU")] = False,
    rollback: Annotated[bool, _option("--rollback", help="put the previous engine back into service")] = False,
) -> None:
    asked = {**locals()}  # the flags by their names, which are those of Options
    with exit_if_missing():
        from perception.workshop.export import command
        from perception.workshop.export.options import Options
    options = Options(**{name: value for name, value in asked.items() if name != "rollback"})
    sys.exit(command.rollback(options) if rollback else command.export(options))


if __name__ == "__main__":
    enter(app)
