#!/usr/bin/env python3
"""Says what records, logs or the journal of the pilot tell of its latency: percentiles, drops, the worst moments.

Takes frames.jsonl, pilot.log and what `journalctl -u vehicle-pilot` prints, also rotated and compressed ones, folders
of them, and - for the standard input.
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
    logs: Annotated[list[str], typer.Argument(metavar="[FILE|FOLDER|-]...", help="what to read", show_default=False)],
    compare: Annotated[bool, typer.Option("--compare", help="two runs side by side: --compare A B")] = False,
    plot: Annotated[Optional[Path], typer.Option(help="draw it, too: report.png or report.html")] = None,
    since: Annotated[Optional[str], typer.Option(help="2026-11-22T07:20, 07:20, -2h, '10min ago', yesterday")] = None,
    until: Annotated[Optional[str], typer.Option(help="the same forms")] = None,
    gap: Annotated[float, typer.Option(min=0.001, help="a longer time between two frames is a gap, s")] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="print the figures as JSON (docs/latency_report.md)")] = False,
) -> None:
    with needed():
        from perception.workshop.latency.command import LatencyOptions, run

    run(logs, LatencyOptions(compare, plot, since, until, gap, json))


if __name__ == "__main__":
    enter(app)
