#!/usr/bin/env python3
"""Runs the pilot for hours, restarts its RTSP camera every minute, and says whether it stayed as it was.

On the synthetic drive and on an RTSP stream of its own, or on a source that is named. Judged are memory, threads and
descriptors after the warm-up against those at the end, whether every frame is accounted for, and whether frames came
again after each restart. Ctrl-C ends it with the report so far. Exit codes: 0 every bar holds, 1 one does not or could
not be judged, 2 to 4 it could not be started.
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
    hours: Annotated[float, typer.Option(min=0.005, help="how long")] = 2.0,
    on: Annotated[str, typer.Option(help="rtsp, demo or both side by side")] = "both",
    source: Annotated[Optional[str], typer.Option(help="a URI instead of its own RTSP; it is not restarted")] = None,
    model: Annotated[Path, typer.Option(help="weights")] = ROOT / "models" / "vehicle-n.onnx",
    fps: Annotated[int, typer.Option(min=2, max=60, help="of its own sources")] = 10,
    restart_s: Annotated[float, typer.Option("--restart-s", min=10, help="between restarts of its RTSP, s")] = 60.0,
    growth: Annotated[float, typer.Option(min=0, help="of memory that is allowed after the warm-up, %")] = 2.0,
    json: Annotated[Path, typer.Option("--json", help="the report")] = Path("soak.json"),
    folder: Annotated[Optional[Path], typer.Option(help="for the logs of the pilots; kept")] = None,
    log_mib: Annotated[int, typer.Option("--log-mib", min=1, help="bound on the logs of each pilot, MiB")] = 16,
) -> None:
    with needed():
        from perception.lab.soak.command import SoakOptions, run

    sys.exit(run(SoakOptions(hours, on, source, str(model), fps, restart_s, growth, json, folder, log_mib)))


if __name__ == "__main__":
    enter(app)
