#!/usr/bin/env python3
"""Draws a calibration set for INT8 from clips and folders of images: frames that differ, are sharp and show vehicles.

Takes videos, folders of images or of videos, and single images. Writes images/, held_out/ and manifest.json into the
folder of --output, and the file that describes them for the export. The same sources and seed give the same set.
Exit codes: 0 written, 2 arguments, 3 a source, 4 the model of --model, 130 stopped.
"""

from __future__ import annotations

import sys
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
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO|FOLDER...", help="what to draw from", show_default=False)
    ],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="images to calibrate on")] = 355,
    held_out: Annotated[int, typer.Option(min=0, max=100_000, help="more of them, to judge the engine on")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="another one draws another set")] = 1,
    model: Annotated[Optional[str], typer.Option(help="tells frames without vehicles; else weights found here")] = None,
    output: Annotated[Path, typer.Option(help="the folder of the set")] = ROOT / "calibration",
    data: Annotated[Path, typer.Option(help="the file that describes it")] = ROOT / "config" / "calibration.yaml",
    image_format: Annotated[str, typer.Option("--format", help="of frames of videos: jpg (quality 95) or png")] = "jpg",
    force: Annotated[bool, typer.Option("--force", help="replace a set, or build one of fewer than 100")] = False,
) -> None:
    with needed():
        from perception.workshop.calibration.command import CalibrationOptions, run

    run(CalibrationOptions(videos, count, held_out, seed, model, output, data, image_format, force))


if __name__ == "__main__":
    enter(app)
