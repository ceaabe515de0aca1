"""Tables of measured times, for the terminal and as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from perception.workshop.own_file import mark


def percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and max of times in milliseconds, rounded to a microsecond."""
    p50, p95, p99 = np.percentile(values_ms, [50, 95, 99])
    return {
        name: round(float(value), 3)
        for name, value in zip(("p50", "p95", "p99", "max"), (p50, p95, p99, max(values_ms)))
    }


def machine() -> str:
    """Return the processor in words."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    cores = sum(line.startswith("processor") for line in lines)
    return f"{model}, {cores} cores"


def show(title: str, rows: Mapping[str, Mapping[str, float]], verdicts: Sequence[str]) -> None:
    """Print one row of figures a name, and the verdicts under them."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = Table(title=f"{title}\n{machine()}", title_justify="left")
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:g}" if column in row else "" for column in columns))
    console = Console()
    console.print(table)
    for verdict in verdicts:
        console.print(verdict, highlight=False, soft_wrap=True)


def save(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write the figures as JSON with the machine's name, where a path is given: one that own_file has checked."""
    if path:
        path.write_text(json.dumps({"made_by": mark(), "machine": machine(), **figures}, indent=1) + "\n")
