#!/usr/bin/env python3
"""Says how well models find vehicles, side by side: average precision, recall at the threshold, the best threshold.

On pictures with labels, or, beside a reference, on pictures without. Models are .onnx, .pt (both run on the CPU) and
.engine. Exit codes: 0 said, 7 a model loses more than --max-drop, 2 to 6 it could not be measured.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from perception.workshop.packages import needed

with needed():
    import typer

    from perception.workshop.door import enter

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=__doc__)
def main(
    models: Annotated[list[Path], typer.Argument(help="the models", show_default=False)],
    data: Annotated[Path, typer.Option(help="data set with `val` and labels (.yaml), or pictures without labels")],
    reference: Annotated[Optional[Path], typer.Option(help="the model that the others are held against")] = None,
    conf: Annotated[float, typer.Option(min=0.01, max=0.99, help="the threshold that the pilot works with")] = 0.25,
    max_drop: Annotated[Optional[float], typer.Option(min=0, help="judge: points that may be lost")] = None,
    count: Annotated[Optional[int], typer.Option(min=1, help="at most so many pictures, spread evenly")] = None,
    vehicle: Annotated[Optional[list[str]], typer.Option(help="a class that counts; may be given again")] = None,
    imgsz: Annotated[Optional[int], typer.Option(min=32, max=4096, help="input side where it is left open, px")] = None,
    layout: Annotated[Optional[str], typer.Option(help="of the outputs, as model.layout; else found out")] = None,
    device: Annotated[int, typer.Option(min=0, max=255, help="which GPU runs an engine")] = 0,
    threads: Annotated[int, typer.Option(min=0, max=256, help="on the CPU; 0: one a core")] = 0,
    cache: Annotated[
        Optional[Path], typer.Option(help="keeps what ONNX models found", show_default="engines/.work/looks")
    ] = None,
    json: Annotated[Optional[Path], typer.Option("--json", help="write the figures here, too")] = None,
) -> None:
    with needed():
        from perception.workshop.accuracy.command import AccuracyOptions, default_cache, run
        from perception.workshop.accuracy.detector import Conditions

    how = Conditions(imgsz=imgsz, device=device, threads=threads, layout=layout)
    if vehicle:
        how = replace(how, classes=tuple(vehicle))
    kept = cache or default_cache(ROOT / "engines")
    sys.exit(run(AccuracyOptions(tuple(models), reference, data, conf, max_drop, count, how, kept, json)))


if __name__ == "__main__":
    enter(app)
