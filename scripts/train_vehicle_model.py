#!/usr/bin/env python3
"""Makes the weights that ship with the project, models/vehicle-n: data, training from random weights, figures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer

from detector_service import open_service
from perception.lab.training.dataset import digests, prepare
from perception.lab.training.export import export
from perception.lab.training.figures import CONFIDENCES, Detect, Service
from perception.lab.training.model_card import by_threshold, on_drives, on_footage, on_pictures
from perception.lab.training.train import Recipe, train
from perception.settings.model import ModelSettings, Settings
from perception.workshop.door import enter
from perception.workshop.figures import save
from perception.workshop.own_file import check_json

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)
Data = Annotated[Path, typer.Option(help="folder with labelled/vehicles and weights, as PILOT_DATA", exists=True)]
Out = Annotated[Path, typer.Option(help="training set and run are kept here")]
Frames = Annotated[int, typer.Option(help="pictures of the synthetic drive", min=0)]
Pictures = Annotated[Optional[int], typer.Option(help="only so many photographs of a split, for a trial", min=1)]
Device = Annotated[str, typer.Option(help="cpu, or the number of a GPU")]
Models = Annotated[Path, typer.Option(help="where vehicle-n.pt, .onnx and .json go")]
SureFrom = Annotated[
    float, typer.Option(help="this confidence of the run reads as 0.25 in the files", min=0.01, max=0.99)
]
Weights = Annotated[Path, typer.Option(help="detector, .onnx or .pt", exists=True)]
Teacher = Annotated[Optional[Path], typer.Option(help="another detector, on the same pictures", exists=True)]
Seeds = Annotated[int, typer.Option(help="drives of each light and weather, four pictures each", min=0)]
Json = Annotated[Optional[Path], typer.Option("--json", callback=check_json, help="write the figures here, too")]
OUT = Path("out/vehicle-n")
WEIGHTS = ROOT / "models" / "vehicle-n.onnx"
SURE_FROM = 0.38
ALMOST_ALL = 0.001
"""The confidence from which average precision is taken, as ultralytics does."""
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
    models: Models = ROOT / "models",
    sure_from: SureFrom = SURE_FROM,
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
    export(checkpoint, models, "vehicle-n", sure_from, about)
    typer.echo(f"Wrote {models}/vehicle-n.pt, .onnx and .json")


@app.command()
def evaluate(
    data: Data, weights: Weights = WEIGHTS, teacher: Teacher = None, seeds: Seeds = 40, json: Json = None
) -> None:
    """The figures of models/README.md: validation pictures, unseen drives, and dashcam footage of `data`."""
    vehicles, clips = data / "labelled" / "vehicles", data / "clips"
    figures = {}
    with _detector(weights, ALMOST_ALL) as detect:
        figures["pictures"] = on_pictures(weights.name, detect, vehicles)
    with _detector(weights, ModelSettings().conf) as detect:
        figures["drives"] = on_drives(weights.name, detect, seeds)
        with _detector(data / "weights" / "yolov8n.onnx", ModelSettings().conf) as reference:
            figures["footage"] = on_footage(weights.name, detect, reference, clips / "dashcam_a_720p.mp4")
    if teacher:
        with _detector(teacher, ALMOST_ALL) as detect:
            figures["teacher on pictures"] = on_pictures(teacher.name, detect, vehicles)
    save(json, figures)


@app.command()
def thresholds(weights: Weights = WEIGHTS, seeds: Seeds = 40, json: Json = None) -> None:
    """Recall and precision by confidence on drives that are not evaluated on, to choose --sure-from by."""
    with _detector(weights, CONFIDENCES[0]) as detect:
        save(json, {"thresholds": by_threshold(weights.name, detect, seeds)})


@contextmanager
def _detector(weights: Path, conf: float) -> Iterator[Detect]:
    """The project's own service on some weights, reporting what is above `conf`."""
    settings = Settings(model=ModelSettings(weights=str(weights), conf=conf), allow_cpu=True)
    with open_service(settings) as service:
        yield Service(lambda frame: service.detect([frame])[0].detections, service.info.class_names)


def _prepare(data: Path, out: Path, frames: int, pictures: int | None, device: str) -> Path:
    teachers = [data / "weights" / name for name in TEACHERS]
    return prepare(data / "labelled" / "vehicles", out / "data", teachers, frames, pictures, device)


if __name__ == "__main__":
    # Nothing is fetched or installed by a library behind the user's back.
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")
    enter(app)
