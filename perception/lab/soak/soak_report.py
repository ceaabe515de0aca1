"""The report of a soak: a JSON file, which also grows while it runs, and a table."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.table import Table

from perception.core.errors import SettingsError
from perception.lab.soak.watched_pilot import Limits, Verdict, WatchedPilot
from perception.workshop.figures import machine
from perception.workshop.latency.table import console, duration
from perception.workshop.own_file import mark

SCHEMA = 1
_WORDS = {True: "holds", False: "DOES NOT HOLD", None: "not judged"}


class SoakReport:
    """The report, which begins with the soak."""

    def __init__(self, path: Path, asked: Mapping[str, Any], limits: Limits) -> None:
        """asked: what the soak was started with, without anything secret."""
        self.verdicts: list[Verdict] = []
        self._path = path
        self._asked = asked
        self._limits = limits
        self._began = time.monotonic()
        self._moment = datetime.now(timezone.utc)

    def save(self, watched: Sequence[WatchedPilot]) -> None:
        """Write the report so far. Where the disk is full, one line says so and it is tried again."""
        try:
            self._write(watched, finished=False)
        except OSError as error:
            sys.stderr.write(f"{self._path} cannot be written ({error.strerror}); it is tried again\n")

    def finish(self, watched: Sequence[WatchedPilot]) -> None:
        """Write the whole report and print the table. Raises SettingsError where the file cannot be written."""
        fault = None
        try:
            self._write(watched, finished=True)
        except OSError as error:
            fault = SettingsError(f"--json {self._path} cannot be written ({error.strerror})")
        out = console()
        out.print(self._table())
        if drift := _drift(watched):
            out.print(drift)
        if fault:
            raise fault
        sys.stderr.write(f"Report: {self._path}\n")

    def _write(self, watched: Sequence[WatchedPilot], finished: bool) -> None:
        self._ran_s = time.monotonic() - self._began
        self.verdicts = [verdict for one in watched for verdict in one.verdicts(self._limits)]
        text = json.dumps(
            {
                "made_by": mark(),
                "schema": SCHEMA,
                "machine": machine(),
                "began": self._moment.isoformat(timespec="seconds"),
                "asked": self._asked,
                "ran_s": round(self._ran_s, 1),
                "finished": finished,
                "limits": asdict(self._limits),
                "holds": finished and bool(self.verdicts) and all(verdict.holds for verdict in self.verdicts),
                "verdicts": [asdict(verdict) for verdict in self.verdicts],
                "runs": {one.name: one.figures() for one in watched},
            }
        )
        other = self._path.with_name(f"{self._path.name}.part")  # a reader never sees half a report
        other.write_text(text + "\n", encoding="utf-8")
        other.replace(self._path)

    def _table(self) -> Table:
        table = Table(title=f"Soak of {duration(self._ran_s)}\n{machine()}", title_justify="left")
        for name in ("run", "bar", "found", "allowed", ""):
            table.add_column(name)
        for row in self.verdicts:
            table.add_row(row.run, row.bar, row.found, row.limit, _WORDS[row.holds])
        return table


def _drift(watched: Sequence[WatchedPilot]) -> Table | None:
    table = Table(title="First and last tenth of the frames, milliseconds", title_justify="left")
    table.add_column("run")
    table.add_column("")
    for name in ("p50", "p99", "max"):
        table.add_column(name, justify="right")
    for one in watched:
        for name, ends in one.account.drift().items():
            cells = (f"{ends['first'][key]:.1f} to {ends['last'][key]:.1f}" for key in ("p50", "p99", "max"))
            table.add_row(one.name, name.removesuffix("_ms"), *cells)
    return table if table.row_count else None
