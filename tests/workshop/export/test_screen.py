"""The user sees lines in a log, bars on a terminal, and nothing that stays of a bar."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from perception.workshop.export.screen import Screen
from tests.doubles.fakes import FakeClock


def lines(out: io.StringIO) -> list[str]:
    return out.getvalue().splitlines()


def test_in_a_log_each_stage_begins_and_ends_and_progress_comes_every_ten_seconds() -> None:
    out, clock = io.StringIO(), FakeClock()
    with Screen(Console(file=out, width=100), clock) as screen:
        screen.event({"event": "stage", "name": "building"})
        for done in range(0, 361, 12):
            screen.event({"event": "progress", "what": "calibration", "done": done, "of": 360})
            clock.now += 1
        screen.event({"event": "say", "text": "a [sentence] of the stage"})
        screen.event({"event": "stage", "name": "trying the engine"})
    assert lines(out) == [
        "building ...",
        "calibration: 120 of 360 (12.0/s, 20 s left)",
        "calibration: 240 of 360 (12.0/s, 10 s left)",
        "calibration: 360 of 360 (12.0/s)",
        "a [sentence] of the stage",
        "building: 31 s",
        "trying the engine ...",
    ]


def test_what_is_quick_and_what_is_unknown_takes_no_line() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=100), FakeClock()) as screen:
        screen.event({"event": "progress", "what": "pictures", "done": 3, "of": 3})
        screen.event({"event": "weather"})
        screen.event({})
    assert lines(out) == []


@pytest.mark.parametrize("of", [0, 355])
def test_on_a_terminal_a_bar_moves_and_goes(of: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    with Screen(console, FakeClock()) as screen:
        screen.event({"event": "stage", "name": "building"})
        screen.event({"event": "progress", "what": "calibration", "done": 12, "of": of})
        screen.say("a line that stays")
        shown, ends_at = f"12/{of}" if of else "calibration", time.monotonic() + 20
        while shown not in out.getvalue():
            assert time.monotonic() < ends_at, out.getvalue()
            time.sleep(0.02)
    assert "a line that stays" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h\r") or out.getvalue().endswith("\x1b[2K\x1b[?25h\r")
