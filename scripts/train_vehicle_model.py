#!/usr/bin/env python3
"""Makes the weights that ship with the project, models/vehicle-n: data, training from random weights, figures."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Optional

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer
from loguru import logger

from perception.errors import PilotError
from perception.workshop.training.dataset import digests, prepare
from perception.workshop.training.export import export
from perception.workshop.training.train import Recipe, train

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)
Data = Annotated[Path, typer.Option(help="folder with labelled/vehicles and weights, as PILOT_DATA", exists=True)]
Out = Annotated[Path, typer.Option(help="training set and run are kept here")]
Frames = Annotated[int, typer.Option(help="pictures of the synthetic drive", min=0)]
Pictures = Annotated[Optional[int], typer.Option(help="only so many photographs of a split, for a trial", min=1)]
Device = Annotated[str, typer.Option(help="cpu, or the number of a GPU")]
OUT = Path("out/vehicle-n")
TEACHERS = ("yolo11n_rebuilt.pt", "yolov8n.pt")


@app.command("prepare")
def prepare_data(
    data: Data, out: Out = OUT, frames: Frames = 4800, pictures: Pictures = None, device: Device = "cpu"
) -> None:
    """Only writes the training set: the drive, and the photographs with labels completed by the teachers."""
    described = _prepare(data, out, frames, pictures, device)
    typer.echo(f"Training set: {described}")


@app.command("train")
def train_and_export(
    data: Data,
    out: Out = OUT,
    models: Annotated[Path, typer.Option(help="where vehicle-n.pt, .onnx and .json go")] = ROOT / "models",
    frames: Frames = 4800,
    pictures: Pictures = None,
    epochs: Annotated[int, typer.Option(min=1)] = 100,
    seconds: Annotated[float, typer.Option(help="choose the epochs so that training takes so long", min=0)] = 0.0,
    batch: Annotated[int, typer.Option(min=1)] = 128,
    workers: Annotated[int, typer.Option(help="processes that load pictures", min=0)] = 8,
    device: Device = "0",
    resume: Annotated[
        Optional[bool], typer.Option("--resume/--anew", help="an interrupted run; by itself where one lies in --out")
    ] = None,
) -> None:
    """Prepares what is missing, trains (or takes up an interrupted run), and writes the weights with their note."""
    described = _prepare(data, out, frames, pictures, device)
    started = time.monotonic()
    recipe = Recipe(epochs=epochs, seconds=seconds, batch=batch, workers=workers, device=device)
    checkpoint = train(described, out / "run", recipe, resume)
    minutes = round((time.monotonic() - started) / 60, 1)
    about = {"training_minutes": minutes, "teachers": list(TEACHERS), "data": digests(out / "data")}
    export(checkpoint, models, "vehicle-n", about)
    typer.echo(f"Wrote {models}/vehicle-n.pt, .onnx and .json")


def _prepare(data: Path, out: Path, frames: int, pictures: int | None, device: str) -> Path:
    teachers = [data / "weights" / name for name in TEACHERS]
    return prepare(data / "labelled" / "vehicles", out / "data", teachers, frames, pictures, device)


if __name__ == "__main__":
    # Nothing is fetched or installed by a library behind the user's back.
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")
    logger.remove()
    logger.add(sys.stderr, level="WARNING", format="{message}")
    try:
        app()
    except PilotError as fault:
        sys.stderr.write(f"{fault}\n")
        sys.exit(fault.exit_code)
