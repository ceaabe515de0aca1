"""The table of faults as a page: with `-s` on the terminal, with --faults-table FILE in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.faults.lab import Outcome

TABLE = pytest.StashKey[dict[str, Outcome]]()

HEAD = """# Faults, and what becomes of them

Each line was injected into a running pilot, on real parts: an RTSP server, GStreamer, a disk of a few pages, a clock
that is set. Recovery is the time from the end of the fault to the next frame, or to the end of its consequence. A lost
source is tried again with pauses of 1 to 30 s. In brackets stands what is allowed: the longest pause of that run, and
2 s; for a disk the 10 s between two attempts to write, and 2 s. What is replaced and deleted while it runs is a model
file, since an engine needs a GPU.

Elsewhere: inference that hangs, and settings that are read again or cannot be (SIGHUP), in `tests/journeys/service`;
drivers that hang, in `tests/camera/test_hang.py`; faults of a real GPU, in `tests/journeys/device`.

Written by `.venv/bin/python -m pytest tests/journeys/faults --faults-table docs/faults.md --faults-at-once 1`.

| fault | what the user sees | ends with | recovery |
|---|---|---|---|
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-table", metavar="FILE", type=Path, help="write the table of faults to this file")
    parser.addoption("--faults-at-once", metavar="N", type=int, help="how many faults are tried side by side")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash.get(TABLE, {})
    path = config.getoption("--faults-table", default=None)
    if path and table:
        path.write_text(HEAD + "".join(map(_line, table.values())), encoding="utf-8")
    if config.getoption("capture") == "no" and table:
        terminalreporter.section("faults")
        for outcome in table.values():
            terminalreporter.write_line(_line(outcome).rstrip())


def _line(outcome: Outcome) -> str:
    took = ""
    if outcome.recovery_s is not None:
        took = f"{outcome.recovery_s:.1f} s"
        if outcome.allowed_s is not None:
            late = ", LATE" if outcome.recovery_s > outcome.allowed_s else ""
            took += f" ({outcome.allowed_s:.1f} s{late})"
    saw = outcome.saw.replace("|", "\\|")
    return f"| {outcome.injected} | `{saw}` | {outcome.ending} | {took} |\n"
