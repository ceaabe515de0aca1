"""The command of the latency report: reads the logs, prints and draws the figures."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from perception.core.errors import SettingsError
from perception.workshop.latency import reading, table
from perception.workshop.latency.logs.sources import Log, expand
from perception.workshop.latency.moments import asked_moment
from perception.workshop.latency.reading import Outcome, Query
from perception.workshop.latency.report import Figures, compared, figures

LONGEST_GAP_S = 1e9


@dataclass(frozen=True, slots=True)
class LatencyOptions:
    """The options of the command line. gap_s in seconds."""

    compare: bool = False
    plot: Path | None = None
    since: str | None = None
    until: str | None = None
    gap_s: float = 1.0
    json: bool = False


def run(given: list[str], options: LatencyOptions) -> None:
    """Print the report. Raises SettingsError for what cannot be read, asked for or drawn."""
    query = _query(options)
    if options.compare and len(given) != 2:
        raise SettingsError(
            f"--compare takes two runs, {len(given)} were given", "Use --compare A B: files or folders."
        )
    if options.plot:
        from perception.workshop.latency.plot.drawing import check_plot

        check_plot(options.plot)
    runs = [expand([name]) for name in given] if options.compare else [expand(given)]
    outcomes = _read(runs, query)
    reports = [figures(outcome, query) for outcome in outcomes]
    for warning in dict.fromkeys(warning for outcome in outcomes for warning in outcome.warnings):
        sys.stderr.write(f"{warning}\n")
    fault = _draw(options.plot, outcomes, reports) if options.plot else None
    _print(reports, options.json)
    if fault:
        raise fault


def _draw(path: Path, outcomes: list[Outcome], reports: list[Figures]) -> SettingsError | None:
    """Draw the plot before anything is printed, as the reader of a pipe may go away; return a fault for later."""
    from perception.workshop.latency.plot.drawing import draw

    try:
        draw(path, outcomes, reports)
    except OSError as error:
        return SettingsError(f"--plot {path} cannot be written ({error.strerror or error})")
    sys.stderr.write(f"Drawn: {path}\n")
    return None


def _query(options: LatencyOptions) -> Query:
    if not options.gap_s <= LONGEST_GAP_S:
        raise SettingsError(f"--gap {options.gap_s:g} is no length of time", "Give seconds, such as --gap 2.5.")
    now = datetime.now(timezone.utc)
    since_ms = asked_moment("--since", options.since, now) if options.since else None
    until_ms = asked_moment("--until", options.until, now) if options.until else None
    if since_ms is not None and until_ms is not None and since_ms > until_ms:
        raise SettingsError(f"--since {options.since} is later than --until {options.until}", "Swap them.")
    return Query(now, since_ms, until_ms, round(options.gap_s * 1000))


def _read(runs: list[list[Log]], query: Query) -> list[Outcome]:
    """Read the runs, with a progress bar on stderr where that is a terminal."""
    sizes = [log.size for logs in runs for log in logs]
    total = sum(size or 0 for size in sizes) if None not in sizes else None
    bar = Progress(
        TextColumn("Reading"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total)
        return [reading.read(logs, query, lambda size: bar.advance(task, size)) for logs in runs]


def _print(reports: list[Figures], as_json: bool) -> None:
    if as_json:
        print(json.dumps(compared(*reports) if len(reports) == 2 else reports[0], indent=1))
        return
    out = table.console()
    parts = table.shown_side_by_side(compared(*reports), out) if len(reports) == 2 else table.shown(reports[0], out)
    out.print(parts)
